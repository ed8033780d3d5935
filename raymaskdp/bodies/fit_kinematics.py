"""Analytic inverse kinematics: limb directions in the camera frame to SMPL-H rotations, by swing and twist.

The bones' directions come from landmarks, their lengths never do. A bone's direction fixes two of
its three angles; the third (the twist) comes from the plane in which the elbow or knee bends, and
where that is straight from what is natural.

Shape suffixes: T frames, J = 52 joints, L = 33 landmarks.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS, PARENTS

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


def inverse_kinematics(points_TL3: np.ndarray, rest_L3: np.ndarray) -> np.ndarray:
    """Local rotations [T, 52, 3, 3] of a skeleton whose bones point as the landmarks do.

    Args:
      points_TL3: MediaPipe landmarks in the camera frame (any unit, any origin).
      rest_L3: the same landmarks on the avatar in the rest pose.
    """
    num_frames = len(points_TL3)
    turned = np.tile(np.eye(3), (num_frames, NUM_JOINTS, 1, 1))  # global rotations

    def put(name: str, rotation: np.ndarray) -> None:
        turned[:, JOINT[name]] = rotation

    def mean(*landmarks: int) -> tuple[np.ndarray, np.ndarray]:
        """A point between landmarks: in the frames, and at rest."""
        chosen = list(landmarks)
        return points_TL3[:, chosen].mean(1), rest_L3[chosen].mean(0)

    def bone(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The vector between two landmarks: in the frames, and at rest."""
        return points_TL3[:, end] - points_TL3[:, start], rest_L3[end] - rest_L3[start]

    (hips, rest_hips), (shoulders, rest_shoulders) = mean(23, 24), mean(11, 12)
    up, rest_up = shoulders - hips, rest_shoulders - rest_hips
    hip_line, rest_hip_line = bone(24, 23)
    shoulder_line, rest_shoulder_line = bone(12, 11)
    pelvis = frame(hip_line, up) @ frame(rest_hip_line, rest_up).T
    chest = frame(up, shoulder_line) @ frame(rest_up, rest_shoulder_line).T
    put("pelvis", pelvis)
    bend = vectors(np.swapaxes(pelvis, -1, -2) @ chest)
    for share, name in ((1 / 3, "spine1"), (2 / 3, "spine2"), (1.0, "spine3")):
        put(name, pelvis @ matrices(share * bend))
    for name in ("left_collar", "right_collar"):
        put(name, chest)
    ear_line, rest_ear_line = bone(8, 7)
    ears, rest_ears = mean(7, 8)
    head = frame(ear_line, points_TL3[:, 0] - ears) @ frame(rest_ear_line, rest_L3[0] - rest_ears).T
    nod = vectors(np.swapaxes(chest, -1, -2) @ head)
    nod *= np.minimum(1.0, 1.2 / np.maximum(np.linalg.norm(nod, axis=-1, keepdims=True), _EPS))
    put("neck", chest @ matrices(0.5 * nod))
    put("head", chest @ matrices(nod))

    ahead = np.array([0.0, 0.0, 1.0])
    for side, odd in (("left", 0), ("right", 1)):
        upper_arm, rest_upper_arm = bone(11 + odd, 13 + odd)
        forearm, rest_forearm = bone(13 + odd, 15 + odd)
        thigh, rest_thigh = bone(23 + odd, 25 + odd)
        shin, rest_shin = bone(25 + odd, 27 + odd)
        foot, rest_foot = bone(29 + odd, 31 + odd)
        knuckles, rest_knuckles = mean(17 + odd, 19 + odd)
        hand, rest_hand = knuckles - points_TL3[:, 15 + odd], rest_knuckles - rest_L3[15 + odd]
        # Forearms bend to the front of the upper arm; shins bend to the back of the thigh.
        front = _across(unit(forearm), upper_arm) + 0.15 * chest[..., 2]
        arm = frame(upper_arm, front) @ frame(rest_upper_arm, ahead).T
        put(f"{side}_shoulder", arm)
        lower_arm = swing(arm @ rest_forearm, forearm) @ arm
        put(f"{side}_elbow", lower_arm)
        put(f"{side}_wrist", _limited(swing(lower_arm @ rest_hand, hand), 0.7) @ lower_arm)
        front = -_across(unit(shin), thigh) + 0.3 * unit(foot) + 0.1 * pelvis[..., 2]
        leg = frame(thigh, front) @ frame(rest_thigh, ahead).T
        put(f"{side}_hip", leg)
        lower_leg = swing(leg @ rest_shin, shin) @ leg
        put(f"{side}_knee", lower_leg)
        put(f"{side}_ankle", _limited(swing(lower_leg @ rest_foot, foot), 0.9) @ lower_leg)
        put(f"{side}_foot", turned[:, JOINT[f"{side}_ankle"]])
    for joint in range(JOINT["right_wrist"] + 1, NUM_JOINTS):  # fingers follow the hand
        turned[:, joint] = turned[:, PARENTS[joint]]
    local = turned.copy()
    local[:, 1:] = np.swapaxes(turned[:, PARENTS[1:]], -1, -2) @ turned[:, 1:]
    return local


def _across(vectors_T3: np.ndarray, along_T3: np.ndarray) -> np.ndarray:
    """The part of vectors that is perpendicular to `along`."""
    along = unit(along_T3)
    return np.asarray(vectors_T3 - (vectors_T3 * along).sum(-1, keepdims=True) * along)


def _limited(rotations: np.ndarray, most: float) -> np.ndarray:
    """Rotations by at most `most` radians."""
    turn = vectors(rotations)
    angle = np.maximum(np.linalg.norm(turn, axis=-1, keepdims=True), _EPS)
    return matrices(turn * np.minimum(1.0, most / angle))
