"""Analytic inverse kinematics: limb directions in the camera frame to SMPL-H rotations, by swing and twist.

Only the bones' directions come from landmarks, never their lengths. A bone's direction determines two of its
three angles. The third (the twist) comes from the plane in which the elbow or knee bends; for a straight
limb, from a natural default.

Shape suffixes: T frames, J = 52 joints, L points of a layout.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.fitting.landmarks import LandmarkLayout, Landmarks
from raymaskdp.bodies.hands import relaxed_hands
from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS, PARENTS

_AHEAD = np.array([0.0, 0.0, 1.0])

_EPS = 1e-8


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] scaled to length 1 (zero stays zero)."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _EPS)


def frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotations [..., 3, 3] whose first column is `first` and whose second is near `second`."""
    x = unit(first)
    y = unit(second - (second * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def swing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least rotations [..., 3, 3] that turn `source` to `target`, directions [..., 3]."""
    source, target = np.broadcast_arrays(unit(source), unit(target))
    axis = np.cross(source, target)
    sine = np.linalg.norm(axis, axis=-1)
    angle = np.arctan2(sine, (source * target).sum(-1))
    return matrices(axis / np.maximum(sine, _EPS)[..., None] * angle[..., None])


def matrices(vectors: np.ndarray) -> np.ndarray:
    """Axis-angle [..., 3] as matrices [..., 3, 3]."""
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def vectors(rotations: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] as axis-angle [..., 3]."""
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return flat.reshape(rotations.shape[:-1])


def inverse_kinematics(points_TL3: np.ndarray, landmarks: Landmarks, rest_J3: np.ndarray) -> np.ndarray:
    """Local rotations [T, 52, 3, 3] of a skeleton whose bones point as the landmarks do.

    Args:
      points_TL3: the points of a layout in the camera frame (any unit, any origin).
      landmarks: the same points on the avatar.
      rest_J3: the avatar's joints in the rest pose.
    """
    limbs = _Limbs(points_TL3, landmarks.layout, landmarks.rest_L3(rest_J3))
    pelvis, chest = limbs.turn_trunk()
    limbs.turn_head(chest)
    for side in ("left", "right"):
        limbs.turn_arm(side, chest)
        limbs.turn_leg(side, pelvis)
    turned = limbs.turned
    local = turned.copy()
    local[:, 1:] = np.swapaxes(turned[:, PARENTS[1:]], -1, -2) @ turned[:, 1:]
    local[:, JOINT["right_wrist"] + 1 :] = matrices(relaxed_hands())
    return local


class _Limbs:
    """Global rotations of joints, one part of the body after the other.

    Attributes:
      turned: global rotations, [T, J, 3, 3]; the identity until a part is turned.
    """

    def __init__(self, points_TL3: np.ndarray, layout: LandmarkLayout, rest_L3: np.ndarray) -> None:
        self._points_TL3, self._layout, self._rest_L3 = points_TL3, layout, rest_L3
        self.turned = np.tile(np.eye(3), (len(points_TL3), NUM_JOINTS, 1, 1))
        hips, shoulders = ((f"left_{joint}", f"right_{joint}") for joint in ("hip", "shoulder"))
        self._hips, self._shoulders = self._mean(*hips), self._mean(*shoulders)

    def turn_trunk(self) -> tuple[np.ndarray, np.ndarray]:
        """Turn pelvis, spine and collars; returns the rotations of pelvis and chest."""
        (hips, rest_hips), (shoulders, rest_shoulders) = self._hips, self._shoulders
        up, rest_up = shoulders - hips, rest_shoulders - rest_hips
        hip_line, rest_hip_line = self._bone("right_hip", "left_hip")
        shoulder_line, rest_shoulder_line = self._bone("right_shoulder", "left_shoulder")
        pelvis = frame(hip_line, up) @ frame(rest_hip_line, rest_up).T
        chest = frame(up, shoulder_line) @ frame(rest_up, rest_shoulder_line).T
        self._put("pelvis", pelvis)
        bend = vectors(np.swapaxes(pelvis, -1, -2) @ chest)
        for share, name in ((1 / 3, "spine1"), (2 / 3, "spine2"), (1.0, "spine3")):
            self._put(name, pelvis @ matrices(share * bend))
        for name in ("left_collar", "right_collar"):
            self._put(name, chest)
        return pelvis, chest

    def turn_head(self, chest: np.ndarray) -> None:
        """Turn neck and head, by ears and nose, or by the centre of the head."""
        head = chest
        if self._layout.has("left_ear", "right_ear", "nose"):
            ear_line, rest_ear_line = self._bone("right_ear", "left_ear")
            (ears, rest_ears), (nose, rest_nose) = self._mean("left_ear", "right_ear"), self._mean("nose")
            head = frame(ear_line, nose - ears) @ frame(rest_ear_line, rest_nose - rest_ears).T
        elif self._layout.has("head_centre"):  # the direction of the face is unknown: straight ahead
            (centre, rest_centre), (shoulders, rest_shoulders) = self._mean("head_centre"), self._shoulders
            head = swing(chest @ (rest_centre - rest_shoulders), centre - shoulders) @ chest
        nod = _at_most(vectors(np.swapaxes(chest, -1, -2) @ head), 1.2)
        self._put("neck", chest @ matrices(0.5 * nod))
        self._put("head", chest @ matrices(nod))

    def turn_arm(self, side: str, chest: np.ndarray) -> None:
        """Turn shoulder, elbow and wrist. A forearm bends to the front of the upper arm."""
        upper_arm, rest_upper_arm = self._bone(f"{side}_shoulder", f"{side}_elbow")
        forearm, rest_forearm = self._bone(f"{side}_elbow", f"{side}_wrist")
        front = _across(unit(forearm), upper_arm) + 0.15 * chest[..., 2]
        arm = frame(upper_arm, front) @ frame(rest_upper_arm, _AHEAD).T
        self._put(f"{side}_shoulder", arm)
        lower_arm = swing(arm @ rest_forearm, forearm) @ arm
        self._put(f"{side}_elbow", lower_arm)
        self._put(f"{side}_wrist", lower_arm)
        hand = _hand(self._layout, side)
        if hand:
            (knuckles, rest_knuckles), (wrist, rest_wrist) = self._mean(*hand), self._mean(f"{side}_wrist")
            turn = swing(lower_arm @ (rest_knuckles - rest_wrist), knuckles - wrist)
            self._put(f"{side}_wrist", _limited(turn, 0.7) @ lower_arm)

    def turn_leg(self, side: str, pelvis: np.ndarray) -> None:
        """Turn hip, knee, ankle and foot. A shin bends to the back of the thigh."""
        thigh, rest_thigh = self._bone(f"{side}_hip", f"{side}_knee")
        shin, rest_shin = self._bone(f"{side}_knee", f"{side}_ankle")
        foot = _foot(self._layout, side)
        front = -_across(unit(shin), thigh) + 0.1 * pelvis[..., 2]
        if foot is not None:
            front = front + 0.3 * unit(self._bone(*foot)[0])
        leg = frame(thigh, front) @ frame(rest_thigh, _AHEAD).T
        self._put(f"{side}_hip", leg)
        lower_leg = swing(leg @ rest_shin, shin) @ leg
        self._put(f"{side}_knee", lower_leg)
        self._put(f"{side}_ankle", lower_leg)
        if foot is not None:
            sole, rest_sole = self._bone(*foot)
            self._put(f"{side}_ankle", _limited(swing(lower_leg @ rest_sole, sole), 0.9) @ lower_leg)
        self._put(f"{side}_foot", self.turned[:, JOINT[f"{side}_ankle"]])

    def _put(self, name: str, rotation: np.ndarray) -> None:
        self.turned[:, JOINT[name]] = rotation

    def _mean(self, *points: str) -> tuple[np.ndarray, np.ndarray]:
        """A point between points: in the frames, and at rest."""
        rows = self._layout.rows(points)
        return self._points_TL3[:, rows].mean(1), self._rest_L3[rows].mean(0)

    def _bone(self, start: str, end: str) -> tuple[np.ndarray, np.ndarray]:
        """The vector between two points: in the frames, and at rest."""
        (a, rest_a), (b, rest_b) = self._mean(start), self._mean(end)
        return b - a, rest_b - rest_a


def _hand(layout: LandmarkLayout, side: str) -> tuple[str, ...]:
    """The points of a hand, where the layout has them."""
    for points in ((f"{side}_pinky", f"{side}_index"), (f"{side}_hand",)):
        if layout.has(*points):
            return points
    return ()


def _foot(layout: LandmarkLayout, side: str) -> tuple[str, str] | None:
    """Two points along a foot, where the layout has them."""
    toe, heel, ankle = f"{side}_toe", f"{side}_heel", f"{side}_ankle"
    if not layout.has(toe):
        return None
    return (heel if layout.has(heel) else ankle), toe


def _across(vectors_T3: np.ndarray, along_T3: np.ndarray) -> np.ndarray:
    """The part of vectors that is perpendicular to `along`."""
    along = unit(along_T3)
    return np.asarray(vectors_T3 - (vectors_T3 * along).sum(-1, keepdims=True) * along)


def _limited(rotations: np.ndarray, most: float) -> np.ndarray:
    """Rotations by at most `most` radians."""
    return matrices(_at_most(vectors(rotations), most))


def _at_most(turns: np.ndarray, most: float) -> np.ndarray:
    """Axis-angle vectors [..., 3] shortened to `most` radians."""
    return turns * np.minimum(1.0, most / np.maximum(np.linalg.norm(turns, axis=-1, keepdims=True), _EPS))
