"""TensorFlow's frozen graphs, prepared for conversion: constants computed, batch normalization folded.

The one that is read is SSD MobileNet v2, of which the class of people alone is kept. Its heads for 90 other
classes are half of its work and more than half of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.json_format import MessageToDict

from raymaskdp.anonymize.people.networks.weights.convert import convert_nodes
from raymaskdp.anonymize.people.networks.weights.graph import Node

SIDE = 300
LEVELS = 6
CLASSES, PERSON = 91, 1
IMAGE = "Preprocessor/sub"
"""Where the image enters, scaled to [-1, 1]."""

_COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    "Identity": lambda value: value,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Rsqrt": lambda value: 1 / np.sqrt(value),
}


def ssd_of_people(content: bytes) -> onnx.ModelProto:
    """The network, with outputs scores_0 … scores_5, float32 [N, h, w, A], and boxes_0 … [N, h, w, 4 A].

    Scores are logits. Weights become float16.

    Args:
      content: of the file of the detection model zoo, ssd_mobilenet_v2_coco_2018_03_29.
    """
    nodes, constants = read_frozen_graph(content)
    size = [{"size": str(size)} for size in (-1, SIDE, SIDE, 3)]
    nodes[IMAGE] = Node(name="image", op="Placeholder", inputs=(), attributes={"shape": {"dim": size}})
    nodes["image"] = nodes[IMAGE]
    fold_normalization(nodes, constants)
    answers = []
    for level in range(LEVELS):
        for name, kind in (("ClassPredictor", "scores"), ("BoxEncodingPredictor", "boxes")):
            added = nodes[f"BoxPredictor_{level}/{name}/BiasAdd"]
            convolution = nodes[added.inputs[0]]
            kernel, bias = constants[convolution.inputs[1]], constants[added.inputs[1]]
            if kind == "scores":
                kernel, bias = kernel[..., PERSON::CLASSES], bias[PERSON::CLASSES]
            answers.append(f"{kind}_{level}")
            _fused(nodes, constants, answers[-1], convolution, kernel, bias)
    halved = {name: _halved(values) for name, values in constants.items()}
    renamed = {name: _with_image(node) for name, node in nodes.items()}
    return convert_nodes(renamed, halved, answers)


def read_frozen_graph(content: bytes) -> tuple[dict[str, Node], dict[str, np.ndarray]]:
    """Nodes by name, and constants, those included that follow from constants alone."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    graph.ParseFromString(content)
    nodes, constants = {}, {}
    for one in graph.node:  # in topological order, as such files are
        if one.op == "Const":
            constants[one.name] = _values(one.attr["value"].tensor)
            nodes[one.name] = Node(name=one.name, op="Const", inputs=(), attributes={})
            continue
        node = Node.of(MessageToDict(one, preserving_proto_field_name=True))
        if node.op in _COMPUTED and node.inputs and all(name in constants for name in node.inputs):
            constants[node.name] = _COMPUTED[node.op](*(constants[name] for name in node.inputs))
            node = Node(name=node.name, op="Const", inputs=(), attributes={})
        nodes[node.name] = node
    return nodes, constants


def fold_normalization(nodes: dict[str, Node], constants: dict[str, np.ndarray]) -> None:
    """Replace convolution · scale + offset by a convolution with a bias, in place."""
    for name, node in list(nodes.items()):
        if node.op != "Add" or len(node.inputs) != 2 or node.inputs[1] not in constants:
            continue
        scaled = nodes.get(node.inputs[0])
        if scaled is None or scaled.op != "Mul" or scaled.inputs[1] not in constants:
            continue
        convolution = nodes[scaled.inputs[0]]
        if convolution.op not in ("Conv2D", "DepthwiseConv2dNative"):
            continue
        scale, kernel = constants[scaled.inputs[1]], constants[convolution.inputs[1]]
        of_output = scale[:, None] if convolution.op == "DepthwiseConv2dNative" else scale
        _fused(nodes, constants, name, convolution, kernel * of_output, constants[node.inputs[1]])


def _fused(
    nodes: dict[str, Node],
    constants: dict[str, np.ndarray],
    name: str,
    convolution: Node,
    kernel: np.ndarray,
    bias: np.ndarray,
) -> None:
    """Add a convolution with a bias, with the input and the strides of another one."""
    for part, values in (("folded", kernel), ("bias", bias)):
        constants[f"{name}/{part}"] = values.astype(np.float32)
        nodes[f"{name}/{part}"] = Node(name=f"{name}/{part}", op="Const", inputs=(), attributes={})
    op = {"Conv2D": "_FusedConv2D"}.get(convolution.op, "FusedDepthwiseConv2dNative")
    inputs = (convolution.inputs[0], f"{name}/folded", f"{name}/bias")
    attributes = {**convolution.attributes, "fused_ops": ["BiasAdd"]}
    nodes[name] = Node(name=name, op=op, inputs=inputs, attributes=attributes)


def _with_image(node: Node) -> Node:
    inputs = tuple("image" if name == IMAGE else name for name in node.inputs)
    return Node(name=node.name, op=node.op, inputs=inputs, attributes=node.attributes)


def _halved(values: np.ndarray) -> np.ndarray:
    """Kernels in half precision; biases stay as they are."""
    return values.astype(np.float16) if values.dtype == np.float32 and values.ndim == 4 else values


def _values(tensor: Any) -> np.ndarray:
    from tensorboard.compat.proto import types_pb2

    kinds: Mapping[int, Any] = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_INT32: np.int32}
    shape = [one.size for one in tensor.tensor_shape.dim]
    kind = kinds.get(tensor.dtype)
    if kind is None:
        return np.zeros(0)  # texts and flags, which no convolution reads
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, kind).reshape(shape)
    given = list(tensor.float_val or tensor.int_val)
    return np.resize(np.array(given, kind), shape) if given else np.zeros(shape, kind)
