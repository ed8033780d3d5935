"""The background of a translating camera, filled from neighbouring frames along the optical flow.

With parallax no homography relates two frames, but the optical flow does for consecutive frames. Each masked
pixel is tracked through the previous and the next frames, step by step (DIS, Kroeger et al. 2016), until it
leaves the masks. A pixel that fails the forward-backward check is lost. The flow under a mask is interpolated
from its surroundings.

Pixels that are never uncovered are inpainted. Separate inpainting of every frame would flicker, so the result
is the mean of the inpainted values of all surrounding frames, moved with the camera, and blended with its
surroundings.

Every colour is computed twice, the second time with all masked pixels of all frames altered, and pixels that
differ are counted. A value with identical inputs in both computations is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.anonymize.background.leakage import erase
from raymaskdp.video import masks

# Shape suffixes: H rows, W columns, N pixels, 2 column and row, 3 RGB.

REACH = 12
"""Frames that are searched in each direction. It is limited because errors accumulate and light changes."""

RETURN_PX = 1.0
"""Largest error of the forward-backward check of one step."""

JOIN_PX = 10.0
"""Width of the transition, from known pixels, between inpainting that joins its surroundings and the stable
mean."""

GRID_PX = 8
"""Spacing of the pixels of the flow from which the camera's motion and cuts are estimated."""

LEAST_RETURNING = 0.3
"""Least share of these that must pass the forward-backward check; below it there is a cut. In six real clips
the share was at least 0.54 in each frame, and 0.02 across the only cut."""

FLOW_WIDTH = 640
"""Largest width at which the flow is computed."""

_FOOTPRINT = 3
"""A bicubic value uses pixels at most two away in each direction; one more, for rounding."""

_ROW = 1024

MaskedFrames = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Frames uint8 [H, W, 3] with their masks bool [H, W], from a given number on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _FlowFrame:
    """A frame of the window.

    Attributes:
      gray_hw: uint8, small, with people covered by the colours around them.
      free_HW: bool, pixels that are independent of masked ones.
    """

    frame_HW3: np.ndarray
    gray_hw: np.ndarray
    mask_HW: np.ndarray
    free_HW: np.ndarray


class FlowFill:
    """Fills the masked pixels of frames. Frames are requested in order; the first may be any.

    Args:
      frames: the video.
      method: the inpainting of pixels that no frame shows, a name in `inpaint.FILLS` or a path.
    """

    def __init__(self, frames: MaskedFrames, method: str) -> None:
        once = _SharedResults()
        self._sides = tuple(
            _Side(frames, altered=altered, method=method, shared=once) for altered in (False, True)
        )

    def at(self, index: int) -> tuple[np.ndarray, int]:
        """Frame `index` with filled masked pixels, uint8 [H, W, 3], and how many of its pixels depend on a
        masked one.
        """
        filled_HW3, other_HW3 = (side.at(index) for side in self._sides)
        return filled_HW3, int(np.count_nonzero((filled_HW3 != other_HW3).any(axis=2)))


class _SharedResults:
    """Results of pure functions, shared by the two computations, whose inputs are often equal."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], tuple[tuple[np.ndarray, ...], np.ndarray]] = {}

    def __call__(
        self, key: tuple[str, int, int], function: Callable[..., np.ndarray], *given: np.ndarray
    ) -> np.ndarray:
        """The function's result for the arrays: the stored one of `key` if its inputs were equal."""
        known = self._known.get(key)
        if known is not None and all(map(np.array_equal, known[0], given)):
            return known[1]
        made = function(*given)
        self._known[key] = (given, made)
        return made

    def forget(self, before: int) -> None:
        """Drop the results of frames before that number."""
        for key in [key for key in self._known if min(key[1:]) < before]:
            del self._known[key]


