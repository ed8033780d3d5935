"""Boxes in an image: x0, y0, x1, y1 in pixels, the last two exclusive.

Shape suffixes: N and M boxes, 4 coordinates; further columns of a box are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BoxXYXY = tuple[int, int, int, int]
"""One box in whole pixels."""


def areas(boxes_N4: np.ndarray) -> np.ndarray:
    """Area of each box, [N]; 0 for an empty one."""
    sides_N2 = np.maximum(boxes_N4[:, 2:4] - boxes_N4[:, :2], 0)
    return np.asarray(sides_N2[:, 0] * sides_N2[:, 1])


def intersections(boxes_N4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """Area of the intersection of each pair of boxes, [N, M]."""
    low_NM2 = np.maximum(boxes_N4[:, None, :2], others_M4[None, :, :2])
    high_NM2 = np.minimum(boxes_N4[:, None, 2:4], others_M4[None, :, 2:4])
    return np.asarray(np.prod(np.maximum(high_NM2 - low_NM2, 0), axis=2))


def iou(boxes_N4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of boxes, [N, M].

    >>> iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3).tolist()
    [[0.333]]
    """
    shared_NM = intersections(boxes_N4, others_M4)
    union_NM = areas(boxes_N4)[:, None] + areas(others_M4)[None] - shared_NM
    return np.asarray(shared_NM / np.maximum(union_NM, 1e-9))


def share_inside(boxes_N4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """Share of the area of each of the N boxes that is inside each of the M boxes, [N, M]."""
    return np.asarray(intersections(boxes_N4, others_M4) / np.maximum(areas(boxes_N4), 1e-9)[:, None])


def nms(boxes_N4: np.ndarray, score_N: np.ndarray, most_iou: float) -> np.ndarray:
    """Indices of the boxes that non-maximum suppression keeps, by descending score.

    A box is removed if its IoU with a kept box of a higher score exceeds `most_iou`.
    """
    order = np.argsort(-score_N, kind="stable")
    overlap_NN = iou(boxes_N4, boxes_N4)
    kept: list[int] = []
    for index in order.tolist():
        if not kept or overlap_NN[index, kept].max() <= most_iou:
            kept.append(index)
    return np.array(kept, np.int64)


def expand(box_4: Sequence[float] | np.ndarray, share: float) -> np.ndarray:
    """A box enlarged on every side by `share` of its longer side, float64 [4]."""
    box_4 = np.asarray(box_4, np.float64)[:4]
    margin = share * max(box_4[2] - box_4[0], box_4[3] - box_4[1])
    return box_4 + np.array([-margin, -margin, margin, margin])


def clip_to_frame(box_4: Sequence[float] | np.ndarray, *, height: int, width: int) -> BoxXYXY:
    """The whole pixels of a frame that a box touches; at least one."""
    x0, y0, x1, y1 = np.asarray(box_4, np.float64)[:4]
    left, top = int(np.clip(np.floor(x0), 0, width - 1)), int(np.clip(np.floor(y0), 0, height - 1))
    right, bottom = int(np.clip(np.ceil(x1), left + 1, width)), int(np.clip(np.ceil(y1), top + 1, height))
    return left, top, right, bottom


def bounding_box(points_L2: np.ndarray) -> np.ndarray:
    """The bounding box of some points, float64 [4]; NaNs are ignored."""
    low_2, high_2 = np.nanmin(points_L2[:, :2], 0), np.nanmax(points_L2[:, :2], 0)
    return np.array([*low_2, *high_2], np.float64)


def centre_distances(boxes_N4: np.ndarray, others_M4: np.ndarray, *, alike: float = 0.45) -> np.ndarray:
    """Distances of the boxes' centres, [N, M], in longer sides of the larger box.

    Args:
      alike: they are infinite where the longer side of the smaller box is at most this share of the larger's.
    """
    centres_N2, centres_M2 = ((b[:, :2] + b[:, 2:4]) / 2 for b in (boxes_N4, others_M4))
    side_N, side_M = longer_sides(boxes_N4), longer_sides(others_M4)
    larger, smaller = np.maximum(side_N[:, None], side_M), np.minimum(side_N[:, None], side_M)
    away = np.linalg.norm(centres_N2[:, None] - centres_M2[None], axis=2) / np.maximum(larger, 1e-6)
    return np.asarray(np.where(smaller > alike * larger, away, np.inf))


def longer_sides(boxes_N4: np.ndarray) -> np.ndarray:
    """The longer side of each box, [N]."""
    return np.asarray((boxes_N4[:, 2:4] - boxes_N4[:, :2]).max(1))


def same_things(before_N4: np.ndarray, after_M4: np.ndarray, reach: float) -> dict[int, int]:
    """Boxes of the same things at two times: rows of the first by rows of the second, nearest first.

    Args:
      reach: the largest motion, in longer sides of the larger box.
    """
    away_NM = centre_distances(before_N4, after_M4, alike=0)
    pairs: dict[int, int] = {}
    for pair in np.argsort(away_NM, axis=None, kind="stable").tolist():
        before, after = divmod(pair, len(after_M4))
        if away_NM[before, after] > reach:
            break
        if before not in pairs.values() and after not in pairs:
            pairs[after] = before
    return pairs


def moved_by_camera(box_4: np.ndarray, camera_23: np.ndarray) -> np.ndarray:
    """A box of the previous frame, moved by the camera to this frame."""
    corners_22 = box_4.reshape(2, 2) @ camera_23[:, :2].T + camera_23[:, 2]
    return np.concatenate([corners_22.min(0), corners_22.max(0)])


def inverse_affine(camera_23: np.ndarray) -> np.ndarray:
    """The inverse of an affine map [2, 3]."""
    turn_22 = np.linalg.inv(camera_23[:, :2])
    return np.column_stack([turn_22, -turn_22 @ camera_23[:, 2]])
