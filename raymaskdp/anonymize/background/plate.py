"""The background plate of a fixed camera, from the pixels that no person covers.

Statistics are streaming (a bounded sample of each pixel's unmasked history), so memory does not grow with the
video. Pixels under a person mask are never used: a plain median over all frames would keep a person who
stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.inpaint import fill

# Shape suffixes: H rows, W columns, K samples a pixel, 3 RGB.


@dataclass(frozen=True, kw_only=True, eq=False)
class Plate:
    """The background.

    Attributes:
      color_HW3: uint8 RGB.
      seen_HW: bool, pixels that were uncovered often enough. The others are inpainted, or black in an
        unfinished plate.
    """

    color_HW3: np.ndarray
    seen_HW: np.ndarray

    @property
    def never_observed(self) -> float:
        """Fraction of the pixels that were not observed."""
        return float(1.0 - self.seen_HW.mean())


class PlateBuilder:
    """Builds a plate from frames, one by one.

    >>> frame, nobody = np.full((2, 2, 3), 7, np.uint8), np.zeros((2, 2), bool)
    >>> builder = PlateBuilder(PlateConfig(), visible_HW=np.full((2, 2), 3), num_frames=3)
    >>> for _ in range(3):
    ...     builder.add(frame, nobody)
    >>> builder.build().color_HW3[0, 0].tolist()
    [7, 7, 7]

    Args:
      config: settings.
      visible_HW: int [H, W], the number of frames in which each pixel is unmasked. Masks are known before
        pixels, so samples can be spread evenly over these frames.
      num_frames: number of frames; int [H, W] if not all of them show every pixel.
    """

    def __init__(self, config: PlateConfig, *, visible_HW: np.ndarray, num_frames: int | np.ndarray) -> None:
        self._config = config
        self._seen_HW = visible_HW >= np.maximum(1.0, config.min_visible * num_frames)
        self._stride_HW = np.maximum(1, -(-visible_HW // config.samples)).astype(np.int32)
        self._ahead_HW = np.zeros(visible_HW.shape, np.int32)  # visible frames until the next sample
        self._count_HW = np.zeros(visible_HW.shape, np.uint8)
        self._samples_KHW3 = np.zeros((config.samples, *visible_HW.shape, 3), np.uint8)

    def add(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Add the pixels of `frame_HW3` (uint8 RGB) outside `mask_HW` (bool, True = person)."""
        free_HW = ~mask_HW
        due_HW = free_HW & (self._ahead_HW == 0)
        if due_HW.any():
            for slot in np.flatnonzero(np.bincount(self._count_HW[due_HW])).tolist():
                here_HW = due_HW & (self._count_HW == slot)
                cv2.copyTo(frame_HW3, here_HW.view(np.uint8), self._samples_KHW3[slot])
            self._count_HW += due_HW
            cv2.copyTo(self._stride_HW, due_HW.view(np.uint8), self._ahead_HW)
        self._ahead_HW -= free_HW

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """The first observed value of each pixel, uint8 [H, W, 3], and where there is one, bool [H, W]."""
        return self._samples_KHW3[0], self._count_HW > 0

    def build(self) -> Plate:
        """The median of the observed values, with inpainted pixels where there are none."""
        return filled(self.observed(), self._config)

    def observed(self, rank: float = 0.5) -> Plate:
        """The median of the observed values, or another quantile, in [0.5, 1]; black elsewhere."""
        color_HW3 = np.zeros(self._samples_KHW3.shape[1:], np.uint8)
        for top in range(0, color_HW3.shape[0], 64):  # in strips, to sort without a second copy
            rows = slice(top, top + 64)
            color_HW3[rows] = _masked_quantile(self._samples_KHW3[:, rows], self._count_HW[rows], rank)
        color_HW3[~self._seen_HW] = 0
        return Plate(color_HW3=color_HW3, seen_HW=self._seen_HW)


