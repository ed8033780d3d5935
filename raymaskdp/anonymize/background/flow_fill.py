"""What a carried camera sees behind its people: taken from neighbouring frames along the optical flow.

Where near things pass far ones no homography explains a frame, but from one frame to the next the flow does.
Each masked pixel is followed through the frames before and behind, step by step (DIS, Kroeger et al. 2016),
until it comes out from under the masks; what does not come back to where it started on the way is lost. The
flow under a mask is made up from that around it, as is what was never uncovered.

Every colour is found twice, the second time with all masked pixels of all frames altered, and pixels that
differ are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.video import masks

# Shape suffixes: H rows, W columns, N pixels, 2 column and row, 3 RGB.

REACH = 12
"""Frames that are searched before and behind: errors add up, and light changes."""

RETURN_PX = 1.0
"""Distance within which a step there and back must end."""

FLOW_WIDTH = 640
"""The flow is found at this width at most."""

_FOOTPRINT = 3
"""A bicubic value is mixed from pixels at most two away in each direction; one more, for rounding."""

_ROW = 1024

MaskedFrames = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Frames uint8 [H, W, 3] with their masks bool [H, W], from some number on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """A frame of the window.

    Attributes:
      gray_hw: uint8, small, with people covered by the colours around them.
      free_HW: bool, pixels that no masked one is mixed into.
    """

    frame_HW3: np.ndarray
    gray_hw: np.ndarray
    mask_HW: np.ndarray
    free_HW: np.ndarray


class FlowFill:
    """Fills the masked pixels of frames, asked for in order; any frame may be the first.

    Args:
      frames: the video.
      method: of what no frame shows, a name in `inpaint.FILLS` or a path.
    """

    def __init__(self, frames: MaskedFrames, method: str) -> None:
        self._sides = tuple(_Side(frames, altered=altered, method=method) for altered in (False, True))

    def at(self, index: int) -> tuple[np.ndarray, int]:
        """Frame `index` with its masked pixels made up, uint8 [H, W, 3].

        And how many of its pixels depend on a masked one.
        """
        filled_HW3, other_HW3 = (side.at(index) for side in self._sides)
        return filled_HW3, int(np.count_nonzero((filled_HW3 != other_HW3).any(axis=2)))


class _Side:
    """The window of frames and flows around the one that is asked for."""

    def __init__(self, frames: MaskedFrames, *, altered: bool, method: str) -> None:
        self._frames = frames
        self._altered = altered
        self._method = method
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._views: dict[int, _View] = {}
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._coming: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        self._next = -1

    def at(self, index: int) -> np.ndarray:
        self._load(index)
        view = self._views[index]
        rows, columns = np.nonzero(view.mask_HW)
        found_HW3 = view.frame_HW3.copy()
        found_HW3[view.mask_HW] = 0
        if not len(rows):
            return found_HW3
        distance_N = np.full(len(rows), REACH + 1)
        colours_N3 = np.zeros((len(rows), 3), np.uint8)
        for direction in (1, -1):
            self._follow(index, direction, np.stack([columns, rows], axis=1), distance_N, colours_N3)
        shown_N = distance_N <= REACH
        found_HW3[rows[shown_N], columns[shown_N]] = colours_N3[shown_N]
        unknown_HW = view.mask_HW.copy()
        unknown_HW[rows[shown_N], columns[shown_N]] = False
        return fill(found_HW3, unknown_HW, self._method)

    def _follow(
        self, index: int, direction: int, start_N2: np.ndarray, distance_N: np.ndarray, colours_N3: np.ndarray
    ) -> None:
        """Follow pixels through one side's frames; the nearest that shows one gives its colour, in place."""
        at_N2 = start_N2.astype(np.float32)
        alive = np.arange(len(at_N2))
        for step in range(1, REACH + 1):
            before, after = index + direction * (step - 1), index + direction * step
            if after not in self._views or not len(alive):
                return
            view = self._views[after]
            moved_N2 = self._moved(before, after, at_N2)
            back_N2 = self._moved(after, before, moved_N2)
            height, width = view.mask_HW.shape
            kept_N = np.linalg.norm(back_N2 - at_N2, axis=1) < RETURN_PX
            kept_N &= ((moved_N2 >= 2) & (moved_N2 < [width - 3, height - 3])).all(axis=1)
            at_N2, alive = moved_N2[kept_N], alive[kept_N]
            if not len(alive):
                return
            free_N = _sampled(view.free_HW.view(np.uint8), at_N2, cv2.INTER_NEAREST) > 0
            nearer_N = free_N & (distance_N[alive] > step)
            if nearer_N.any():
                colours_N3[alive[nearer_N]] = _sampled(view.frame_HW3, at_N2[nearer_N], cv2.INTER_CUBIC)
                distance_N[alive[nearer_N]] = step
            at_N2, alive = at_N2[~free_N], alive[~free_N]

    def _moved(self, before: int, after: int, at_N2: np.ndarray) -> np.ndarray:
        """Where places of one frame are in its neighbour, float32 [N, 2]."""
        scale = self._views[before].gray_hw.shape[1] / self._views[before].mask_HW.shape[1]
        small_N2 = (at_N2 + 0.5) * np.float32(scale) - 0.5
        return at_N2 + _sampled(self._between(before, after), small_N2, cv2.INTER_LINEAR) / np.float32(scale)

    def _between(self, before: int, after: int) -> np.ndarray:
        """The flow from one frame to its neighbour, float32 [h, w, 2], under the masks that around them."""
        if (before, after) not in self._flows:
            one, other = self._views[before], self._views[after]
            hidden = masks.dilate(one.mask_HW | other.mask_HW, _FOOTPRINT + 1).view(np.uint8)
            hidden_hw = cv2.resize(hidden, one.gray_hw.shape[::-1], interpolation=cv2.INTER_NEAREST)
            flow_hw2: np.ndarray = self._flow.calc(one.gray_hw, other.gray_hw, None)  # type: ignore[call-overload]
            parts = (np.ascontiguousarray(flow_hw2[..., axis]) for axis in (0, 1))
            self._flows[before, after] = np.dstack(
                [cv2.inpaint(part, hidden_hw, 3, cv2.INPAINT_NS) for part in parts]
            )
        return self._flows[before, after]

    def _load(self, index: int) -> None:
        """Have the frames around `index`, and no others."""
        first = max(0, index - REACH)
        if not (self._views and first <= self._next <= index + REACH + 1 and min(self._views) <= first):
            self._views, self._flows = {}, {}
            self._coming, self._next = self._frames(first), first
        while self._next <= index + REACH:
            coming = next(self._coming, None)
            if coming is None:
                break
            self._views[self._next] = self._seen(*coming)
            self._next += 1
        for old in [number for number in self._views if number < first]:
            del self._views[old]
        for pair in [pair for pair in self._flows if min(pair) < first]:
            del self._flows[pair]

    def _seen(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> _View:
        if self._altered:
            frame_HW3 = frame_HW3 ^ (mask_HW[..., None] * np.uint8(0xC0))
        height, width = mask_HW.shape
        scale = min(1.0, FLOW_WIDTH / width)
        size = (max(16, round(width * scale)), max(16, round(height * scale)))
        covered_HW3 = fill(frame_HW3, mask_HW, "blur")
        near = np.ones((2 * _FOOTPRINT + 1, 2 * _FOOTPRINT + 1), np.uint8)
        return _View(
            frame_HW3=frame_HW3,
            gray_hw=cv2.resize(
                cv2.cvtColor(covered_HW3, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA
            ),
            mask_HW=mask_HW,
            free_HW=cv2.erode((~mask_HW).view(np.uint8), near).view(bool),
        )


def _sampled(picture: np.ndarray, at_N2: np.ndarray, flags: int) -> np.ndarray:
    """Values of a picture [H, W, ...] at places between its pixels, [N, ...]."""
    count = len(at_N2)
    padded = np.zeros((-(-count // _ROW) * _ROW, 2), np.float32)  # a picture has at most 32767 columns
    padded[:count] = at_N2
    grid = padded.reshape(-1, _ROW, 2)
    # One map holds both coordinates; the stubs do not know of that.
    found: np.ndarray = cv2.remap(picture, grid, None, flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return found.reshape(-1, *picture.shape[2:])[:count]
