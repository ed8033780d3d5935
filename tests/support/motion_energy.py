"""What moves where and how fast in a video of one person, as numbers that know nothing of looks.

Learned by no network: differences between neighbouring frames, small and about their middle. Videos of the
same motion are alike in them whoever is in it, in front of whatever.

Shape suffixes: T frames, h x w small pictures, F numbers, N videos.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

WIDTH, HEIGHT = 96, 72
NOISE = 6.0
"""Differences below this are noise, in 8-bit levels."""


def motion_energy(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Numbers [F] of a video's frames, uint8 RGB [H, W, 3]: where it moves, how much, and in what rhythm."""
    small_Thw = np.stack(
        [
            cv2.cvtColor(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            for frame in frames
        ]
    ).astype(np.float32)
    moved_Thw = np.abs(np.diff(small_Thw, axis=0))
    moved_Thw[moved_Thw < NOISE] = 0
    columns = moved_Thw.sum((0, 1))
    middle = (columns * np.arange(WIDTH)).sum() / max(float(columns.sum()), 1.0)
    moved_Thw = np.roll(moved_Thw, round(WIDTH / 2 - float(middle)), axis=2)
    cells_Thw = np.stack([cv2.resize(one, (12, 9), interpolation=cv2.INTER_AREA) for one in moved_Thw])
    rhythm = np.abs(np.fft.rfft(cells_Thw.sum((1, 2)) - cells_Thw.sum((1, 2)).mean()))[1:9]
    heights = cells_Thw.sum(2) - cells_Thw.sum(2).mean(0)
    parts = [
        _either_side(cells_Thw.mean(0)),
        _either_side(cells_Thw.std(0)),
        rhythm,
        np.abs(np.fft.rfft(heights, axis=0))[1:7].ravel(),
    ]
    return np.concatenate([np.sqrt(part / (part.sum() + 1e-6)) for part in parts])


def _either_side(cells_hw: np.ndarray) -> np.ndarray:
    """The same for a picture and its mirror image."""
    return np.concatenate([cells_hw + cells_hw[:, ::-1], np.abs(cells_hw - cells_hw[:, ::-1])], 1).ravel()


def distances(one_NF: np.ndarray, other_NF: np.ndarray) -> np.ndarray:
    """How unlike videos are [N, N], by their numbers about the mean of the second ones; 0 for the same."""
    one_NF, other_NF = (values - other_NF.mean(0) for values in (one_NF, other_NF))
    lengths = np.outer(np.linalg.norm(one_NF, axis=1), np.linalg.norm(other_NF, axis=1))
    return np.asarray(1 - one_NF @ other_NF.T / np.maximum(lengths, 1e-9))
