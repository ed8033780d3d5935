"""Straighten limbs below the image's lower edge, whatever pose the network guesses for them.

A guessed point may be inside the image: a hand before a face that fills the frame, or a squat of a person
visible to the waist. Straightened limbs extend from the shoulders and hips out of the image.

Shape suffixes: N frames, L points of a layout.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.fitting.landmarks import LandmarkLayout

LIMBS = (
    ("shoulder", "elbow", "wrist", ("pinky", "index", "thumb")),
    ("hip", "knee", "ankle", ("heel", "toe")),
)
"""First joint, middle joint and last joint of a limb, and the points beyond it."""


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
