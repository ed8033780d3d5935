"""Dilated masks of people: a network's mask, and what it misses at hair, hands, feet and shadow.

Shape suffixes: H×W a frame, h×w a patch of it, 33 landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BONES = (
    (11, 12), (11, 23), (12, 24), (23, 24), (11, 13), (13, 15), (12, 14), (14, 16), (15, 19), (16, 20),
    (23, 25), (25, 27), (24, 26), (26, 28), (27, 29), (29, 31), (27, 31), (28, 30), (30, 32), (28, 32),
)  # fmt: skip
"""Pairs of MediaPipe landmarks joined by a limb."""

CUT_OFF = 0.25
"""Least share of an outline's width at the frame's lower edge that cuts it off. In real clips it is 0.3 to 1
for people whose bodies continue below the frame, and 0 for most others."""

NOSE = 0
EARS = (7, 8)
TORSO = (11, 12, 23, 24)


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask that is stored only where it is not empty: `mask_hw` bool at `corner` (x, y) of the frame."""

    corner: tuple[int, int]
    mask_hw: np.ndarray

    def moved(self, dx: float, dy: float) -> Patch:
        """The same mask at another place. It may extend outside the frame."""
        return Patch((self.corner[0] + round(dx), self.corner[1] + round(dy)), self.mask_hw)

    def paint(self, frame_HW: np.ndarray) -> None:
        """Set the pixels of a bool frame that the mask covers."""
        (x, y), (h, w) = self.corner, self.mask_hw.shape
        height, width = frame_HW.shape
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
        if x0 < x1 and y0 < y1:
            frame_HW[y0:y1, x0:x1] |= self.mask_hw[y0 - y : y1 - y, x0 - x : x1 - x]

    def paint_into(self, other: Patch) -> None:
        """Set the pixels of another patch that this one covers."""
        self.moved(-other.corner[0], -other.corner[1]).paint(other.mask_hw)

    def box(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the patch."""
        (x, y), (h, w) = self.corner, self.mask_hw.shape
        return x, y, x + w, y + h


def body_height(keypoints_33x3: np.ndarray) -> float:
    """The body scale: a stable length of a body in pixels, about its standing height in any pose.

    It is the longest of torso, thighs, shins, shoulder width and head, each divided by its share of a
    standing height (Winter 2009), so that foreshortened limbs do not reduce it.
    """
    p = keypoints_33x3[:, :2].astype(np.float64)
    shoulders, hips = p[[11, 12]].mean(0), p[[23, 24]].mean(0)
    lengths = (
        np.linalg.norm(shoulders - hips) / 0.29,
        np.linalg.norm(p[23] - p[25]) / 0.245,
        np.linalg.norm(p[24] - p[26]) / 0.245,
        np.linalg.norm(p[25] - p[27]) / 0.246,
        np.linalg.norm(p[26] - p[28]) / 0.246,
        np.linalg.norm(p[11] - p[12]) / 0.24,
        np.linalg.norm(p[7] - p[8]) / 0.10,
    )
    return float(np.sort(lengths)[-2])


def crop_to_content(mask_HW: np.ndarray, corner: tuple[int, int] = (0, 0)) -> Patch:
    """The smallest patch with all set pixels of a mask."""
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    if not len(rows):
        return Patch(corner, np.zeros((0, 0), bool))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Patch((corner[0] + int(x0), corner[1] + int(y0)), mask_HW[y0:y1, x0:x1].copy())


def limbs(keypoints_33x3: np.ndarray, *, frame_size: tuple[int, int], thickness: float = 0.035) -> Patch:
    """Limbs, hands, head with hair, and the contact shadow drawn from landmarks.

    Args:
      frame_size: (height, width) of the frame in pixels.
      thickness: radius of a limb as a share of the body's height.
    """
    height, width = frame_size
    points = keypoints_33x3[:, :2].astype(np.float64)
    body_scale = body_height(keypoints_33x3)
    margin = 0.2 * body_scale
    low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + margin), (width, height)).astype(int)
    if (high <= low).any():
        return Patch((0, 0), np.zeros((0, 0), bool))
    drawn = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    local = np.clip(points - low, -4 * max(height, width), 4 * max(height, width))
    radius = max(1, round(thickness * body_scale))
    pixel = [_pixel(p) for p in local]
    for a, b in BONES:
        cv2.line(drawn, pixel[a], pixel[b], 1, 2 * radius)
    cv2.fillConvexPoly(drawn, cv2.convexHull(np.array([pixel[i] for i in TORSO], np.int32)), 1)
    for wrist, finger in ((15, 19), (16, 20)):  # the landmarks end at the knuckles
        tip = local[finger] + 0.7 * (local[finger] - local[wrist])
        cv2.circle(drawn, _pixel(tip), radius, 1, -1)
    # The landmarks span the face only, so the head with hair is centred between and above the ears.
    up = local[[11, 12]].mean(0) - local[[23, 24]].mean(0)
    up /= max(float(np.linalg.norm(up)), 1e-6)
    crown = 0.6 * local[list(EARS)].mean(0) + 0.4 * local[NOSE] + 0.025 * body_scale * up
    head = max(1, round(0.085 * body_scale))
    cv2.circle(drawn, _pixel(crown), head, 1, -1)
    # The neck, long hair beside it, and the slope to the shoulders, in any position of the head.
    cv2.line(drawn, _pixel(crown), _pixel(local[[11, 12]].mean(0)), 1, 2 * head)
    cv2.fillConvexPoly(drawn, np.array([pixel[11], pixel[12], _pixel(crown)], np.int32), 1)
    for foot in (slice(27, 33, 2), slice(28, 33, 2)):  # a soft shadow spreads sideways on the floor
        centre = local[foot].mean(0)
        axes = (max(1, round(0.08 * body_scale)), max(1, round(0.035 * body_scale)))
        cv2.ellipse(drawn, _pixel(centre), axes, 0, 0, 360, 1, -1)
    return Patch((int(low[0]), int(low[1])), drawn.astype(bool))


def dilate_patch(patch: Patch, radius: float) -> Patch:
    """The patch dilated by `radius` pixels, on a larger patch.

    Distances are those of a 5×5 mask, which is faster than the exact ones of `video.masks.dilate`.
    """
    if not patch.mask_hw.size:
        return patch
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(patch.mask_hw, margin)
    distance = cv2.distanceTransform((~padded).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return Patch((patch.corner[0] - margin, patch.corner[1] - margin), distance <= radius)


def box_patch(box_4: np.ndarray, rounding: float = 0.15) -> Patch:
    """A box as a patch, with corners rounded by a share of the shorter side."""
    x0, y0 = np.floor(box_4[:2]).astype(int)
    x1, y1 = np.maximum(np.ceil(box_4[2:4]).astype(int), [x0 + 1, y0 + 1])
    height, width = int(y1 - y0), int(x1 - x0)
    radius = round(rounding * min(height, width))
    drawn = np.zeros((height, width), np.uint8)
    cv2.rectangle(drawn, (radius, 0), (width - 1 - radius, height - 1), 1, -1)
    cv2.rectangle(drawn, (0, radius), (width - 1, height - 1 - radius), 1, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(drawn, (x, y), radius, 1, -1)
    return Patch((int(x0), int(y0)), drawn.astype(bool))


def union(patches: list[Patch]) -> Patch:
    """The union of patches, on their common bounding box."""
    patches = [patch for patch in patches if patch.mask_hw.size]
    if not patches:
        return Patch((0, 0), np.zeros((0, 0), bool))
    boxes = np.array([patch.box() for patch in patches])
    x0, y0 = boxes[:, :2].min(0)
    x1, y1 = boxes[:, 2:].max(0)
    common = np.zeros((y1 - y0, x1 - x0), bool)
    for patch in patches:
        patch.moved(-x0, -y0).paint(common)
    return Patch((int(x0), int(y0)), common)


def _pixel(point_2: np.ndarray) -> tuple[int, int]:
    return round(float(point_2[0])), round(float(point_2[1]))


def is_cut_off(outline_HW: np.ndarray) -> bool:
    """Whether the frame's lower edge cuts off a person: `CUT_OFF` of the outline's width ends there.

    >>> outline = np.zeros((9, 9), bool); outline[2:7, 3:7] = True
    >>> is_cut_off(outline), is_cut_off(outline[:7])
    (False, True)
    """
    width = np.count_nonzero(outline_HW.any(0))
    return bool(np.count_nonzero(outline_HW[-3:].any(0)) > CUT_OFF * width)
