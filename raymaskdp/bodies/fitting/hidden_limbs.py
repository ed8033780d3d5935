"""Limbs that are not seen: which they are, and straighten those below the image's lower edge.

A guessed point may be inside the image: a hand before a face that fills the frame, or a squat of a person
visible to the waist. Straightened limbs extend from the shoulders and hips out of the image.

Shape suffixes: N frames, L points of a layout.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE, LandmarkLayout

LIMBS = (
    ("shoulder", "elbow", "wrist", ("pinky", "index", "thumb")),
    ("hip", "knee", "ankle", ("heel", "toe")),
)
"""First joint, middle joint and last joint of a limb, and the points beyond it."""


SEEN, KNEE_SEEN = 0.3, 0.4
"""Least visibility of feet, and of knees, that are seen. In five real clips the ankles of people behind
tables, or cut off by the frame, had 0.04 to 0.15 at the median, and those of others 0.8 to 1."""


def unseen_feet(visibility_NL: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Whether both feet are unseen, bool [N]. One foot behind the other one has a low visibility, too."""
    feet = layout.rows(["left_ankle", "right_ankle", "left_toe", "right_toe"])
    return np.asarray(visibility_NL[:, feet].max(1) < SEEN)


def unseen_legs(visibility_NL: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Whether both legs are unseen, from the knees on, bool [N]."""
    knees = layout.rows(["left_knee", "right_knee"])
    return np.asarray(unseen_feet(visibility_NL, layout) & (visibility_NL[:, knees].max(1) < KNEE_SEEN))


def cut_off_legs(cut_off_N: np.ndarray, visibility_NL: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """The points of unseen legs of a body that ends at the frame's lower edge, bool [N, L].

    Wherever the network guesses them, they are below the frame. Only MediaPipe's landmarks have a visibility.
    """
    cut_NL = np.zeros(visibility_NL.shape, bool)
    if layout != MEDIAPIPE or not cut_off_N.any():
        return cut_NL
    points = ("knee", "ankle", "heel", "toe")
    rows = layout.rows([f"{side}_{point}" for side in ("left", "right") for point in points])
    cut_NL[:, rows] = (cut_off_N & unseen_legs(visibility_NL, layout))[:, None]
    return cut_NL


def straighten_hidden_limbs(
    points_NL3: np.ndarray, below_NL: np.ndarray, layout: LandmarkLayout
) -> np.ndarray:
    """Points in space; limbs that bend below the image point down along the torso instead.

    Args:
      points_NL3: in any axes and unit; `layout` has shoulders, hips and all points of `LIMBS`.
      below_NL: points below the lower edge.

    A limb of which only the end is below the edge stays unchanged.
    """
    result = points_NL3.copy()
    shoulders, hips = (
        points_NL3[:, layout.rows([f"left_{joint}", f"right_{joint}"])].mean(1)
        for joint in ("shoulder", "hip")
    )
    down_N3 = hips - shoulders
    down_N3 = down_N3 / np.maximum(np.linalg.norm(down_N3, axis=1, keepdims=True), 1e-9)
    for side in ("left", "right"):
        for begin, bend, end, behind in LIMBS:
            a, b, c = layout.rows([f"{side}_{joint}" for joint in (begin, bend, end)])
            unseen_N1 = below_NL[:, [b]]
            upper, lower = (
                np.linalg.norm(points_NL3[:, to] - points_NL3[:, at], axis=1, keepdims=True)
                for at, to in ((a, b), (b, c))
            )
            bend_N3 = points_NL3[:, a] + upper * down_N3
            end_N3 = bend_N3 + lower * down_N3
            result[:, b] = np.where(unseen_N1, bend_N3, points_NL3[:, b])
            for row in (c, *layout.rows([f"{side}_{joint}" for joint in behind])):
                moved_N3 = points_NL3[:, row] + end_N3 - points_NL3[:, c]
                result[:, row] = np.where(unseen_N1, moved_N3, points_NL3[:, row])
    return result
