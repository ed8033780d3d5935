"""Convert any skeleton to the 33 landmarks from which limbs are drawn: for masks, never for the fit.

Parts that a skeleton lacks (face, fingers, toes) are placed where they are on most people. Discs cover the
reach of parts whose place is unknown.

Shape suffixes: T frames, L points of a layout, N points.
"""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.anonymize.people.masks import Patch, body_height
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE, LandmarkLayout

HAND = 0.075
"""Reach of a hand and of an object in it from the wrist, as a share of the body's height."""

FOOT = 0.09
"""Reach of a shoe from the ankle, as a share of the body's height."""


def outline_of(layout: LandmarkLayout, keypoints_TL3: np.ndarray) -> np.ndarray:
    """The 33 landmarks, float [T, 33, 3] in pixels; NaN where the skeleton has NaN."""
    if layout == MEDIAPIPE:
        return keypoints_TL3
    result = np.full((len(keypoints_TL3), len(MEDIAPIPE.points), 3), np.nan)

    def given(point: str) -> np.ndarray:
        return np.asarray(keypoints_TL3[:, layout.row(point)])

    head_T3 = _head(layout, keypoints_TL3)
    for row, point in enumerate(MEDIAPIPE.points):
        side, _, part = point.rpartition("_") if point != "nose" else ("", "", "nose")
        if layout.has(point):
            result[:, row] = given(point)
        elif part in ("nose", "inner", "eye", "outer", "ear", "mouth"):
            result[:, row] = head_T3
        elif part in ("pinky", "index", "thumb"):
            wrist = given(f"{side}_wrist")
            if layout.has(f"{side}_hand"):
                result[:, row] = wrist + 1.2 * (given(f"{side}_hand") - wrist)
            else:
                result[:, row] = wrist + 0.35 * (wrist - given(f"{side}_elbow"))
        elif part in ("heel", "toe"):
            result[:, row] = given(f"{side}_ankle")
    result[..., 2] = np.nan_to_num(result[..., 2])
    return result


def extremities(outline_33x3: np.ndarray, layout: LandmarkLayout) -> list[Patch]:
    """Discs over hands and feet whose direction the skeleton does not have."""
    body_scale = body_height(outline_33x3)
    discs = []
    for side in ("left", "right"):
        if not layout.has(f"{side}_index"):
            share = 0.6 if layout.has(f"{side}_hand_tip") else 1.0
            discs.append(_disc(outline_33x3[MEDIAPIPE.row(f"{side}_index"), :2], share * HAND * body_scale))
        if not layout.has(f"{side}_heel"):
            discs.append(_disc(outline_33x3[MEDIAPIPE.row(f"{side}_ankle"), :2], FOOT * body_scale))
        if layout.has(f"{side}_hand_tip"):  # limbs are drawn to the knuckles of the outline
            discs.append(_disc(outline_33x3[MEDIAPIPE.row(f"{side}_wrist"), :2], 0.5 * HAND * body_scale))
    return discs


def _head(layout: LandmarkLayout, keypoints_TL3: np.ndarray) -> np.ndarray:
    """The centre of the head, [T, 3]."""

    def given(point: str) -> np.ndarray:
        return np.asarray(keypoints_TL3[:, layout.row(point)])

    if layout.has("head_centre"):
        return given("head_centre")
    shoulders = 0.5 * (given("left_shoulder") + given("right_shoulder"))
    hips = 0.5 * (given("left_hip") + given("right_hip"))
    if layout.has("head"):  # the joint at the base of the skull
        return given("head") + 0.15 * (shoulders - hips)
    return shoulders + 0.45 * (shoulders - hips)


def _disc(centre_2: np.ndarray, radius: float) -> Patch:
    r = max(1, round(radius))
    drawn = np.zeros((2 * r + 1, 2 * r + 1), np.uint8)
    cv2.circle(drawn, (r, r), r, 1, -1)
    x, y = np.clip(centre_2, -1e6, 1e6).round().astype(int)
    return Patch((int(x) - r, int(y) - r), drawn.astype(bool))
