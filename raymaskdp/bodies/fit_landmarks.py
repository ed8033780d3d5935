"""Where MediaPipe's 33 landmarks lie on an SMPL-H body: points fixed to joints.

Shape suffixes: J = 52 joints, V vertices, L = 33 landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymaskdp.bodies.body import Body
from raymaskdp.bodies.skeleton import JOINT

ON_JOINT = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow",
    15: "left_wrist", 16: "right_wrist", 23: "left_hip", 24: "right_hip", 25: "left_knee",
    26: "right_knee", 27: "left_ankle", 28: "right_ankle",
}  # fmt: skip
"""Landmarks that are joints."""


MEASURED_MM = {
    0: (0, 22, -28), 1: (-6, 18, -14), 2: (-6, 18, -16), 3: (-11, 18, -18), 7: (-35, 10, 9),
    9: (-8, 28, -20), 11: (-16, 30, 0), 13: (-3, 3, 16), 15: (13, 1, 8), 17: (-6, -7, 33),
    19: (-14, -5, -13), 21: (18, 16, -22), 23: (-9, -13, 21), 25: (-6, -10, 6), 27: (-2, 35, 1),
    29: (-7, 23, -7), 31: (3, 25, -7),
}  # fmt: skip
"""How far the network's landmarks lie from the points below, on average (x outward, y up, z forward).

Measured on 40 rendered people in 320 random poses seen from all sides; left and right averaged.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """Landmarks of one shape in the rest pose.

    Attributes:
      joint_L: int64 [33], the joint that each landmark moves with.
      offset_L3: float64 [33, 3], from that joint, in the rest pose, metres.
      trust_L: float64 [33], how well the point is defined on the body, in [0, 1].
    """

    joint_L: np.ndarray
    offset_L3: np.ndarray
    trust_L: np.ndarray


def landmarks_of(body: Body, betas_S: np.ndarray) -> Landmarks:
    """The landmarks of a shape, read off its skin in the rest pose (T-pose, y up, facing +z)."""
    rest_J3 = body.rest_joints(betas_S).astype(np.float64)
    skin_V3 = body.surface.shaped(betas_S).astype(np.float64)
    owner_V = body.surface.weights_VJ.argmax(1)
    joint_L = np.zeros(33, np.int64)
    point_L3 = np.zeros((33, 3))
    trust_L = np.full(33, 0.3)

    def place(landmark: int, joint: str, point_3: np.ndarray, trust: float) -> None:
        joint_L[landmark] = JOINT[joint]
        point_L3[landmark] = point_3
        trust_L[landmark] = trust

    for landmark, joint in ON_JOINT.items():
        place(landmark, joint, rest_J3[JOINT[joint]], 1.0)
    head_V3 = skin_V3[owner_V == JOINT["head"]]
    nose = head_V3[head_V3[:, 2].argmax()]
    ear_height = nose[1] + 0.01
    band = head_V3[np.abs(head_V3[:, 1] - ear_height) < 0.03]
    half_width = np.abs(band[:, 0]).max()
    middle = 0.5 * (band[:, 2].max() + band[:, 2].min())
    place(0, "head", nose, 0.6)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        odd = 0 if side == "left" else 1
        for landmark, across in ((1, 0.02), (2, 0.03), (3, 0.045)):
            eye = nose + np.array([sign * across, 0.035, -0.03 - 0.2 * across])
            place(landmark + 3 * odd, "head", eye, 0.2)
        ear = np.array([sign * half_width, ear_height + 0.015, middle])
        place(7 + odd, "head", ear, 0.6)
        place(9 + odd, "head", nose + np.array([sign * 0.025, -0.04, -0.02]), 0.2)
        hand = {finger: rest_J3[JOINT[f"{side}_{finger}1"]] for finger in ("index", "pinky")}
        place(17 + odd, f"{side}_wrist", hand["pinky"], 0.3)
        place(19 + odd, f"{side}_wrist", hand["index"], 0.3)
        place(21 + odd, f"{side}_wrist", rest_J3[JOINT[f"{side}_thumb2"]], 0.2)
        ankle, ball = rest_J3[JOINT[f"{side}_ankle"]], rest_J3[JOINT[f"{side}_foot"]]
        foot_V3 = skin_V3[np.isin(owner_V, [JOINT[f"{side}_ankle"], JOINT[f"{side}_foot"]])]
        sole = foot_V3[:, 1].min()
        heel = np.array([ankle[0], sole + 0.025, foot_V3[:, 2].min() + 0.02])
        place(29 + odd, f"{side}_ankle", heel, 0.5)
        toe = np.array([ball[0], sole + 0.015, 0.3 * ball[2] + 0.7 * foot_V3[:, 2].max()])
        place(31 + odd, f"{side}_ankle", toe, 0.5)
    for landmark, shift in MEASURED_MM.items():
        mirrored = landmark if landmark == 0 else _mirror(landmark)
        point_L3[landmark] += np.array(shift) / 1000
        if mirrored != landmark:
            point_L3[mirrored] += np.array(shift) * (-1, 1, 1) / 1000
    return Landmarks(joint_L=joint_L, offset_L3=point_L3 - rest_J3[joint_L], trust_L=trust_L)


def _mirror(landmark: int) -> int:
    """The right-hand landmark of a left-hand one."""
    return landmark + (3 if landmark <= 6 else 1)
