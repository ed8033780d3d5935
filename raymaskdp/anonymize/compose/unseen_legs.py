"""Which legs a video does not show, from the visibility of their landmarks.

Shape suffixes: T frames, L = 33 landmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter1d

from raymaskdp.anonymize.people.people import People
from raymaskdp.bodies.fitting.hidden_limbs import unseen_feet, unseen_legs
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.without_legs import Unseen

STEADY_S = 1.0
"""Seconds of which most frames must agree, so that legs do not come and go."""


def hide_unseen_legs(motions: Sequence[Motion], people: People) -> list[Motion]:
    """The motions with `unseen_T`. Other landmarks than MediaPipe's have no visibility."""
    if people.layout != MEDIAPIPE:
        return list(motions)
    return [
        dataclasses.replace(
            motion, unseen_T=unseen_T(person.keypoints_TL3[..., 2], person.cut_off_T, people.fps)
        )
        for motion, person in zip(motions, people.persons, strict=True)
    ]


def unseen_T(visibility_TL: np.ndarray, cut_off_T: np.ndarray, fps: float) -> np.ndarray:
    """`Unseen` of each frame, uint8 [T].

    Args:
      visibility_TL: of MediaPipe's landmarks; NaN where there are none.
      cut_off_T: bool, the body ends at the frame's lower edge; legs that continue below it are drawn.
    """
    known_T = np.isfinite(visibility_TL).all(1)
    if not known_T.any():
        return np.zeros(len(visibility_TL), np.uint8)
    known_NL, hidden_N = visibility_TL[known_T], ~cut_off_T[known_T]
    shins_T = _mostly(hidden_N & unseen_feet(known_NL, MEDIAPIPE), known_T, fps)
    legs_T = _mostly(hidden_N & unseen_legs(known_NL, MEDIAPIPE), known_T, fps)
    return np.where(legs_T, Unseen.LEGS, np.where(shins_T, Unseen.SHINS, Unseen.NOTHING)).astype(np.uint8)


def _mostly(unseen_N: np.ndarray, known_T: np.ndarray, fps: float) -> np.ndarray:
    """Whether something holds in most known frames around each frame, bool [T]."""
    at_T = np.arange(len(known_T))
    share_T = np.interp(at_T, np.flatnonzero(known_T), unseen_N.astype(float))
    return np.asarray(uniform_filter1d(share_T, max(1, round(STEADY_S * fps)), mode="nearest") > 0.5)
