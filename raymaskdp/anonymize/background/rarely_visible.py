"""Background pixels that people cover in most frames of a video.

A pixel that is uncovered in a few frames only may show the background, or a person whom the masks miss in
these frames. It shows the background if the person who covers it next, or who covered it before, comes from
another place of the frame. A mask that appears or disappears suddenly may belong to a person who was there
all the time. Next to a mask there may be a missed limb. Only masks are used here, no pixels.

Shape suffixes: T frames, H rows, W columns of the video; h, w of small masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from raymaskdp.video.mask_film import SmallMask

ROWS = 90
"""Rows of the small masks."""

LIMB = 0.25
"""Reach of a missed limb from a mask, as a share of the mask's height."""

GROWTH = 1.5
"""Ratio of the area of a mask in two consecutive frames above which it contains a new person, unless it
touches the edge of the frame, where people enter at walking speed."""


class RarelyVisible:
    """The pixels that certainly show the background in each frame, computed from all masks of a video.

    >>> masks = np.zeros((6, 40, 40), bool)
    >>> for frame, left in enumerate((-9, 0, 9, 18, 18, 18)):  # enters from the left, and stays
    ...     masks[frame, 10:25, max(0, left):left + 14] = True
    >>> RarelyVisible(masks).shown(0)[15, [20, 39]].tolist()
    [True, True]
    >>> RarelyVisible(masks[3:]).shown(0)[15, 20].tolist()
    False

    Args:
      masks: of every frame, bool [H, W], True = person.
    """

    def __init__(self, masks: Iterable[np.ndarray]) -> None:
        self._shape = (0, 0)
        small_T = list(self._shrunk(masks))
        ended_T, begun_T = _known(small_T), _known(small_T[::-1])[::-1]
        self._shown_T = [
            SmallMask.of(ended.mask_HW & begun.mask_HW) for ended, begun in zip(ended_T, begun_T, strict=True)
        ]

    def shown(self, frame: int) -> np.ndarray:
        """Pixels that certainly show the background in that frame, bool [H, W]."""
        height, width = self._shape
        small_hw = self._shown_T[frame].mask_HW.view(np.uint8)
        return cv2.resize(small_hw, (width, height), interpolation=cv2.INTER_NEAREST).view(bool)

    def _shrunk(self, masks: Iterable[np.ndarray]) -> Iterator[SmallMask]:
        for mask_HW in masks:
            height, width = self._shape = mask_HW.shape
            step = max(1.0, height / ROWS)
            size = max(1, round(width / step)), max(1, round(height / step))
            some_hw = cv2.resize(mask_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
            yield SmallMask.of(some_hw)


class _Parts:
    """The connected components of a small mask; component 0 is the uncovered area."""

    def __init__(self, mask_hw: np.ndarray) -> None:
        self.mask_hw = mask_hw
        _, self.labels_hw, self.stats, _ = cv2.connectedComponentsWithStats(mask_hw.view(np.uint8))
        self.area_P = self.stats[:, cv2.CC_STAT_AREA]

    def _at_edge(self) -> np.ndarray:
        """Which components touch the edge of the frame, bool [P]."""
        left, top = self.stats[:, cv2.CC_STAT_LEFT], self.stats[:, cv2.CC_STAT_TOP]
        right, bottom = left + self.stats[:, cv2.CC_STAT_WIDTH], top + self.stats[:, cv2.CC_STAT_HEIGHT]
        height, width = self.mask_hw.shape
        return np.asarray((left == 0) | (top == 0) | (right == width) | (bottom == height))

    def near(self, which_P: np.ndarray | None = None) -> np.ndarray:
        """Pixels in one of these components or within the reach of a limb, bool [h, w]; all components by
        default.
        """
        near_hw = np.zeros_like(self.mask_hw)
        for part in range(1, len(self.area_P)):
            if which_P is not None and not which_P[part]:
                continue
            free_hw = (self.labels_hw != part).view(np.uint8)
            reach = LIMB * self.stats[part, cv2.CC_STAT_HEIGHT]
            near_hw |= cv2.distanceTransform(free_hw, cv2.DIST_L2, 3) <= reach
        return near_hw

    def from_elsewhere(self, other: _Parts) -> np.ndarray:
        """Which components exist in the neighbouring frame, too, apart from some growth, bool [P]."""
        pairs = np.unique(np.stack([self.labels_hw.ravel(), other.labels_hw.ravel()]), axis=1)
        there_P = np.zeros(len(self.area_P))
        np.add.at(there_P, pairs[0], np.where(pairs[1] > 0, other.area_P[pairs[1]], 0))
        return np.asarray((there_P > 0) & (self._at_edge() | (self.area_P <= GROWTH * there_P)))


def _known(small_T: list[SmallMask]) -> list[SmallMask]:
    """For each frame, pixels away from people that are next covered by people from another place.

    Frames are processed from the last to the first; after the last frame no pixel is covered.
    """
    known_T: list[SmallMask] = []
    after: _Parts | None = None
    known_hw = np.ones(small_T[0].shape if small_T else (0, 0), bool)
    for small in reversed(small_T):
        parts = _Parts(small.mask_HW)
        if after is not None:
            come_P = after.from_elsewhere(parts)
            known_hw = known_hw | (after.mask_hw & ~parts.mask_hw)
            known_hw &= ~after.near(~come_P)
        known_T.append(SmallMask.of(known_hw & ~parts.near()))
        after = parts
    return known_T[::-1]
