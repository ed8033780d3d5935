"""Background pixels that people cover for most of a video.

A pixel that is uncovered in a few frames only may show the background, or a person whom the masks missed
then. It is the background where the masks say who covered it later, or before: somebody who came from
elsewhere in the picture. A mask that is suddenly there, or gone, may be of somebody who was there all the
time; and next to a mask there may be a limb of it. Only masks are looked at, no pixels.

Shape suffixes: T frames, H rows, W columns of the video; h, w of small masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from raymaskdp.video.mask_film import SmallMask

ROWS = 90
"""Rows of the small masks that are looked at."""

LIMB = 0.25
"""Nearer to a mask than this share of its height, something may be a limb of whom it is of."""

GROWTH = 1.5
"""A mask that grows more between two frames has somebody in it who was not in it before, unless it is at the
edge of the frame: whoever comes in grows as fast as they walk."""


class Passing:
    """Where each frame surely shows the background, told from all masks of a video.

    >>> masks = np.zeros((6, 40, 40), bool)
    >>> for frame, left in enumerate((-9, 0, 9, 18, 18, 18)):  # comes in from the left, and stays
    ...     masks[frame, 10:25, max(0, left):left + 14] = True
    >>> Passing(masks).shown(0)[15, [20, 39]].tolist(), Passing(masks[3:]).shown(0)[15, 20].tolist()
    ([True, True], False)

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
        """Pixels that show the background in that frame, bool [H, W]."""
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
    """The connected parts of a small mask; part 0 is what is uncovered."""

    def __init__(self, mask_hw: np.ndarray) -> None:
        self.mask_hw = mask_hw
        _, self.labels_hw, self.stats, _ = cv2.connectedComponentsWithStats(mask_hw.view(np.uint8))
        self.area_P = self.stats[:, cv2.CC_STAT_AREA]

    def _at_edge(self) -> np.ndarray:
        """Which parts touch the edge of the frame, bool [P]."""
        left, top = self.stats[:, cv2.CC_STAT_LEFT], self.stats[:, cv2.CC_STAT_TOP]
        right, bottom = left + self.stats[:, cv2.CC_STAT_WIDTH], top + self.stats[:, cv2.CC_STAT_HEIGHT]
        height, width = self.mask_hw.shape
        return np.asarray((left == 0) | (top == 0) | (right == width) | (bottom == height))

    def near(self, which_P: np.ndarray | None = None) -> np.ndarray:
        """What is in one of these parts or within a limb of it, bool [h, w]; of all parts by default."""
        near_hw = np.zeros_like(self.mask_hw)
        for part in range(1, len(self.area_P)):
            if which_P is not None and not which_P[part]:
                continue
            free_hw = (self.labels_hw != part).view(np.uint8)
            reach = LIMB * self.stats[part, cv2.CC_STAT_HEIGHT]
            near_hw |= cv2.distanceTransform(free_hw, cv2.DIST_L2, 3) <= reach
        return near_hw

    def from_elsewhere(self, other: _Parts) -> np.ndarray:
        """Which parts are in the neighbouring frame, too, but for some growth, bool [P]."""
        pairs = np.unique(np.stack([self.labels_hw.ravel(), other.labels_hw.ravel()]), axis=1)
        there_P = np.zeros(len(self.area_P))
        np.add.at(there_P, pairs[0], np.where(pairs[1] > 0, other.area_P[pairs[1]], 0))
        return np.asarray((there_P > 0) & (self._at_edge() | (self.area_P <= GROWTH * there_P)))


def _known(small_T: list[SmallMask]) -> list[SmallMask]:
    """For each frame, pixels away from people, of which the next to cover them come from elsewhere.

    Gone through from the last frame, after which nobody covers anything.
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
