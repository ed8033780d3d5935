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


def inverse_kinematics(points_TL3: np.ndarray, rest_J3: np.ndarray, face_rest_33: np.ndarray) -> np.ndarray:
    """Local rotations [T, 52, 3, 3] of a skeleton whose bones point as the landmarks do.

    Args:
      points_TL3: MediaPipe landmarks in the camera frame (any unit, any origin).
      rest_J3: the avatar's joints in the rest pose.
      face_rest_33: right ear, left ear and nose in the rest pose, rows.
    """
    num_frames = len(points_TL3)
    p = {index: points_TL3[:, index] for index in range(33)}
    rest = {name: rest_J3[index] for name, index in JOINT.items()}
    turned = np.tile(np.eye(3), (num_frames, NUM_JOINTS, 1, 1))  # global rotations

    def put(name: str, rotation: np.ndarray) -> None:
        turned[:, JOINT[name]] = rotation

    hips, shoulders = 0.5 * (p[23] + p[24]), 0.5 * (p[11] + p[12])
    up = shoulders - hips
    rest_up = 0.5 * (rest["left_shoulder"] + rest["right_shoulder"])
    rest_up = rest_up - 0.5 * (rest["left_hip"] + rest["right_hip"])
    pelvis = frame(p[23] - p[24], up) @ frame(rest["left_hip"] - rest["right_hip"], rest_up).T
    chest = frame(up, p[11] - p[12]) @ frame(rest_up, rest["left_shoulder"] - rest["right_shoulder"]).T
    put("pelvis", pelvis)
    bend = vectors(np.swapaxes(pelvis, -1, -2) @ chest)
    for share, name in ((1 / 3, "spine1"), (2 / 3, "spine2"), (1.0, "spine3")):
        put(name, pelvis @ matrices(share * bend))
    for name in ("left_collar", "right_collar"):
        put(name, chest)
    ears = 0.5 * (p[7] + p[8])
    rest_ears = face_rest_33[:2].mean(0)
    head = frame(p[7] - p[8], p[0] - ears)
    head = head @ frame(face_rest_33[1] - face_rest_33[0], face_rest_33[2] - rest_ears).T
    nod = vectors(np.swapaxes(chest, -1, -2) @ head)
    nod *= np.minimum(1.0, 1.2 / np.maximum(np.linalg.norm(nod, axis=-1, keepdims=True), _EPS))
    put("neck", chest @ matrices(0.5 * nod))
    put("head", chest @ matrices(nod))

    forward = chest[..., 2]
    for side, odd in (("left", 0), ("right", 1)):
        shoulder, elbow, wrist = p[11 + odd], p[13 + odd], p[15 + odd]
        hip, knee, ankle = p[23 + odd], p[25 + odd], p[27 + odd]
        heel, toe = p[29 + odd], p[31 + odd]
        fingers = 0.5 * (p[17 + odd] + p[19 + odd])
        upper = rest[f"{side}_elbow"] - rest[f"{side}_shoulder"]
        lower = rest[f"{side}_wrist"] - rest[f"{side}_elbow"]
        hand = 0.5 * (rest[f"{side}_index1"] + rest[f"{side}_pinky1"]) - rest[f"{side}_wrist"]
        # Forearms bend to the front of the upper arm; shins bend to the back of the thigh.
        front = _across(unit(wrist - elbow), elbow - shoulder) + 0.15 * forward
        arm = frame(elbow - shoulder, front) @ frame(upper, np.array([0.0, 0.0, 1.0])).T
        put(f"{side}_shoulder", arm)
        forearm = swing(arm @ lower, wrist - elbow) @ arm
        put(f"{side}_elbow", forearm)
        put(f"{side}_wrist", _limited(swing(forearm @ hand, fingers - wrist), 0.7) @ forearm)
        thigh = rest[f"{side}_knee"] - rest[f"{side}_hip"]
        shin = rest[f"{side}_ankle"] - rest[f"{side}_knee"]
        foot = rest[f"{side}_foot"] - rest[f"{side}_ankle"]
        front = -_across(unit(ankle - knee), knee - hip) + 0.3 * unit(toe - heel) + 0.1 * pelvis[..., 2]
        leg = frame(knee - hip, front) @ frame(thigh, np.array([0.0, 0.0, 1.0])).T
        put(f"{side}_hip", leg)
        lower_leg = swing(leg @ shin, ankle - knee) @ leg
        put(f"{side}_knee", lower_leg)
        put(f"{side}_ankle", _limited(swing(lower_leg @ foot, toe - ankle), 0.9) @ lower_leg)
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
