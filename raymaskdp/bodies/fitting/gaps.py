"""Short stretches of a motion without a fit, filled from both their ends.

Shape suffixes: T frames, J joints.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

BRIDGED_S = 0.5
"""Seconds without a fit between two frames with one over which the body is moved on."""


def bridge(
    rotations_TJ3: np.ndarray,
    translation_T3: np.ndarray,
    fitted_T: np.ndarray,
    visible_T: np.ndarray,
    longest: int,
) -> np.ndarray:
    """Fill short gaps of a motion in place, evenly from their ends; bool [T], where a body is known then.

    Args:
      rotations_TJ3: axis-angle rotations.
      translation_T3: metres.
      fitted_T: frames whose body is known.
      visible_T: frames in which the person is to be seen: nobody is put where nobody is.
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
        # The shorter way round; so near each other, a blend of quaternions is a turn at even speed.
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
