"""Legs that a video does not show: below its edge, behind a table, under a blanket. They are not drawn.

A leg ends in a point at its first undrawn joint. This depends on the estimated pose alone, and not on the
person's outline.

Shape suffixes: V vertices, J = 52 joints.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS, PARENTS


class Unseen(IntEnum):
    """What is not drawn of both legs."""

    NOTHING = 0
    SHINS = 1
    LEGS = 2


_FIRST = {
    Unseen.NOTHING: (),
    Unseen.SHINS: ("left_knee", "right_knee"),
    Unseen.LEGS: ("left_hip", "right_hip"),
}

MAINLY = 0.5
"""A vertex is not drawn if undrawn joints have at least this share of its weight."""


def without(
    unseen: Unseen, rest_V3: np.ndarray, weights_VJ: np.ndarray, joints_J3: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inputs of skinning with the undrawn vertices at their first undrawn joint.

    Args:
      rest_V3, weights_VJ, joints_J3: vertices, weights and joints in the rest pose.

    Returns the vertices [V, 3], the weights [V, J], and the undrawn vertices, bool [V].
    """
    rest_V3, weights_VJ = rest_V3.copy(), weights_VJ.copy()
    below = {name: _from(JOINT[name]) for name in _FIRST[unseen]}
    weight_V = weights_VJ[:, [joint for joints in below.values() for joint in joints]].sum(1)
    undrawn_V = weight_V >= MAINLY
    shares = np.array([weights_VJ[:, joints].sum(1) for joints in below.values()]).reshape(len(below), -1)
    for side, name in enumerate(below):
        here_V = undrawn_V & (shares.argmax(0) == side)
        rest_V3[here_V] = joints_J3[JOINT[name]]
        weights_VJ[here_V] = 0
        weights_VJ[here_V, PARENTS[JOINT[name]]] = 1
    return rest_V3, weights_VJ, undrawn_V


def _from(first: int) -> list[int]:
    """A joint and all joints that hang on it."""
    found = [first]
    for joint in range(first + 1, NUM_JOINTS):  # parents come before their children
        if int(PARENTS[joint]) in found:
            found.append(joint)
    return found
