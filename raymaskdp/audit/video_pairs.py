"""Pairs for the attacker: an anonymized video, and its source.

All frames read here show real people, so they stay in memory: no function of this package writes a frame.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.datasets.manifest import read_source
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import LocalPath
from raymaskdp.video import masks, reader

# Shape suffixes: T frames, H rows, W columns, h and w those of a crop.

CROP_HW = (64, 32)
"""Rows and columns of the crops for learning appearance: upright people."""


@dataclass(frozen=True, kw_only=True)
class VideoPair:
    """An anonymized video, its source, and its subject.

    Attributes:
      row: of the manifest that `anonymize` wrote; `subject`, `camera` and `label` are the source manifest's.
      folder: the folder of the anonymized video.
      source: file of the source.
      truth: file of ground truth, if the source was synthesized; else None.
    """

    row: Row
    folder: Path
    source: Path
    truth: Path | None

    @property
    def alone(self) -> bool:
        """Whether one person is visible, so that the subject is that person."""
        return self.row.num_people == 1 and self.row.subject is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Frames of a case at the same times: uint8 [T, H, W, 3] RGB, and masks, bool [T, H, W]."""

    case: VideoPair
    source_THW3: np.ndarray
    output_THW3: np.ndarray
    layer_THW3: np.ndarray
    person_THW: np.ndarray
    avatar_THW: np.ndarray


def find_cases(folder: LocalPath, sources: LocalPath, *, most: int) -> tuple[VideoPair, ...]:
    """Up to `most` anonymized videos in `folder` with their sources, as evenly distributed over subjects as
    possible.

    Args:
      sources: the manifest (or folder) that was anonymized; its subjects are the attacker's targets.

    Raises:
      UserError: nothing to compare, or a source that differs from the anonymized one.
    """
    folder = Path(folder)
    rows = [row for row in manifest.read_manifest(folder).values() if row.status == "done"]
    if not rows:
        raise UserError(f"{folder} has no anonymized video; give a folder that anonymize wrote.")
    records = {record.video_id: record for record in read_source(os.fspath(sources))}
    found = [row for row in rows if row.video_id in records]
    if not found:
        raise UserError(f"No video of {folder} is in {sources}; give the manifest that was anonymized.")
    cases = []
    for row in _spread(found, {name: record.subject for name, record in records.items()}, most):
        record = records[row.video_id]
        source = Path(record.path)
        if not source.is_file():
            raise UserError(f"The source {source} of {row.video_id} does not exist; restore it.")
        if sha256_file(source) != row.source_sha256:
            raise UserError(
                f"{source} is not the file that {row.video_id} was made from; anonymize it again."
            )
        truth = source.parent.parent / "truth" / f"{row.video_id}.npz"
        known = replace(row, subject=record.subject, camera=record.camera, label=record.label)
        cases.append(
            VideoPair(row=known, folder=folder, source=source, truth=truth if truth.is_file() else None)
        )
    return tuple(cases)


def read_pair(case: VideoPair, *, frames: int) -> Pair:
    """Up to `frames` evenly spaced frames of a case; raises `UserError` for a video that cannot be read."""
    length = case.row.num_frames
    at = np.unique(np.linspace(0, length - 1, min(frames, length)).round().astype(int))
    stem = case.folder / case.row.video_id
    arrays = read_arrays(case)
    size = int(arrays["height"]), int(arrays["width"])
    return Pair(
        case=case,
        source_THW3=reader.read_frames(case.source, at),
        output_THW3=reader.read_frames(f"{stem}.mp4", at),
        layer_THW3=reader.read_frames(f"{stem}.avatar.mp4", at),
        person_THW=masks.unpack(arrays["person_masks"][at], *size),
        avatar_THW=masks.unpack(arrays["avatar_masks"][at], *size),
    )


def read_arrays(case: VideoPair) -> dict[str, np.ndarray]:
    """The published poses and masks of a case, by name."""
    path = case.folder / f"{case.row.video_id}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}).") from error


def crops(pair: Pair, frames_THW3: np.ndarray, *, size: tuple[int, int] = CROP_HW) -> np.ndarray:
    """Crops of the person in each frame, uint8 [T', *size, 3]; frames without a mask are omitted.

    The boxes are those of the published masks, so sources and outputs have the same crops. Their heights are
    normalized, which removes the person's apparent height.
    """
    rows, columns = size
    cut = []
    for frame_HW3, person_HW, avatar_HW in zip(frames_THW3, pair.person_THW, pair.avatar_THW, strict=True):
        covered_HW = person_HW | avatar_HW
        if not covered_HW.any():
            continue
        x, y, width, height = cv2.boundingRect(covered_HW.view(np.uint8))
        wide = height * columns / rows
        left = x + width / 2 - wide / 2
        scale = rows / height
        moved = np.array([[scale, 0, -left * scale], [0, scale, -y * scale]], np.float32)
        cut.append(
            cv2.warpAffine(
                frame_HW3, moved, (columns, rows), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
            )
        )
    return np.stack(cut) if cut else np.zeros((0, rows, columns, 3), np.uint8)


def _spread(rows: list[Row], subject_of: dict[str, str | None], most: int) -> list[Row]:
    """Up to `most` rows, one of every subject in turn."""
    if len(rows) <= most:
        return rows
    by_subject: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        by_subject[subject_of[row.video_id]].append(row)
    taken: list[Row] = []
    turn = 0
    while len(taken) < most:
        taken += [group[turn] for group in by_subject.values() if turn < len(group)]
        turn += 1
    return sorted(taken[:most], key=lambda row: row.video_id)
