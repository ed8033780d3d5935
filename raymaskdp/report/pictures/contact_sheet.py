"""`raymaskdp sheet`: a contact sheet of anonymized videos, from the source to the output, as one image.

There is a block for each video: frames from left to right, and from top to bottom the source, the removed
area, the avatars, and the output.

Shape suffixes: T frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.datasets.source_lookup import original
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, require_ours, require_unpublished
from raymaskdp.places import LocalPath
from raymaskdp.report.pictures.filmstrips import GAP_PX, beside, frame_indices
from raymaskdp.video import reader
from raymaskdp.video.masks import unpack

LABEL_PX = 74
SUFFIXES = (".png", ".jpg", ".jpeg")
TAKEN_OUT = np.array([255, 64, 96], np.float32)
AVATAR_GROUND = np.array([228, 228, 228], np.uint8)


@dataclass(frozen=True, kw_only=True)
class SheetResult:
    """The image that was written.

    Attributes:
      path: the file.
      videos: the names of its videos.
    """

    path: str
    videos: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: {', '.join(self.videos)}"


def sheet(
    folder: LocalPath,
    out: LocalPath,
    *,
    videos: int = 3,
    frames: int = 6,
    height: int = 120,
    show_sources: bool = False,
) -> SheetResult:
    """Write a contact sheet of videos in `folder`, which `anonymize` wrote.

    Args:
      folder: the folder with the manifest.
      out: a .png or .jpg file.
      videos, frames: largest numbers of videos, and of frames of each.
      height: of a frame in the sheet, pixels.
      show_sources: add frames of the *source* videos; otherwise the removed area is drawn on white. Such a
        sheet is for its owner alone, and never lies among the outputs.

    Raises:
      UserError: there is no anonymized video, or a requested source is missing.
    """
    if Path(out).suffix.lower() not in SUFFIXES:
        raise UserError(f"A contact sheet is an image; give {out} one of the endings {', '.join(SUFFIXES)}.")
    require_ours(Path(out), of=Path(folder))  # before the work
    if show_sources:
        require_unpublished(Path(out), [Path(folder)])
    rows = manifest.read_manifest(Path(folder))
    if not rows:
        raise UserError(f"{folder} has no manifest.parquet; give a folder that anonymize wrote.")
    done = [row for _, row in sorted(rows.items()) if row.status == "done"]
    if not done:
        raise UserError(f"{folder} has no anonymized video, so there is nothing to show.")
    chosen = [done[index] for index in frame_indices(len(done), videos)]
    blocks = [_block(Path(folder), row, frames, height, show_sources) for row in chosen]
    width = max(block.shape[1] for block in blocks)
    padded = [
        np.pad(block, ((0, 3 * GAP_PX), (0, width - block.shape[1]), (0, 0)), constant_values=255)
        for block in blocks
    ]
    with atomic_path(Path(out), of=Path(folder)) as temporary:
        encoded, data = cv2.imencode(Path(out).suffix, cv2.cvtColor(np.vstack(padded), cv2.COLOR_RGB2BGR))
        if not encoded:
            raise RuntimeError("OpenCV could not encode the contact sheet.")
        temporary.touch(mode=0o600 if show_sources else 0o666)
        temporary.write_bytes(data.tobytes())
    return SheetResult(path=str(out), videos=tuple(row.video_id for row in chosen))


def _block(folder: Path, row: Row, frames: int, height: int, show_sources: bool) -> np.ndarray:
    indices = frame_indices(row.num_frames, frames)
    with np.load(folder / f"{row.video_id}.npz", allow_pickle=False) as stored:
        size = int(stored["height"]), int(stored["width"])
        removed_THW = [unpack(stored["person_masks"][index], *size) for index in indices]
        avatars_THW = [unpack(stored["avatar_masks"][index], *size) for index in indices]
    output = reader.read_frames(folder / f"{row.video_id}.mp4", indices)
    layer = reader.read_frames(folder / f"{row.video_id}.avatar.mp4", indices)
    avatars = [
        np.where(mask[..., None], frame, AVATAR_GROUND)
        for frame, mask in zip(layer, avatars_THW, strict=True)
    ]
    rows: list[tuple[str, list[np.ndarray]]] = []
    ground = [np.full((*size, 3), 255, np.uint8) for _ in indices]
    if show_sources:
        ground = list(reader.read_frames(original(row.source, row.source_sha256), indices))
        rows.append(("source", ground))
    taken = [_tinted(frame, mask) for frame, mask in zip(ground, removed_THW, strict=True)]
    rows += [("taken out", taken), ("avatar", avatars), ("output", list(output))]
    strips = [_labelled(name, beside(pictures, height=height)) for name, pictures in rows]
    gap = np.full((GAP_PX, strips[0].shape[1], 3), 255, np.uint8)
    return np.vstack([part for strip in strips for part in (strip, gap)])


def _tinted(frame_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    mixed = frame_HW3.astype(np.float32)
    mixed[mask_HW] = 0.35 * mixed[mask_HW] + 0.65 * TAKEN_OUT
    return mixed.astype(np.uint8)


def _labelled(name: str, strip_HW3: np.ndarray) -> np.ndarray:
    label_HW3 = np.full((len(strip_HW3), LABEL_PX, 3), 255, np.uint8)
    cv2.putText(
        label_HW3,
        name,
        (4, len(strip_HW3) // 2),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42,
        (40, 40, 40),
        1,
        cv2.LINE_AA,
    )
    return np.hstack([label_HW3, strip_HW3])
