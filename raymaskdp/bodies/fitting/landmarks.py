"""Positions on an SMPL-H body of the points of a source's skeleton: points fixed to joints.

Sources have different points of a person (MediaPipe 33, Kinect 25, LCR-Net 13). A `LandmarkLayout` names
them. The code of the fit refers to points by name, and uses those that exist.

Shape suffixes: J = 52 joints, V vertices, L points of a layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from raymaskdp import check
from raymaskdp.bodies.body import Body
from raymaskdp.bodies.skeleton import BODY_JOINTS, JOINT
from raymaskdp.errors import UserError

LIMB_POINTS = tuple(
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
"""Points that every layout must have: a body cannot be posed without them."""

POINTS = frozenset(BODY_JOINTS) | {
    "nose", "head_centre", "shoulder_centre",
    *(
        f"{side}_{point}"
        for side in ("left", "right")
        for point in (
            "eye_inner", "eye", "eye_outer", "ear", "mouth",
            "pinky", "index", "thumb", "hand", "hand_tip", "thumb_tip", "heel", "toe",
        )
    ),
}  # fmt: skip
"""All names of points: the joints of the body, and points of its skin and hands."""


@dataclass(frozen=True, kw_only=True)
class LandmarkLayout:
    """The points of a person that a source has.

    Attributes:
      points: names in `POINTS`, in the order of the source's rows; `left` is the person's left in an image
        that is not mirrored.
      shift_mm: by name, the mean offset of the source's point from the point of that name on the body (x
        outward, y up, z forward, of the left or middle one; the right is its mirror image).
      in_camera: whether the points in space have the camera's axes. Otherwise they have those of a crop
        around the person, and are rotated by means of the image points.
    """

    points: tuple[str, ...]
    shift_mm: tuple[tuple[str, tuple[float, float, float]], ...] = ()
    in_camera: bool = False

    def __post_init__(self) -> None:
        for point in self.points:
            check.one_of("a point of a layout", point, sorted(POINTS))
        missing = sorted(set(LIMB_POINTS) - set(self.points))
        if missing or len(set(self.points)) != len(self.points):
            raise UserError(
                f"A layout must name every shoulder, elbow, wrist, hip, knee and ankle once, but "
                f"{', '.join(missing) or 'a point'} is {'missing' if missing else 'named twice'}."
            )

    def row(self, point: str) -> int:
        """The row of a point."""
        return self.points.index(point)

    def rows(self, points: Iterable[str]) -> list[int]:
        """The rows of several points."""
        return [self.row(point) for point in points]

    def has(self, *points: str) -> bool:
        """Whether all these points are given."""
        return set(points) <= set(self.points)

    def limbs(self) -> list[tuple[int, int]]:
        """Rows of pairs of points whose direction determines the pose."""
        return [(self.row(a), self.row(b)) for a, b in _limbs() if self.has(a, b)]


def _limbs() -> Iterator[tuple[str, str]]:
    for side in ("left", "right"):
        yield f"{side}_shoulder", f"{side}_elbow"
        yield f"{side}_elbow", f"{side}_wrist"
        yield f"{side}_hip", f"{side}_knee"
        yield f"{side}_knee", f"{side}_ankle"
        yield f"{side}_hip", f"{side}_shoulder"
        yield f"{side}_heel", f"{side}_toe"
    yield "right_shoulder", "left_shoulder"
    yield "right_hip", "left_hip"
    yield "right_ear", "left_ear"
    yield "left_ear", "nose"
    yield "right_ear", "nose"


def _both(*points: str) -> tuple[str, ...]:
    """The left and right ones of points, in turn."""
    return tuple(f"{side}_{point}" for point in points for side in ("left", "right"))


MEDIAPIPE = LandmarkLayout(
    points=(
        "nose", "left_eye_inner", "left_eye", "left_eye_outer",
        "right_eye_inner", "right_eye", "right_eye_outer",
        *_both(
            "ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb",
            "hip", "knee", "ankle", "heel", "toe",
        ),
    ),
    shift_mm=(
        ("nose", (0, 22, -28)), ("left_eye_inner", (-6, 18, -14)), ("left_eye", (-6, 18, -16)),
        ("left_eye_outer", (-11, 18, -18)), ("left_ear", (-35, 10, 9)), ("left_mouth", (-8, 28, -20)),
        ("left_shoulder", (-16, 30, 0)), ("left_elbow", (-3, 3, 16)), ("left_wrist", (13, 1, 8)),
        ("left_pinky", (-6, -7, 33)), ("left_index", (-14, -5, -13)), ("left_thumb", (18, 16, -22)),
        ("left_hip", (-9, -13, 21)), ("left_knee", (-6, -10, 6)), ("left_ankle", (-2, 35, 1)),
        ("left_heel", (-7, 23, -7)), ("left_toe", (3, 25, -7)),
    ),
)  # fmt: skip
"""MediaPipe's 33 landmarks (Bazarevsky et al. 2020).

