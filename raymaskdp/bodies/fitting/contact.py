"""Foot contact: a foot that stands on the ground must not slide.

It is decided in the image, from smoothed landmarks, before the refinement. If the camera moves, every foot
moves in the image, so no foot counts as standing. A foot that drifts is released.

Shape suffixes: T frames, L points of a layout, F = 2 feet (left, right).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raymaskdp.bodies.fitting.landmarks import LandmarkLayout
from raymaskdp.bodies.skeleton import JOINT

# Speeds in body heights a second: a foot begins to stand below the first, and stops above the second.
_STANDS, _LEAVES = 0.12, 0.2
# In body heights: largest distance of a standing foot from its mean place, and height above the other foot.
_STRAYS, _ABOVE = 0.02, 0.08
# Shorter stands, in seconds, are the turning points of a swing.
_SHORTEST = 0.2

FEET = tuple((JOINT[f"{side}_ankle"], JOINT[f"{side}_foot"]) for side in ("left", "right"))


def standing(keypoints_TL3: np.ndarray, layout: LandmarkLayout, fps: float) -> np.ndarray:
    """Number of the stand that a foot is in, from 1, int64 [T, F]; 0 if it does not stand.

    Args:
      keypoints_TL3: smoothed x, y in pixels (y down) and weight.
      layout: the points' names.
      fps: frames a second.
    """
    stands_TF = np.zeros((len(keypoints_TL3), 2), np.int64)
    if len(keypoints_TL3) < 3:
        return stands_TF
    height = float(np.median(np.ptp(keypoints_TL3[..., :2], axis=1).max(-1))) or 1.0
    place_TL2 = keypoints_TL3[..., :2] / height
    rows = [
        layout.rows(p for p in (f"{side}_ankle", f"{side}_toe") if layout.has(p))
        for side in ("left", "right")
    ]
    # The fastest of a foot's points counts: a foot that turns on its toes or heel does not stand.
    speed_TL = np.linalg.norm(np.gradient(place_TL2, 1 / fps, axis=0), axis=-1)
    speed_TF = np.stack([speed_TL[:, points].max(1) for points in rows], 1)
    ankle_TF2 = np.stack([place_TL2[:, points[0]] for points in rows], 1)
    low_TF = ankle_TF2[..., 1].max(1, keepdims=True) - ankle_TF2[..., 1] < _ABOVE
    number = 0
    for foot in range(2):
        for begin, end in _stands(ankle_TF2[:, foot], speed_TF[:, foot], low_TF[:, foot]):
            if (end - begin) / fps >= _SHORTEST and end - begin > 1:
                number += 1
                stands_TF[begin:end, foot] = number
    return stands_TF


def skating(joints_TJ3: Tensor, stands_TF: Tensor) -> Tensor:
    """Mean squared distance of standing feet's joints from their mean place in the stand."""
    total = joints_TJ3.new_zeros(())
    for foot, joints in enumerate(FEET):
        stand_T = stands_TF[:, foot]
        points = joints_TJ3[:, joints].flatten(1)  # ankle and ball of the foot
        count = torch.bincount(stand_T).clamp_min(1)[:, None]
        mean = points.new_zeros(len(count), points.shape[1]).index_add(0, stand_T, points) / count
        total = total + ((points - mean[stand_T]).square().sum(-1) * (stand_T > 0)).mean()
    return total / 4


def _stands(place_T2: np.ndarray, speed_T: np.ndarray, low_T: np.ndarray) -> list[tuple[int, int]]:
    """Stands of one foot as (first frame, frame after the last), with hysteresis."""
    stands, begin = [], -1
    for frame in range(len(place_T2) + 1):
        if begin >= 0:
            over = frame == len(place_T2) or not low_T[frame] or speed_T[frame] > _LEAVES
            if over or np.linalg.norm(place_T2[frame] - place_T2[begin:frame].mean(0)) > _STRAYS:
                stands.append((begin, frame))
                begin = -1
        if begin < 0 and frame < len(place_T2) and low_T[frame] and speed_T[frame] < _STANDS:
            begin = frame
    return stands
