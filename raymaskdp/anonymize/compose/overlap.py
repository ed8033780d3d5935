"""Whether an avatar covers its person. An avatar that does not is replaced by a silhouette.

The body is drawn as limbs of a person's thickness on a small grid; it takes about 1.3 ms a frame.

Shape suffixes: T frames, N frames with a body, J = 22 joints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from raymaskdp.anonymize.people.people import People
from raymaskdp.bodies.body import Body
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.skeleton import BODY_JOINTS, JOINT, PARENTS
from raymaskdp.video.masks import unpack

GRID = 160
"""Cells along the width of the image."""

LEAST, WINDOW_S = 0.4, 1.0
"""Least overlap (IoU) of limbs and outline, as the median over this many seconds.

In 45 real clips, avatars that looked right had 0.46 or more, and most of the others 0.06 to 0.4. Two clips of
hands had 0.46 and 0.53; they are detected by the spin of the torso.
"""

RADIUS_MM = {
    "pelvis": 150, "hip": 90, "knee": 70, "ankle": 50, "foot": 50, "spine1": 140, "spine2": 140,
    "spine3": 150, "neck": 80, "head": 110, "collar": 100, "shoulder": 80, "elbow": 50, "wrist": 45,
}  # fmt: skip
"""Radius of the cylinder that ends at a joint."""

_RADIUS_J = np.array([RADIUS_MM[name.split("_")[-1]] for name in BODY_JOINTS]) / 1000
_TORSO = [JOINT[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]


def drop_misplaced_avatars(motions: Sequence[Motion], people: People, body: Body) -> list[Motion]:
    """The motions without the frames in which an avatar would be beside its person's outline."""
    return [
        motion if person.outlines_T is None else _checked(motion, person.outlines_T, people, body)
        for motion, person in zip(motions, people.persons, strict=True)
    ]


def _checked(motion: Motion, outlines_T: object, people: People, body: Body) -> Motion:
    at_N = np.flatnonzero(motion.visible_T)
    if not len(at_N):
        return motion
    size = (GRID, max(1, round(GRID * people.height / people.width)))
    joints_NJ3 = body.joints(motion.rotations_TJ3[at_N], motion.translation_T3[at_N], motion.betas_S)
    overlap_T = np.full(len(motion.visible_T), np.nan)
    for frame, joints_J3 in zip(at_N, joints_NJ3, strict=True):
        packed = np.asarray(outlines_T[frame])  # type: ignore[index]
        whole = unpack(packed, people.height, people.width).view(np.uint8)
        outline = cv2.resize(whole, size, interpolation=cv2.INTER_AREA) > 0
        limbs = _limbs(joints_J3[: len(BODY_JOINTS)], motion.camera_33, GRID / people.width, size)
        overlap_T[frame] = (outline & limbs).sum() / max(1, (outline | limbs).sum())
    half = max(1, round(people.fps * WINDOW_S / 2))
    visible_T = motion.visible_T.copy()
    for frame in at_N:
        around = overlap_T[max(0, frame - half) : frame + half + 1]
        visible_T[frame] = np.nanmedian(around) >= LEAST
    return dataclasses.replace(motion, visible_T=visible_T)


def _limbs(joints_J3: np.ndarray, camera_33: np.ndarray, scale: float, size: tuple[int, int]) -> np.ndarray:
    """A body of cylinders on the grid, bool [rows, columns]."""
    width, height = size
    depth_J = np.maximum(joints_J3[:, 2], 0.1)
    place_J2 = (joints_J3[:, :2] / depth_J[:, None] * camera_33[0, 0] + camera_33[:2, 2]) * scale
    # Clipped far outside the grid, because OpenCV's coordinates have 16 bits.
    place_J2 = np.clip(place_J2, -20 * GRID, 20 * GRID)
    radius_J = np.clip(_RADIUS_J * camera_33[0, 0] / depth_J * scale, 0.5, 2 * GRID)
    image = np.zeros((height, width), np.uint8)
    points = [tuple(point) for point in place_J2.round().astype(int).tolist()]
    for joint in range(1, len(joints_J3)):
        parent = int(PARENTS[joint])
        thick = max(1, round(2 * min(radius_J[joint], radius_J[parent])))
        cv2.line(image, points[parent], points[joint], 1, thick)
    cv2.fillConvexPoly(image, cv2.convexHull(place_J2[_TORSO].astype(np.int32)), 1)
    head, neck = JOINT["head"], JOINT["neck"]
    middle = place_J2[head] + 0.7 * (place_J2[head] - place_J2[neck])
    cv2.circle(image, tuple(middle.round().astype(int).tolist()), max(1, round(radius_J[head])), 1, -1)
    return image > 0
