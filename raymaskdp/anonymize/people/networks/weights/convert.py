"""A TensorFlow.js graph model as an ONNX model, operator by operator."""

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
    """A TensorFlow.js graph model as an ONNX model.

    Args:
      model: its JSON.
      weights: all of its binary files, one after the other.
      outputs: nodes that are the answers; none for those of the model's signature.

    Raises `UserError` for operators that are not known here.
    """
    nodes = {node["name"]: Node.of(node) for node in model["modelTopology"]["node"]}
    graph = OnnxGraph(nodes=nodes, constants=constants_of(model, weights))
    answers = list(outputs or (_name(v["name"]) for v in model["signature"]["outputs"].values()))
    for name in _in_order(nodes, answers):
        node = nodes[name]
        if node.op not in CONVERTERS:
            raise UserError(f"The operator {node.op} of the node {name} cannot be converted to ONNX.")
        CONVERTERS[node.op](graph, node)
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
