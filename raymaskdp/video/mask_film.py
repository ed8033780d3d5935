"""The masks of all frames of a video, small enough to keep those of an hour in memory.

A packed mask of 1920×1080 pixels has 259 kB; those of an hour have 23 GB. Most bits are zero, so each frame
is compressed: some hundred bytes for each person, none without people.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.video.masks import pack, unpack

# Shape suffixes: T frames, B bytes of a packed mask, N compressed bytes.

_FAST = 1
"""zlib's fastest level, which suffices for masks."""


def _compress(packed_B: np.ndarray) -> bytes:
    return zlib.compress(packed_B.tobytes(), _FAST) if packed_B.any() else b""


@dataclass(frozen=True, kw_only=True)
class SmallMask:
    """One mask as stored in a film: packed and compressed."""

    shape: tuple[int, int]
    compressed: bytes

    @classmethod
    def of(cls, mask_HW: np.ndarray) -> SmallMask:
        """The compressed form of a bool mask [H, W]."""
        height, width = mask_HW.shape
        return cls(shape=(height, width), compressed=_compress(pack(mask_HW)))

    @property
    def mask_HW(self) -> np.ndarray:
        """The mask, bool [H, W], as a new array."""
        if not self.compressed:
            return np.zeros(self.shape, bool)
        packed_B = np.frombuffer(zlib.decompress(self.compressed), np.uint8)
        return unpack(packed_B, *self.shape)


class MaskFilm:
    """One packed mask for each frame, compressed; read and written by frame number.

    >>> film = MaskFilm(3, 2)
    >>> film[1] = np.array([0, 255], np.uint8)
    >>> film[1].tolist(), film[2].tolist(), film.any_T().tolist()
    ([0, 255], [0, 0], [False, True, False])

    NumPy functions accept it as an array uint8 [T, B], with the memory that this needs.

    Args:
      num_frames: T.
      size: B.
    """

    def __init__(self, num_frames: int, size: int) -> None:
        self.shape = (num_frames, size)
        self._frames = [b""] * num_frames

    @classmethod
    def of(cls, masks_TB: np.ndarray | MaskFilm) -> MaskFilm:
        """The film of packed masks uint8 [T, B]; a film is returned unchanged."""
        if isinstance(masks_TB, MaskFilm):
            return masks_TB
        film = cls(*masks_TB.shape)
        for index, packed_B in enumerate(masks_TB):
            film[index] = packed_B
        return film

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        """The packed mask of a frame, uint8 [B]."""
        compressed = self._frames[index]
        if not compressed:
            return np.zeros(self.shape[1], np.uint8)
        return np.frombuffer(bytearray(zlib.decompress(compressed)), np.uint8)

    def __setitem__(self, index: int, packed_B: np.ndarray) -> None:
        if packed_B.shape != self.shape[1:]:
            raise ValueError(f"a mask of {packed_B.shape} bytes for a film of {self.shape[1:]}")
        self._frames[index] = _compress(packed_B)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self), np.uint8).reshape(self.shape).astype(dtype or np.uint8, copy=False)

    def any_T(self) -> np.ndarray:
        """Bool [T], frames whose mask is not empty."""
        return np.array([bool(frame) for frame in self._frames], bool)

    def paste(self, start: int, film: MaskFilm) -> None:
        """Replace the frames from `start` on by those of another film."""
        self._frames[start : start + len(film)] = film._frames

    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """All compressed bytes uint8 [N], and their number for each frame, int64 [T]."""
        sizes_T = np.array([len(frame) for frame in self._frames], np.int64)
        return np.frombuffer(b"".join(self._frames), np.uint8), sizes_T

    @classmethod
    def unpacked(cls, data_N: np.ndarray, sizes_T: np.ndarray, size: int) -> MaskFilm:
        """The inverse of `packed`, for masks of `size` bytes."""
        film = cls(len(sizes_T), size)
        data, ends_T = data_N.tobytes(), np.cumsum(sizes_T)
        film._frames = [data[end - one : end] for end, one in zip(ends_T, sizes_T, strict=True)]
        return film


def union(films: Sequence[np.ndarray | MaskFilm], num_frames: int, size: int) -> MaskFilm:
    """The union of films, frame by frame; empty for no films."""
    joined = MaskFilm(num_frames, size)
    for index in range(num_frames if len(films) else 0):
        joined[index] = np.bitwise_or.reduce([film[index] for film in films])
    return joined


def bridge(film: np.ndarray | MaskFilm, reach: int) -> MaskFilm:
    """The film with each pixel set that is set at most `reach` frames before and after (or in the frame
    itself).
    """
    num_frames = len(film)
    bridged = MaskFilm(num_frames, film.shape[1])
    near: deque[tuple[int, np.ndarray]] = deque()
    coming = 0
    for index in range(num_frames):
        while coming < num_frames and coming <= index + reach:
            near.append((coming, film[coming]))
            coming += 1
        while near[0][0] < index - reach:
            near.popleft()
        before_B = np.bitwise_or.reduce([packed_B for at, packed_B in near if at <= index])
        bridged[index] = before_B & np.bitwise_or.reduce([packed_B for at, packed_B in near if at >= index])
    return bridged


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed `.npz`, as NumPy does; films frame by frame, as arrays uint8 [T, B]."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if not isinstance(array, MaskFilm):
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
                    continue
                header = {"descr": "|u1", "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(member, header)
                for packed_B in array:
                    member.write(packed_B.tobytes())
