"""Tiny ONNX networks, in the bytes of protocol buffers."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

Node = tuple[str, Sequence[str], str]
"""Operator, names of its inputs, name of its output."""

TYPES = {"float32": 1, "int64": 7}


def network(
    nodes: Sequence[Node],
    inputs: Mapping[str, tuple[int, ...]],
    output: tuple[str, tuple[int, ...]],
    constants: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """An ONNX file with `nodes` in order; shapes by name for inputs and output, float32 all."""
    graph = b""
    for operator, takes, gives in nodes:
        node = b"".join(_field(1, name.encode()) for name in takes)
        graph += _field(1, node + _field(2, gives.encode()) + _field(4, operator.encode()))
    graph += _field(2, b"graph")
    for name, value in (constants or {}).items():
        sizes = b"".join(_field(1, size) for size in value.shape)
        kind = _field(2, TYPES[value.dtype.name])
        graph += _field(5, sizes + kind + _field(8, name.encode()) + _field(9, value.tobytes()))
    graph += b"".join(_field(11, _tensor(name, *shape)) for name, shape in inputs.items())
    graph += _field(12, _tensor(output[0], *output[1]))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13))


def linear(weights: np.ndarray, bias: np.ndarray, side: int) -> bytes:
    """A network that answers weights · picture + bias.

    Args:
      weights: float32 [*shape, 3, side, side] for an answer of `shape`.
      bias: float32 [*shape].
    """
    return network(
        [
            ("Reshape", ("picture", "row"), "flat"),
            ("MatMul", ("flat", "weights"), "products"),
            ("Add", ("products", "bias"), "sums"),
            ("Reshape", ("sums", "shape"), "answer"),
        ],
        {"picture": (1, 3, side, side)},
        ("answer", bias.shape),
        {
            "row": np.array([1, 3 * side * side]),
            "weights": np.ascontiguousarray(weights.reshape(bias.size, -1).T),
            "bias": bias.reshape(1, -1),
            "shape": np.array(bias.shape),
        },
    )


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _tensor(name: str, *shape: int) -> bytes:
    dimensions = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dimensions)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += struct.pack("B", value & 127 | 128)
        value >>= 7
    return out + struct.pack("B", value)
