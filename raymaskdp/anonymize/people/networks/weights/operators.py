"""The TensorFlow operators of the bundled networks, each as ONNX operators.

Shape suffixes: H×W an image, C channels, O output channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from raymaskdp.anonymize.people.networks.weights.graph import Node, OnnxGraph
from raymaskdp.errors import UserError

_Converter = Callable[[OnnxGraph, Node], None]
CONVERTERS: dict[str, _Converter] = {}


def _converts(*ops: str) -> Callable[[_Converter], _Converter]:
    def register(converter: _Converter) -> _Converter:
        CONVERTERS.update(dict.fromkeys(ops, converter))
        return converter

    return register


def _renamed(op: str) -> _Converter:
    """A converter for operators that ONNX has, too."""

    def convert(graph: OnnxGraph, node: Node) -> None:
        graph.add(op, node.inputs, node.name)

    return convert


CONVERTERS.update(
    {
        "Add": _renamed("Add"), "AddV2": _renamed("Add"), "Sub": _renamed("Sub"), "Mul": _renamed("Mul"),
        "Sigmoid": _renamed("Sigmoid"), "Relu": _renamed("Relu"), "Identity": _renamed("Identity"),
        "Shape": _renamed("Shape"), "AddN": _renamed("Sum"),
    }
)  # fmt: skip


@_converts("Placeholder")
def _placeholder(graph: OnnxGraph, node: Node) -> None:
    sizes = [int(size.get("size", -1)) for size in node.attributes["shape"]["dim"]]
    named = [size if size > 0 else f"size_{axis}" for axis, size in enumerate(sizes)]
    # Integer images become floats, because the networks cast them at once.
    graph.inputs.append(helper.make_tensor_value_info(node.name, onnx.TensorProto.FLOAT, named))


@_converts("Const")
def _const(graph: OnnxGraph, node: Node) -> None:
    graph.constant(node.name, graph.constants[node.name])


@_converts("SparseToDense")
def _sparse_to_dense(graph: OnnxGraph, node: Node) -> None:
    at, shape, values, default = (graph.known(reference) for reference in node.inputs)
    dense = np.full(shape, default, values.dtype)
    dense[tuple(at.reshape(-1, len(shape)).T)] = values
    graph.constants[node.name] = dense
    graph.constant(node.name, dense)


@_converts("Cast")
def _cast(graph: OnnxGraph, node: Node) -> None:
    if node.attributes["DstT"] != "DT_FLOAT":
        raise UserError(f"The node {node.name} casts to {node.attributes['DstT']}, which is not supported.")
    graph.add("Cast", node.inputs, node.name, to=onnx.TensorProto.FLOAT)


@_converts("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
def _convolution(graph: OnnxGraph, node: Node) -> None:
    if node.attributes["data_format"] != "NHWC" or node.attributes["padding"] not in _PADDING:
        raise UserError(f"The convolution {node.name} is not supported.")
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


@_converts("Conv2DBackpropInput")
def _transposed_convolution(graph: OnnxGraph, node: Node) -> None:
    kernel = graph.known(node.inputs[1])
    sides = list(kernel.shape[:2])
    if sides != list(node.attributes["strides"][1:3]):  # others overlap, and have margins
        raise UserError(f"The transposed convolution {node.name} is not supported.")
    weights = graph.constant(f"{node.name}/kernel", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    picture = graph.add("Transpose", [node.inputs[2]], perm=[0, 3, 1, 2])
    larger = graph.add("ConvTranspose", [picture, weights], kernel_shape=sides, strides=sides)
    graph.add("Transpose", [larger], node.name, perm=[0, 2, 3, 1])


@_converts("Mean")
def _mean(graph: OnnxGraph, node: Node) -> None:
    axes = graph.known(node.inputs[1]).ravel().tolist()
    kept = int(bool(node.attributes.get("keep_dims")))
    graph.add("ReduceMean", node.inputs[:1], node.name, axes=axes, keepdims=kept)


@_converts("_FusedMatMul")
def _product(graph: OnnxGraph, node: Node) -> None:
    if list(node.attributes.get("fused_ops", ())) != ["BiasAdd"]:
        raise UserError(f"The matrix product {node.name} is not supported.")
    product = graph.add("MatMul", node.inputs[:2])
    graph.add("Add", [product, node.inputs[2]], node.name)


_PADDING = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def _activated(graph: OnnxGraph, value: str, activation: str) -> str:
    if activation == "Relu":
        return graph.add("Relu", [value])
    if activation == "Relu6":
        limits = [graph.constant(f"limit_{limit}", np.array(limit, np.float32)) for limit in (0, 6)]
        return graph.add("Clip", [value, *limits])
    raise UserError(f"The activation {activation} cannot be converted to ONNX.")


@_converts("Relu6")
def _relu6(graph: OnnxGraph, node: Node) -> None:
    graph.add("Identity", [_activated(graph, node.inputs[0], "Relu6")], node.name)


@_converts("LeakyRelu")
def _leaky_relu(graph: OnnxGraph, node: Node) -> None:
    graph.add("LeakyRelu", node.inputs, node.name, alpha=float(node.attributes["alpha"]))


@_converts("MaxPool")
def _max_pool(graph: OnnxGraph, node: Node) -> None:
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
def _resize(graph: OnnxGraph, node: Node) -> None:
    if node.attributes.get("align_corners") or not node.attributes.get("half_pixel_centers"):
        raise UserError(f"The resizing {node.name} does not use pixel centres.")
    picture = graph.add("Transpose", node.inputs[:1], perm=[0, 3, 1, 2])
    shape = graph.add("Shape", [picture])
    kept = graph.add("Slice", [shape, graph.numbers(0), graph.numbers(2)])
    sizes = graph.add("Concat", [kept, node.inputs[1]], axis=0)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    resized = graph.add("Resize", [picture, "", "", sizes], **how)
    graph.add("Transpose", [resized], node.name, perm=[0, 2, 3, 1])


@_converts("Reshape")
def _reshape(graph: OnnxGraph, node: Node) -> None:
    graph.add("Reshape", node.inputs, node.name)


@_converts("Transpose")
def _transpose(graph: OnnxGraph, node: Node) -> None:
    graph.add("Transpose", node.inputs[:1], node.name, perm=graph.known(node.inputs[1]).tolist())


@_converts("ConcatV2")
def _concat(graph: OnnxGraph, node: Node) -> None:
    graph.add("Concat", node.inputs[:-1], node.name, axis=int(graph.known(node.inputs[-1])))


@_converts("Pad", "PadV2")
def _pad(graph: OnnxGraph, node: Node) -> None:
    margins = graph.known(node.inputs[1]).T.ravel().tolist()  # all beginnings, then all ends
    graph.add("Pad", [node.inputs[0], graph.numbers(*margins), *node.inputs[2:]], node.name)


@_converts("SplitV")
def _split(graph: OnnxGraph, node: Node) -> None:
    sizes, axis = graph.known(node.inputs[1]), int(graph.known(node.inputs[2]))
    outputs = [f"{node.name}:{part}" if part else node.name for part in range(len(sizes))]
    lengths = graph.numbers(*sizes.tolist())
    graph.made.append(helper.make_node("Split", [node.inputs[0], lengths], outputs, axis=axis))


@_converts("StridedSlice")
def _strided_slice(graph: OnnxGraph, node: Node) -> None:
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    if any(node.attributes.get(mask, 0) for mask in masks):
        raise UserError(f"The slice {node.name} is not supported.")
    begin, end, step = (graph.known(reference).tolist() for reference in node.inputs[1:4])
    axes = graph.numbers(*range(len(begin)))
    limits = [graph.numbers(*begin), graph.numbers(*end), axes, graph.numbers(*step)]
    graph.add("Slice", [node.inputs[0], *limits], node.name)
