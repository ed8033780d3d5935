"""The SMPL-H skeleton: 52 joints in their standard order (Romero, Tzionas and Black 2017)."""

from __future__ import annotations

import numpy as np

BODY_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The root and the 21 joints of the body; `left` is the person's own left, +x in the rest pose."""

FINGERS = ("index", "middle", "pinky", "ring", "thumb")

JOINT_NAMES = BODY_JOINTS + tuple(
    f"{side}_{finger}{segment}" for side in ("left", "right") for finger in FINGERS for segment in (1, 2, 3)
)
"""All 52 names; row `j` of every array with a joint axis is `JOINT_NAMES[j]`."""

NUM_JOINTS = len(JOINT_NAMES)

JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}
"""Joint index by name."""


def _parents() -> np.ndarray:
    body = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
    hands = [
        wrist if segment == 0 else len(body) + 15 * hand + 3 * finger + segment - 1
        for hand, wrist in enumerate((JOINT["left_wrist"], JOINT["right_wrist"]))
        for finger in range(len(FINGERS))
        for segment in range(3)
    ]
    parents = np.array(body + hands, dtype=np.int64)
    parents.flags.writeable = False
    return parents


PARENTS = _parents()
"""Parent of each joint, int64 [52]; -1 for the pelvis. A parent always comes before its children."""
