"""Read arrays from other projects' pickles without executing anything that they name.

A pickle is a program: it may call any function by name. Here names are not looked up but translated by a
table of a few harmless ones (arrays, tensors, plain containers); any other name is an error. Supported are
plain pickles, `joblib` dumps (whose arrays follow their header in the stream, compressed with zlib or not),
object arrays of `numpy.save`, and pickled `torch` tensors.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from raymaskdp.errors import UserError

MOST_BYTES = 4 * 2**30
"""Larger files, after decompression, are refused."""


def load_plain(path: Path) -> Any:
    """Dictionaries, lists, text, numbers, arrays and tensors in a pickle, joblib dump or `.npy` file.

    Raises `UserError` for a file that is missing, damaged, or refers to anything else.
    """
    try:
        with open(path, "rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        if data[:1] == b"\x78":
            inflater = zlib.decompressobj()
            data = inflater.decompress(data, MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES >> 30} GiB")
        stream = io.BytesIO(data)
        if data[:6] == b"\x93NUMPY":
            return _numpy(stream)
        return _Unpickler(stream).load()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except _Refused as error:
        raise UserError(f"{path} is refused: {error}.") from error
    # Damaged pickles raise many kinds of errors, because the pickle machine does not validate its input.
    except (
        ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, MemoryError, OverflowError,
        RuntimeError, zlib.error, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is damaged or not a pickle: {' '.join(str(error).split())}.") from error


def _numpy(stream: io.BytesIO) -> Any:
    """The content of an `.npy` file; an object array of one element is that element."""
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"version {version} of the format")
    _, _, dtype = read_header[version](stream)
    if not dtype.hasobject:
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    array = _Unpickler(stream).load()
    return array.item() if isinstance(array, np.ndarray) and array.size == 1 else array


class _Refused(Exception):
    """The pickle refers to something that is not allowed."""


class _Inline:
    """Placeholder for joblib's header of an array whose bytes follow in the stream."""

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype[Any]
    numpy_array_alignment_bytes: int | None = None

    def read(self, stream: io.BytesIO) -> np.ndarray:
        if np.dtype(self.dtype).hasobject:
            raise _Refused("it contains an array of objects")
        if self.numpy_array_alignment_bytes is not None:
            stream.read(stream.read(1)[0])
        count = int(np.prod(self.shape, dtype=np.int64))
        data = stream.read(count * np.dtype(self.dtype).itemsize)
        return np.frombuffer(data, self.dtype, count).reshape(self.shape, order=_order(self.order)).copy()


def _order(order: str) -> Any:
    return "F" if order == "F" else "C"


def _tensor_bytes(data: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:  # its message advises to trust the file
        raise _Refused("it contains a tensor of other objects than numbers") from error


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")  # the encoding of bytes in old pickles; other codecs are unsafe


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_RECONSTRUCT: Any = np.zeros(0).__reduce__()[0]
_SCALAR: Any = np.float64(0).__reduce__()[0]
_FROM_BUFFER: Any = np.zeros(1).__reduce_ex__(5)[0]
_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "dict"): dict,
    ("__builtin__", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "bytes"): bytes,
    ("__builtin__", "bytes"): bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(module, "_reconstruct"): _RECONSTRUCT for module in _MULTIARRAY},
    **{(module, "scalar"): _SCALAR for module in _MULTIARRAY},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FROM_BUFFER for core in ("core", "_core")},
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Inline,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _tensor_bytes,
}


_Python: Any = pickle._Unpickler
"""The unpickler written in Python, because the one in C cannot be extended."""


class _Unpickler(_Python):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")
        self._stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _Refused(f"it refers to {module}.{name}, which is neither an array nor a plain value")
        return _NAMES[module, name]

    def _build(self) -> None:
        _Python.load_build(self)
        if isinstance(self.stack[-1], _Inline):
            self.stack.append(self.stack.pop().read(self._stream))

    dispatch: ClassVar[dict[int, Any]] = {**_Python.dispatch, pickle.BUILD[0]: _build}
