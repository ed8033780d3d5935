"""Find the data set's file of a video, and link points from one frame to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError

FAR = 1.0
"""Points that move by more than this share of a body's extent in one frame belong to another body."""


def file_of(folder: Path, record: VideoRecord, patterns: Sequence[str]) -> Path:
    """The file of a video: the first of `patterns` that exists; "{name}" is the video's name.

    The name is that of the video file without its suffix (and without NTU's "_rgb"), or the video's id.
    Raises `UserError` if there is no file, because a video is never processed without its skeletons.
    """
    stem = Path(record.path).stem
    names = dict.fromkeys([stem, stem.removesuffix("_rgb"), record.video_id])
    tried = [pattern.format(name=name) for name in names for pattern in patterns]
    for relative in tried:
        if (folder / relative).exists():
            return folder / relative
    listed = " or ".join(pattern.format(name=stem.removesuffix("_rgb")) for pattern in patterns)
    raise UserError(f"There are no skeletons of {record.video_id}: {folder} has no {listed}.")


def check_length(frames: int, num_frames: int, fps: float, path: Path) -> None:
    """Raise `UserError` unless a file covers a video to within a tenth of a second."""
    if abs(frames - num_frames) > max(1, round(0.1 * fps)):
        raise UserError(
            f"The skeletons {path} cover {frames} frames, but the video has {num_frames}; "
            "give the file of this very video."
        )


def linked(frames: Sequence[np.ndarray], gap: int) -> list[dict[int, int]]:
    """Bodies linked from frame to frame, by optimal assignment to their predicted places.

    Args:
      frames: the points of every body in each frame, float [N, L, 2] with any N.
      gap: number of frames for which a body may be missing and remain the same.

    Returns:
      For each body, its row in each frame that has it.
    """
    tracks: list[dict[int, int]] = []
    for now, bodies in enumerate(frames):
        active = [track for track in tracks if now - max(track) <= gap + 1]
        taken: set[int] = set()
        if active and len(bodies):
            expected = np.array([_expected(frames, track, now) for track in active])
            extent = np.ptp(expected, axis=1).max(-1).clip(1e-6)
            cost = np.linalg.norm(expected[:, None] - bodies[None], axis=-1).mean(-1) / extent[:, None]
            waited = np.array([now - max(track) for track in active])
            for row, column in zip(*linear_sum_assignment(np.minimum(cost, 1e3)), strict=True):
                if cost[row, column] < min(FAR, 0.4 * waited[row]):
                    active[row][now] = int(column)
                    taken.add(int(column))
        tracks += [{now: row} for row in range(len(bodies)) if row not in taken]
    return tracks


def _expected(frames: Sequence[np.ndarray], track: dict[int, int], now: int) -> np.ndarray:
    """The predicted points of a body that continues its motion, [L, 2]."""
    last = max(track)
    points = frames[last][track[last]]
    before = max((frame for frame in track if frame < last), default=None)
    if before is None:
        return points
    moved = (points - frames[before][track[before]]).mean(0) / (last - before)
    return np.asarray(points + moved * (now - last))
