"""Interpolation of short gaps in a motion.

Shape suffixes: T frames, J joints.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

BRIDGED_S = 0.5
"""Longest gap between two fitted frames that is interpolated, seconds."""


def bridge(
    rotations_TJ3: np.ndarray,
    translation_T3: np.ndarray,
    fitted_T: np.ndarray,
    visible_T: np.ndarray,
    longest: int,
) -> np.ndarray:
    """Interpolate short gaps of a motion in place; returns bool [T], the frames with a body afterwards.

    Args:
      rotations_TJ3: axis-angle rotations.
      translation_T3: metres.
      fitted_T: frames with a fitted body.
      visible_T: frames in which the person is visible; only these are filled.
      longest: frames of the longest gap that is filled.
    """
    known_T = fitted_T.copy()
    for gap in runs(~fitted_T):
        before, after = gap.start - 1, gap.stop
        whole = before >= 0 and after < len(fitted_T) and visible_T[gap].all()
        if not whole or after - before - 1 > longest:
            continue
        share = np.arange(1, after - before) / (after - before)
        ends = Rotation.from_rotvec(rotations_TJ3[[before, after]].reshape(-1, 3)).as_quat()
        first_J4, last_J4 = np.split(ends, 2)
        # The shorter arc. For nearby quaternions a linear blend is a rotation at constant speed.
        last_J4 = np.where((first_J4 * last_J4).sum(-1, keepdims=True) < 0, -last_J4, last_J4)
        blend = first_J4 + share[:, None, None] * (last_J4 - first_J4)
        turns = Rotation.from_quat(blend.reshape(-1, 4)).as_rotvec()
        rotations_TJ3[gap] = turns.reshape(len(share), -1, 3)
        moved_3 = translation_T3[after] - translation_T3[before]
        translation_T3[gap] = translation_T3[before] + share[:, None] * moved_3
        known_T[gap] = True
    return known_T


def runs(flags_T: np.ndarray) -> list[slice]:
    """Uninterrupted stretches of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags_T.astype(np.int8), [0]])))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