def filled(plate: Plate, config: PlateConfig) -> Plate:
    """A plate whose never-observed pixels are inpainted."""
    color_HW3 = fill(plate.color_HW3, ~plate.seen_HW, config.fill)
    return Plate(color_HW3=color_HW3, seen_HW=plate.seen_HW)


def lighting(frame_HW3: np.ndarray, plate_HW3: np.ndarray, usable_HW: np.ndarray) -> np.ndarray:
    """Gain [3] from the light of the plate to that of a frame, from the pixels of `usable_HW`.

    It is near 1, and exactly 1 if there are too few pixels.
    """
    step = max(1, frame_HW3.shape[0] // 48)  # some thousand pixels suffice
    grid = (slice(None, None, step), slice(None, None, step))
    usable = usable_HW[grid].ravel()
    plate_3N = plate_HW3[grid].reshape(-1, 3)[usable].T.astype(np.float32)
    frame_3N = frame_HW3[grid].reshape(-1, 3)[usable].T.astype(np.float32)
    steady = ((np.abs(frame_3N - plate_3N) < 24) & (plate_3N > 8) & (frame_3N < 250)).all(axis=0)
    if np.count_nonzero(steady) < 200:
        return np.ones(3, np.float32)
    gain = frame_3N[:, steady].mean(axis=1) / plate_3N[:, steady].mean(axis=1)
    return np.clip(gain, 0.8, 1.25).astype(np.float32)


def relit(plate_HW3: np.ndarray, gain_3: np.ndarray) -> np.ndarray:
    """The plate in the light of a frame, uint8 [H, W, 3]."""
    if np.abs(gain_3 - 1).max() < 1 / 512:
        return plate_HW3
    table = np.clip(np.arange(256, dtype=np.float32)[:, None] * gain_3 + 0.5, 0, 255).astype(np.uint8)
    return cv2.LUT(plate_HW3, table[None])


def _masked_quantile(samples_KHW3: np.ndarray, count_HW: np.ndarray, rank: float = 0.5) -> np.ndarray:
    """Quantile over the first `count_HW` samples of each pixel; for a median, the mean of two; 0 for none."""
    index_K = np.arange(len(samples_KHW3))[:, None, None, None]
    padded_KHW3 = np.where(index_K < count_HW[..., None], samples_KHW3, 255)
    _sort_planes(padded_KHW3)
    count = count_HW.astype(np.int64)
    last = np.maximum(count - 1, 0) * rank
    low, high = np.floor(last).astype(np.int64), np.ceil(last).astype(np.int64)
    shape = (1, *count_HW.shape, 1)
    below = np.take_along_axis(padded_KHW3, low.reshape(shape), axis=0)[0].astype(np.uint16)
    above = np.take_along_axis(padded_KHW3, high.reshape(shape), axis=0)[0]
    value_HW3 = ((below + above + 1) // 2).astype(np.uint8)
    value_HW3[count_HW == 0] = 0
    return value_HW3


def _sort_planes(planes_KHW3: np.ndarray) -> None:
    """Sort along the first axis, in place: Batcher's odd-even merge network (Knuth, TAOCP 3, 5.2.2, M).

    Each exchange works on whole planes, so all pixels are sorted together. It is about ten times as fast as
    sorting along an axis with a large stride.
    """
    count = len(planes_KHW3)
    smaller_HW3 = np.empty_like(planes_KHW3[0])
    top = 1 << max(0, (count - 1).bit_length() - 1)
    step = top
    while step:
        last, rest, distance = top, 0, step
        while True:
            for low in range(count - distance):
                if low & step == rest:
                    high_HW3 = planes_KHW3[low + distance]
                    np.minimum(planes_KHW3[low], high_HW3, out=smaller_HW3)
                    np.maximum(planes_KHW3[low], high_HW3, out=high_HW3)
                    planes_KHW3[low] = smaller_HW3
            if last == step:
                break
            distance, last, rest = last - step, last >> 1, step
        step >>= 1
