"""The two graphs of a conversion: TensorFlow's nodes as they are read, and the ONNX graph that is built."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a TensorFlow graph.

    Attributes:
      name, op: of the node.
      inputs: references as "NODE" or "NODE:OUTPUT".
      attributes: by name; numbers, flags, text, lists of these, or the raw value of the file.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Node:
        """A node from its JSON."""
        attributes = {name: _attribute(value) for name, value in node.get("attr", {}).items()}
        inputs = tuple(name for name in node.get("input", ()) if not name.startswith("^"))
        return cls(name=node["name"], op=node["op"], inputs=inputs, attributes=attributes)


def _attribute(value: Mapping[str, Any]) -> Any:
    (kind, plain), *_ = value.items()
    if kind == "list":
        return [_attribute({name: one}) for name, several in plain.items() for one in several]
    return {"s": lambda: base64.b64decode(plain).decode(), "i": lambda: int(plain)}.get(kind, lambda: plain)()


@dataclass(kw_only=True, eq=False)
class OnnxGraph:
    """The ONNX graph under construction. A value has the name of the TensorFlow reference, or a new one."""

    nodes: Mapping[str, Node]
    constants: dict[str, np.ndarray]
    made: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """Add an ONNX node with one output; returns the output's name."""
        output = name or f"{op}_{len(self.made)}"
        self.made.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, values: np.ndarray) -> str:
        """A constant; half precision becomes single when the network is loaded."""
        if name not in self.initializers and f"{name}_half" not in self.initializers:
            if values.dtype == np.float16:
                self.initializers[f"{name}_half"] = values
                self.add("Cast", [f"{name}_half"], name, to=onnx.TensorProto.FLOAT)
            else:
                self.initializers[name] = values
        return name

    def numbers(self, *values: int) -> str:
        """A constant list of integers."""
        return self.constant(f"numbers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def known(self, reference: str) -> np.ndarray:
        """The values of an input that must be a constant."""
        return self.constants[reference]

    def model(self, answers: Sequence[str]) -> onnx.ModelProto:
        """The finished model."""
        used, nodes = set(answers), []
        for node in reversed(self.made):  # kernels were transposed; the originals are not needed
            if used.intersection(node.output):
                used |= set(node.input)
                nodes.append(node)
        kept = [numpy_helper.from_array(v, name) for name, v in self.initializers.items() if name in used]
        outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in answers]
        graph = helper.make_graph(nodes[::-1], "network", self.inputs, outputs, kept)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="raymaskdp"
        )
        shaped = onnx.shape_inference.infer_shapes(model)  # the format requires the shapes of outputs
        del shaped.graph.value_info[:]
        onnx.checker.check_model(shaped)
        return shaped
