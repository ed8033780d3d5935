"""Drawn and refined frames in files, where the parts of the second pass have pools of their own.

A file has the frames of one chunk, without loss. It has no pixel of the source under a mask, because a drawn
frame has none; it has outlines and motions of people, so its folder is private and lasts as long as the run.
A refined frame is stored as its difference from the drawn one, which is zero in most pixels.

Shape suffixes: H rows, W columns, N pixels of the avatars.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.anonymize.compose.refiner import Refined, Refiner
from raymaskdp.anonymize.compose.synthesis.drawn import DrawnFrame
from raymaskdp.anonymize.compose.synthesis.layers import Pair, refined_frames
from raymaskdp.bodies.render import Rendered
from raymaskdp.files import atomic_path
from raymaskdp.video import masks

_FAST = 1
"""zlib's fastest level. A frame of 1920×1080 pixels takes 54 ms to write and 16 ms to read, and a fifth of
its size; PNG takes 93 and 41 ms, and a sixth."""

_FRAMES, _STATE, _COUNTED = "frames", "state", "counted"


@dataclass(frozen=True, kw_only=True)
class FrameFiles:
    """The files of one video's chunks, in a private folder."""

    folder: Path

    def drawn(self, number: int) -> Path:
        """The path of a chunk's drawn frames."""
        return self.folder / f"{number:05d}.drawn"

    def refined(self, number: int) -> Path:
        """The path of a chunk's refined frames."""
        return self.folder / f"{number:05d}.refined"


def save_drawn(path: Path, frames: Iterable[DrawnFrame]) -> None:
    """Write drawn frames to a file, complete or not at all."""
    indices: list[int] = []
    shape: tuple[int, ...] = ()
    with atomic_path(path, ours=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for frame in frames:
            indices.append(frame.index)
            shape = frame.emptied_HW3.shape
            drawn, mask_HW = frame.drawn, frame.drawn.mask_HW
            _add(archive, f"{frame.index}/emptied", frame.emptied_HW3)
            _add(archive, f"{frame.index}/removed", masks.pack(frame.removed_HW))
            _add(archive, f"{frame.index}/mask", masks.pack(mask_HW))
            _add(archive, f"{frame.index}/color", _inside(drawn.color_HW3, mask_HW))
            _add(archive, f"{frame.index}/depth", _inside(drawn.depth_HW, mask_HW))
            if drawn.normals_HW3 is not None:
                _add(archive, f"{frame.index}/normals", _inside(drawn.normals_HW3, mask_HW))
            _add_json(archive, f"{frame.index}/counts", dict(frame.counts))
        _add_json(archive, _FRAMES, {"indices": indices, "shape": shape})


def load_drawn(path: Path, *, depths: bool) -> Iterator[DrawnFrame]:
    """The drawn frames of a file, in order.

    Args:
      depths: whether to read depths and normals, which only the refiner needs; otherwise depths are 0.
    """
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        frames = json.loads(archive.read(_FRAMES))
        shape = tuple(frames["shape"])
        size = shape[:2]
        for index in frames["indices"]:
            mask_HW = _mask(archive, f"{index}/mask", size)
            depth_N, normals_N3 = np.zeros(0, np.float32), None
            if depths:
                depth_N = np.frombuffer(archive.read(f"{index}/depth"), np.float32)
                if f"{index}/normals" in names:
                    normals_N3 = np.frombuffer(archive.read(f"{index}/normals"), np.float32).reshape(-1, 3)
            color_N3 = np.frombuffer(archive.read(f"{index}/color"), np.uint8).reshape(-1, 3)
            yield DrawnFrame(
                index=index,
                emptied_HW3=_image(archive, f"{index}/emptied", shape),
                removed_HW=_mask(archive, f"{index}/removed", size),
                drawn=Rendered(
                    color_HW3=_spread(color_N3, mask_HW),
                    depth_HW=_spread(depth_N, mask_HW) if depths else np.zeros(size, np.float32),
                    mask_HW=mask_HW,
                    normals_HW3=None if normals_N3 is None else _spread(normals_N3, mask_HW),
                ),
                counts=json.loads(archive.read(f"{index}/counts")),
            )


def refine_chunk(files: FrameFiles, number: int, refiner: Refiner) -> bytes:
    """Refine the drawn frames of a chunk and write the result; returns the refiner's state after them."""
    frames = load_drawn(files.drawn(number), depths=True)
    with (
        atomic_path(files.refined(number), ours=True) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        for frame, refined in refined_frames(frames, refiner):
            name = str(frame.index)
            _add(archive, f"{name}/backdrop", refined.backdrop_HW3 - frame.emptied_HW3)  # modulo 256
            _add(archive, f"{name}/avatar", _inside(refined.avatar_HW3, frame.drawn.mask_HW))
            _add(archive, f"{name}/shaded", masks.pack(refined.shaded_HW))
        state = refiner.state()
        _add(archive, _STATE, state)
        _add_json(archive, _COUNTED, dict(refiner.counted()))
    return state


def load_refined(files: FrameFiles, number: int) -> Iterator[Pair]:
    """The drawn frames of a chunk with the refiner's output, in order; without depths."""
    with zipfile.ZipFile(files.refined(number)) as archive:
        for frame in load_drawn(files.drawn(number), depths=False):
            size, mask_HW = frame.removed_HW.shape, frame.drawn.mask_HW
            avatar_N3 = np.frombuffer(archive.read(f"{frame.index}/avatar"), np.uint8).reshape(-1, 3)
            yield (
                frame,
                Refined(
                    backdrop_HW3=frame.emptied_HW3
                    + _image(archive, f"{frame.index}/backdrop", frame.emptied_HW3.shape),
                    avatar_HW3=_spread(avatar_N3, mask_HW),
                    shaded_HW=_mask(archive, f"{frame.index}/shaded", size),
                ),
            )


def load_state(files: FrameFiles, number: int) -> tuple[bytes, Mapping[str, int]]:
    """The refiner's state after a refined chunk, and its counts in it."""
    with zipfile.ZipFile(files.refined(number)) as archive:
        return archive.read(_STATE), json.loads(archive.read(_COUNTED))


def _add(archive: zipfile.ZipFile, name: str, data: np.ndarray | bytes) -> None:
    """A compressed member; without a date, so that the same frames give the same bytes."""
    member = zipfile.ZipInfo(name)
    content = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    archive.writestr(member, content, zipfile.ZIP_DEFLATED, compresslevel=_FAST)


def _add_json(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    archive.writestr(zipfile.ZipInfo(name), json.dumps(value))


def _image(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(bytearray(archive.read(name)), np.uint8).reshape(shape)  # writable


def _mask(archive: zipfile.ZipFile, name: str, size: tuple[int, ...]) -> np.ndarray:
    return masks.unpack(np.frombuffer(archive.read(name), np.uint8), *size)


def _inside(values_HW: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """The values in the mask; outside they must be 0."""
    if np.any(values_HW[~mask_HW]):
        raise ValueError("an avatar has values outside its mask")
    return values_HW[mask_HW]


def _spread(values_N: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """The inverse of `_inside`."""
    values_HW = np.zeros((*mask_HW.shape, *values_N.shape[1:]), values_N.dtype)
    values_HW[mask_HW] = values_N
    return values_HW