The shifts were measured on 40 rendered people in 320 random poses from all directions; left and right
averaged.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """Points of a layout on one shape in the rest pose.

    Attributes:
      layout: which points.
      joint_L: int64 [L], the joint that each point is fixed to.
      offset_L3: float64 [L, 3], from that joint, in the rest pose, metres.
      trust_L: float64 [L], how precisely the point is defined on the body, in [0, 1].
    """

    layout: LandmarkLayout
    joint_L: np.ndarray
    offset_L3: np.ndarray
    trust_L: np.ndarray

    def rest_L3(self, rest_J3: np.ndarray) -> np.ndarray:
        """The points in the rest pose, [L, 3], given the joints [52, 3] there."""
        return np.asarray(rest_J3[self.joint_L] + self.offset_L3)


def landmarks_of(body: Body, betas_S: np.ndarray, layout: LandmarkLayout = MEDIAPIPE) -> Landmarks:
    """The points of a layout on a shape, read off its skin in the rest pose (T-pose, y up, facing +z)."""
    rest_J3 = body.rest_joints(betas_S).astype(np.float64)
    placed = _points(body, betas_S, rest_J3)
    chosen = [placed[point] for point in layout.points]
    joint_L = np.array([joint for joint, _, _ in chosen])
    point_L3 = np.array([point for _, point, _ in chosen])
    for point, shift in layout.shift_mm:
        point_L3[layout.row(point)] += np.array(shift) / 1000
        other = point.replace("left_", "right_")
        if other != point:
            point_L3[layout.row(other)] += np.array(shift) * (-1, 1, 1) / 1000
    return Landmarks(
        layout=layout,
        joint_L=joint_L,
        offset_L3=point_L3 - rest_J3[joint_L],
        trust_L=np.array([trust for _, _, trust in chosen]),
    )


def _points(body: Body, betas_S: np.ndarray, rest_J3: np.ndarray) -> dict[str, tuple[int, np.ndarray, float]]:
    """Every point of `POINTS` in the rest pose: its joint, its position, its trust."""
    skin_V3 = body.surface.shaped(betas_S).astype(np.float64)
    owner_V = body.surface.weights_VJ.argmax(1)
    placed: dict[str, tuple[int, np.ndarray, float]] = {}

    def place(point: str, joint: str, point_3: np.ndarray, trust: float) -> None:
        placed[point] = (JOINT[joint], point_3, trust)

    for joint in BODY_JOINTS:
        # Sources place the joints of a spine differently; joints of limbs are well defined.
        place(joint, joint, rest_J3[JOINT[joint]], 1.0 if joint in LIMB_POINTS else 0.3)
    shoulders = [JOINT["left_shoulder"], JOINT["right_shoulder"]]
    place("shoulder_centre", "spine3", rest_J3[shoulders].mean(0), 0.3)
    head_V3 = skin_V3[owner_V == JOINT["head"]]
    nose = head_V3[head_V3[:, 2].argmax()]
    ear_height = nose[1] + 0.01
    band = head_V3[np.abs(head_V3[:, 1] - ear_height) < 0.03]
    half_width = np.abs(band[:, 0]).max()
    middle = 0.5 * (band[:, 2].max() + band[:, 2].min())
    place("nose", "head", nose, 0.6)
    place("head_centre", "head", np.array([0, ear_height + 0.03, middle]), 0.4)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for part, across in (("eye_inner", 0.02), ("eye", 0.03), ("eye_outer", 0.045)):
            eye = nose + np.array([sign * across, 0.035, -0.03 - 0.2 * across])
            place(f"{side}_{part}", "head", eye, 0.2)
        ear = np.array([sign * half_width, ear_height + 0.015, middle])
        place(f"{side}_ear", "head", ear, 0.6)
        place(f"{side}_mouth", "head", nose + np.array([sign * 0.025, -0.04, -0.02]), 0.2)
        hand = f"{side}_wrist"  # the fit treats fingers as straight
        fingers = {name: rest_J3[JOINT[f"{side}_{name}"]] for name in ("index1", "pinky1", "middle1")}
        place(f"{side}_pinky", hand, fingers["pinky1"], 0.3)
        place(f"{side}_index", hand, fingers["index1"], 0.3)
        place(f"{side}_thumb", hand, rest_J3[JOINT[f"{side}_thumb2"]], 0.2)
        place(f"{side}_hand", hand, 0.5 * (rest_J3[JOINT[hand]] + fingers["middle1"]), 0.3)
        place(f"{side}_hand_tip", hand, rest_J3[JOINT[f"{side}_middle3"]], 0.1)
        place(f"{side}_thumb_tip", hand, rest_J3[JOINT[f"{side}_thumb3"]], 0.1)
        ankle, ball = rest_J3[JOINT[f"{side}_ankle"]], rest_J3[JOINT[f"{side}_foot"]]
        foot_V3 = skin_V3[np.isin(owner_V, [JOINT[f"{side}_ankle"], JOINT[f"{side}_foot"]])]
        sole = foot_V3[:, 1].min()
        heel = np.array([ankle[0], sole + 0.025, foot_V3[:, 2].min() + 0.02])
        place(f"{side}_heel", f"{side}_ankle", heel, 0.5)
        toe = np.array([ball[0], sole + 0.015, 0.3 * ball[2] + 0.7 * foot_V3[:, 2].max()])
        place(f"{side}_toe", f"{side}_ankle", toe, 0.5)
    return placed
