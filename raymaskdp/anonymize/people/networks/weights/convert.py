"""Convert a TensorFlow.js graph model to an ONNX model, operator by operator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from raymaskdp.anonymize.people.networks.weights.graph import Node, OnnxGraph
from raymaskdp.anonymize.people.networks.weights.operators import CONVERTERS
from raymaskdp.errors import UserError


def convert(model: Mapping[str, Any], weights: bytes, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """The ONNX model of a TensorFlow.js graph model.

    Args:
      model: its JSON.
      weights: all of its binary files, concatenated.
      outputs: the output nodes; none for those of the model's signature.

    Raises `UserError` for unsupported operators.
    """
    nodes = {node["name"]: Node.of(node) for node in model["modelTopology"]["node"]}
    answers = list(outputs or (_name(v["name"]) for v in model["signature"]["outputs"].values()))
    return convert_nodes(nodes, constants_of(model, weights), answers)


def convert_nodes(
    nodes: Mapping[str, Node], constants: dict[str, np.ndarray], answers: Sequence[str]
) -> onnx.ModelProto:
    """The ONNX model of nodes and constants by name; raises `UserError` for unsupported operators."""
    graph = OnnxGraph(nodes=nodes, constants=constants)
    for name in _in_order(nodes, answers):
        node = nodes[name]
        if node.op not in CONVERTERS:
            raise UserError(f"The operator {node.op} of the node {name} cannot be converted to ONNX.")
        CONVERTERS[node.op](graph, node)
    return graph.model(answers)


def constants_of(model: Mapping[str, Any], weights: bytes) -> dict[str, np.ndarray]:
    """Constants by name: float16 if the package has it, else float32; int64 for all integers."""
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
        raise UserError(f"The weights have {len(weights)} bytes, but the model needs {at}.")
    return found


def _name(reference: str) -> str:
    """The node name in a reference to one of its outputs."""
    return reference.split(":")[0]


def _in_order(nodes: Mapping[str, Node], answers: Sequence[str]) -> list[str]:
    """All nodes that the outputs depend on, each after its inputs."""
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
