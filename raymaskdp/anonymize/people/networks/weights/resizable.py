"""A fully convolutional network that was converted for one size of picture, made to take others."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from raymaskdp.errors import UserError


def resizable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with pictures of any height and width, NCHW; at its own size the answers are the same.

    Feature maps are resized by a ratio instead of to a size. Raises `UserError` for a network of whose maps
    the size is not known.
    """
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    for node in graph.node:
        if node.op_type != "Resize":
            continue
        before, after = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
        if not (len(before) == len(after) == 4 and all([*before, *after])):
            raise UserError(f"The size of {node.output[0]} is not known, so its pictures have one size.")
        ratios = [large / small for small, large in zip(before, after, strict=True)]
        name = f"{node.output[0]}/ratios"
        graph.initializer.append(numpy_helper.from_array(np.array(ratios, np.float32), name))
        del node.input[1:]
        node.input.extend(["", name])
    _remove_unused(graph)
    del graph.value_info[:]
    picture = graph.input[0]
    batch, channels = (size.dim_value for size in picture.type.tensor_type.shape.dim[:2])
    sides = [batch, channels, "height", "width"]
    picture.CopyFrom(helper.make_tensor_value_info(picture.name, onnx.TensorProto.FLOAT, sides))
    return found


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and numbers that no answer depends on."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    numbers = [one for one in graph.initializer if one.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(numbers)
