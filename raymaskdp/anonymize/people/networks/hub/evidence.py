"""Keypoints and masks of a person by the networks that settings name, in addition to landmarks and segmenter.

They only ever extend a mask, by pixels and by drawn limbs. Keypoints are 2-D, so they do not pose a person. A
landmark that differs grossly from them is moved in the image.

Shape suffixes: H×W pixels, N people of a frame, 17 COCO keypoints, 33 landmarks, 4 coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.people.body_track import OTHER_SIDE
from raymaskdp.anonymize.people.masks import Patch, body_height
from raymaskdp.anonymize.people.networks.roles import MaskNetwork, PointNetwork
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.video.mask_film import SmallMask

_PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO_ROWS = np.array(MEDIAPIPE.rows(["nose", *(f"{side}_{p}" for p in _PAIRS for side in ("left", "right"))]))
"""The landmark of each of COCO's keypoints."""

BONES = (
    (0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of keypoints joined by a limb."""

TORSO = [5, 6, 11, 12]

SEEN = 0.3
"""Least score of a keypoint that is drawn into a mask."""

SURE, SURE_POINTS = 0.5, 8
"""Least score of a keypoint that may move a landmark, and least number of such keypoints."""

SAME_BODY = 0.12
"""Largest median distance of keypoints and landmarks of the same body, in body heights."""

GROSS = 0.08
"""Distance, in body heights, from which a landmark is wrong. Smaller differences come from a network's
definition of a joint, for which the fit corrects."""

UNSEEN = 0.3
"""Visibility below which a landmark is a guess, which a confident keypoint replaces."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Output for one person in one frame.

    Attributes:
      points_17x3: float32, x and y in pixels and score in [0, 1]; None without a keypoint network.
      corner: (x, y) of the mask's corner, pixels.
      mask: the person's pixels; None without a mask network.
    """

    points_17x3: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)
    mask: SmallMask | None = None

    def patches(self) -> list[Patch]:
        """The patches that are added to the person's mask."""
        found = [] if self.mask is None else [Patch(self.corner, self.mask.mask_HW)]
        return found if self.points_17x3 is None else [*found, limbs_of(self.points_17x3)]


def evidence_of(
    points: PointNetwork | None,
    masks: MaskNetwork | None,
    frames: Sequence[np.ndarray],
    boxes_by_track: Sequence[Mapping[int, np.ndarray]],
) -> list[dict[int, Evidence]]:
    """The networks' output for the people in some frames, by track.

    Args:
      points, masks: the networks; None for none.
      frames: uint8 RGB [H, W, 3] each.
      boxes_by_track: of each frame, float64 [4] each; boxes outside the frame are ignored.
    """
    if points is None and masks is None:
        return [{} for _ in frames]
    pairs = zip(frames, boxes_by_track, strict=True)
    inside = [_inside(boxes, frame.shape[0], frame.shape[1]) for frame, boxes in pairs]
    boxes = [np.array(list(some.values()), np.float32).reshape(-1, 4) for some in inside]
    keypoints = points.points(frames, boxes) if points is not None else None
    patches = masks.masks(frames, boxes) if masks is not None else None
    found: list[dict[int, Evidence]] = []
    for index, some in enumerate(inside):
        found.append({})
        for row, track in enumerate(some):
            patch = patches[index][row] if patches is not None else None
            found[-1][track] = Evidence(
                points_17x3=keypoints[index][row] if keypoints is not None else None,
                corner=patch.corner if patch is not None else (0, 0),
                mask=SmallMask.of(patch.mask_hw) if patch is not None else None,
            )
    return found


def corrected(keypoints_33x3: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Landmarks [33, 3]. Those that contradict confident keypoints of the same body are replaced in the
    image.

    Nothing is replaced if few keypoints are confident, if most of them differ, or if they agree better with
    left and right swapped. In these cases the two networks do not see the same body.
    """
    if evidence.points_17x3 is None:
        return keypoints_33x3
    points_17x3 = evidence.points_17x3
    sure_17 = points_17x3[:, 2] >= SURE
    if np.count_nonzero(sure_17) < SURE_POINTS:
        return keypoints_33x3
    body_scale = max(body_height(keypoints_33x3), 1.0)
    away_17, mirrored_17 = (
        np.linalg.norm(of[COCO_ROWS, :2] - points_17x3[:, :2], axis=1) / body_scale
        for of in (keypoints_33x3, keypoints_33x3[OTHER_SIDE])
    )
    apart = float(np.median(away_17[sure_17]))
    if apart > SAME_BODY or np.median(mirrored_17[sure_17]) < apart:
        return keypoints_33x3
    wrong_17 = sure_17 & ((away_17 > GROSS) | (keypoints_33x3[COCO_ROWS, 2] < UNSEEN))
    moved_33x3 = keypoints_33x3.copy()
    moved_33x3[COCO_ROWS[wrong_17]] = points_17x3[wrong_17]
    return moved_33x3


def limbs_of(points_17x3: np.ndarray) -> Patch:
    """Limbs and a head drawn from the confident keypoints; empty if there are none."""
    seen_17 = points_17x3[:, 2] >= SEEN
    if not seen_17.any():
        return Patch((0, 0), np.zeros((0, 0), bool))
    seen_N2 = points_17x3[seen_17, :2].astype(np.float64)
    radius = max(2, round(0.06 * float(np.ptp(seen_N2, axis=0).max())))
    low_2 = np.floor(seen_N2.min(0)).astype(int) - 2 * radius
    size_2 = np.ceil(seen_N2.max(0)).astype(int) + 2 * radius + 1 - low_2
    drawn = np.zeros((int(size_2[1]), int(size_2[0])), np.uint8)
    pixel = [(round(float(x)), round(float(y))) for x, y in points_17x3[:, :2] - low_2]
    for a, b in BONES:
        if seen_17[a] and seen_17[b]:
            cv2.line(drawn, pixel[a], pixel[b], 1, 2 * radius)
    for row in np.flatnonzero(seen_17).tolist():
        cv2.circle(drawn, pixel[row], 2 * radius if row < 5 else radius, 1, -1)  # the first five are a face's
    if seen_17[[5, 6, 11, 12]].all():
        cv2.fillConvexPoly(
            drawn, cv2.convexHull(np.array([pixel[row] for row in (5, 6, 11, 12)], np.int32)), 1
        )
    return Patch((int(low_2[0]), int(low_2[1])), drawn.astype(bool))


def _inside(boxes_by_track: Mapping[int, np.ndarray], height: int, width: int) -> dict[int, np.ndarray]:
    """The parts of boxes that are inside the frame, without empty ones, float64 [4] each."""
    cut = {
        track: np.clip(box_4[:4], 0, [width, height, width, height])
        for track, box_4 in boxes_by_track.items()
    }
    return {track: box_4 for track, box_4 in cut.items() if (box_4[2:] - box_4[:2] >= 1).all()}
