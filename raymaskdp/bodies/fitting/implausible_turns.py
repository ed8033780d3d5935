"""Frames of a motion with an implausible torso: one that flips over and back, or that spins continuously.

A network that sees little of a person guesses the orientation of the torso anew in every frame.

Shape suffixes: T frames, N frames with a body, J joints.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

FLIP, ALIKE = 45.0, 0.7
"""A torso flips if its rotation from the frames before and after exceeds this many degrees, while the
rotation between those is less than this share of it."""

REACH_S = (1 / 15, 1 / 7, 1 / 5)
"""Distances in time of the frames before and after, seconds."""

WINDOW_S, FASTEST = 1.0, 360.0
"""A torso that rotates faster than the second, degrees a second on average over the first, seconds, is a
guess."""


def flips(rotations_TJ3: np.ndarray, known_T: np.ndarray, fps: float) -> np.ndarray:
    """Frames whose torso is flipped relative to the frames shortly before and after, bool [T].

    Args:
      rotations_TJ3: axis-angle; row 0 is the torso's.
      known_T: frames that have a body.
      fps: frames a second.
    """
    at_N = np.flatnonzero(known_T)
    flips_T = np.zeros(len(known_T), bool)
    if len(at_N) < 3:
        return flips_T
    torso = Rotation.from_rotvec(rotations_TJ3[at_N, 0])
    for reach in sorted({max(1, round(fps * seconds)) for seconds in REACH_S}):
        before_N = np.searchsorted(at_N, at_N - reach, side="right") - 1
        after_N = np.searchsorted(at_N, at_N + reach)
        inner = np.flatnonzero((before_N >= 0) & (after_N < len(at_N)))
        # Frames across a longer gap are not compared.
        inner = inner[(at_N[after_N[inner]] - at_N[before_N[inner]]) <= 4 * reach]
        if not len(inner):
            continue
        here, before, after = torso[inner], torso[before_N[inner]], torso[after_N[inner]]
        off = np.minimum(_degrees(before, here), _degrees(after, here))
        flips_T[at_N[inner]] |= (off > FLIP) & (_degrees(before, after) < ALIKE * off)
    return flips_T


def spinning(rotations_TJ3: np.ndarray, known_T: np.ndarray, fps: float) -> np.ndarray:
    """Frames around which the torso rotates faster than `FASTEST` for `WINDOW_S`, bool [T]."""
    at_N = np.flatnonzero(known_T)
    spinning_T = np.zeros(len(known_T), bool)
    if len(at_N) < 2:
        return spinning_T
    torso = Rotation.from_rotvec(rotations_TJ3[at_N, 0])
    turned_T, steps_T = np.zeros(len(known_T)), np.zeros(len(known_T))
    near = np.diff(at_N) <= fps * WINDOW_S
    turned_T[at_N[1:][near]] = _degrees(torso[:-1], torso[1:])[near]
    steps_T[at_N[1:][near]] = np.diff(at_N)[near] / fps
    half = max(1, round(fps * WINDOW_S / 2))
    window = np.ones(2 * half + 1)
    turned_T, steps_T = (np.convolve(values, window)[half:-half] for values in (turned_T, steps_T))
    # At either end the nearest whole window is used, because a part of one is too short.
    low, high = at_N[0] + half, at_N[-1] - half
    middle_N = np.clip(at_N, low, high) if low <= high else np.full(len(at_N), (at_N[0] + at_N[-1]) // 2)
    spinning_T[at_N] = (turned_T > FASTEST * steps_T)[middle_N]
    return spinning_T


def _degrees(one: Rotation, other: Rotation) -> np.ndarray:
    return np.asarray(np.degrees((one.inv() * other).magnitude()))