class _Side:
    """One of the two computations: the window of frames and flows around the requested one."""

    def __init__(self, frames: MaskedFrames, *, altered: bool, method: str, shared: _SharedResults) -> None:
        self._frames = frames
        self._shared = shared
        self._altered = altered
        self._method = method
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._views: dict[int, _FlowFrame] = {}
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._cameras: dict[tuple[int, int], np.ndarray | None] = {}
        self._made: dict[int, np.ndarray] = {}
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
        return self._made_up(index, found_HW3, unknown_HW)

    def _made_up(self, index: int, found_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
        """A frame whose unknown pixels are the mean of the surrounding frames' inpainted values."""
        joined_HW3 = fill(found_HW3, unknown_HW, self._method)
        if not unknown_HW.any():
            return joined_HW3
        x, y, width, height = cv2.boundingRect(unknown_HW.view(np.uint8))
        total_hw3, count = np.zeros((height, width, 3), np.float32), 0
        for there, carried_23 in self._carried(index):
            inside_23 = carried_23.copy()
            inside_23[:, 2] += carried_23[:, :2] @ (x, y)
            total_hw3 += cv2.warpAffine(
                self._filled(there), inside_23, (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            count += 1
        part = (slice(y, y + height), slice(x, x + width))
        # The margin is outside the part: known pixels, or outside the frame.
        known_hw = np.pad(unknown_HW, 1, mode="edge")[y : y + height + 2, x : x + width + 2].view(np.uint8)
        away_hw = cv2.distanceTransform(known_hw, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
        steady_hw1 = (1 - np.exp(-np.maximum(away_hw - 1, 0) / JOIN_PX))[..., None]
        mixed_hw3 = joined_HW3[part] + steady_hw1 * (total_hw3 / count - joined_HW3[part])
        inner_hw = unknown_HW[part]
        joined_HW3[part][inner_hw] = np.clip(np.rint(mixed_hw3[inner_hw]), 0, 255).astype(np.uint8)
        return joined_HW3

    def _carried(self, index: int) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of the window that the camera's motion connects, and this frame's transform to each, [2,
        3].
        """
        yield index, np.eye(2, 3)
        for direction in (1, -1):
            carried_33 = np.eye(3)
            for step in range(1, REACH + 1):
                before, after = index + direction * (step - 1), index + direction * step
                camera_23 = self._camera(before, after) if after in self._views else None
                if camera_23 is None:
                    break
                carried_33 = np.vstack([camera_23, [0, 0, 1]]) @ carried_33
                yield after, carried_33[:2]

    def _camera(self, before: int, after: int) -> np.ndarray | None:
        """The camera's motion from one frame to its neighbour, [2, 3] in pixels; None across a cut."""
        if (before, after) not in self._cameras:
            self._cameras[before, after] = self._similarity(before, after)
        return self._cameras[before, after]

    def _similarity(self, before: int, after: int) -> np.ndarray | None:
        free_HW = self._views[before].free_HW
        height, width = free_HW.shape
        pixels = max(1, round(GRID_PX * width / self._views[before].gray_hw.shape[1]))
        y, x = (
            part.ravel() for part in np.mgrid[pixels // 2 : height : pixels, pixels // 2 : width : pixels]
        )
        at_N2 = np.stack([x, y], axis=1).astype(np.float32)[free_HW[y, x]]
        if len(at_N2) < 8:
            return None
        moved_N2 = self._moved(before, after, at_N2)
        apart_N = np.linalg.norm(self._moved(after, before, moved_N2) - at_N2, axis=1)
        if np.mean(apart_N < RETURN_PX * pixels / GRID_PX) < LEAST_RETURNING:
            return None
        camera_23, _ = cv2.estimateAffinePartial2D(at_N2, moved_N2, ransacReprojThreshold=2.0)
        return None if camera_23 is None else np.asarray(camera_23)

    def _filled(self, index: int) -> np.ndarray:
        """A frame inpainted separately."""
        if index not in self._made:
            view = self._views[index]
            erased_HW3 = erase(view.frame_HW3, view.mask_HW)
            key = ("fill", index, index)
            self._made[index] = self._shared(key, self._fill, erased_HW3, view.mask_HW)
        return self._made[index]

    def _fill(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
        return fill(frame_HW3, mask_HW, self._method)

    def _follow(
        self, index: int, direction: int, start_N2: np.ndarray, distance_N: np.ndarray, colours_N3: np.ndarray
    ) -> None:
        """Track pixels through the frames in one direction; the nearest frame that shows one gives its
        colour, in place.
        """
        at_N2 = start_N2.astype(np.float32)
        alive = np.arange(len(at_N2))
        for step in range(1, REACH + 1):
            before, after = index + direction * (step - 1), index + direction * step
            if after not in self._views or not len(alive) or self._camera(before, after) is None:
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
        """Positions of one frame in its neighbour, float32 [N, 2]."""
        scale = self._views[before].gray_hw.shape[1] / self._views[before].mask_HW.shape[1]
        small_N2 = (at_N2 + 0.5) * np.float32(scale) - 0.5
        return at_N2 + _sampled(self._between(before, after), small_N2, cv2.INTER_LINEAR) / np.float32(scale)

    def _between(self, before: int, after: int) -> np.ndarray:
        """The flow from one frame to its neighbour, float32 [h, w, 2]; under masks it is interpolated."""
        if (before, after) not in self._flows:
            one, other = self._views[before], self._views[after]
            hidden = masks.dilate(one.mask_HW | other.mask_HW, _FOOTPRINT + 1).view(np.uint8)
            hidden_hw = cv2.resize(hidden, one.gray_hw.shape[::-1], interpolation=cv2.INTER_NEAREST)
            key = ("flow", before, after)
            self._flows[before, after] = self._shared(
                key, self._flow_outside, one.gray_hw, other.gray_hw, hidden_hw
            )
        return self._flows[before, after]

    def _flow_outside(self, one_hw: np.ndarray, other_hw: np.ndarray, hidden_hw: np.ndarray) -> np.ndarray:
        flow_hw2: np.ndarray = self._flow.calc(one_hw, other_hw, None)  # type: ignore[call-overload]
        parts = (np.ascontiguousarray(flow_hw2[..., axis]) for axis in (0, 1))
        return np.dstack([cv2.inpaint(part, hidden_hw, 3, cv2.INPAINT_NS) for part in parts])

    def _load(self, index: int) -> None:
        """Load the frames around `index`, and drop the others."""
        first = max(0, index - REACH)
        if not (self._views and first <= self._next <= index + REACH + 1 and min(self._views) <= first):
            self._views, self._flows, self._cameras, self._made = {}, {}, {}, {}
            self._coming, self._next = self._frames(first), first
        while self._next <= index + REACH:
            coming = next(self._coming, None)
            if coming is None:
                break
            self._views[self._next] = self._seen(*coming)
            self._next += 1
        for old in [number for number in self._views if number < first]:
            del self._views[old]
            self._made.pop(old, None)
        self._shared.forget(first)
        for known in (self._flows, self._cameras):
            for pair in [pair for pair in known if min(pair) < first]:
                del known[pair]

    def _seen(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> _FlowFrame:
        if self._altered:
            frame_HW3 = frame_HW3 ^ (mask_HW[..., None] * np.uint8(0xC0))
        height, width = mask_HW.shape
        scale = min(1.0, FLOW_WIDTH / width)
        size = (max(16, round(width * scale)), max(16, round(height * scale)))
        covered_HW3 = fill(frame_HW3, mask_HW, "blur")
        near = np.ones((2 * _FOOTPRINT + 1, 2 * _FOOTPRINT + 1), np.uint8)
        return _FlowFrame(
            frame_HW3=frame_HW3,
            gray_hw=cv2.resize(
                cv2.cvtColor(covered_HW3, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA
            ),
            mask_HW=mask_HW,
            free_HW=cv2.erode((~mask_HW).view(np.uint8), near).view(bool),
        )


def _sampled(picture: np.ndarray, at_N2: np.ndarray, flags: int) -> np.ndarray:
    """Values of an image [H, W, ...] at positions between its pixels, [N, ...]."""
    count = len(at_N2)
    padded = np.zeros((-(-count // _ROW) * _ROW, 2), np.float32)  # an image has at most 32767 columns
    padded[:count] = at_N2
    grid = padded.reshape(-1, _ROW, 2)
    # One map has both coordinates; the stubs do not declare that.
    found: np.ndarray = cv2.remap(picture, grid, None, flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return found.reshape(-1, *picture.shape[2:])[:count]
