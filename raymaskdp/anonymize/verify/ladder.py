"""The redaction ladder: avatar ▸ silhouette ▸ background only ▸ solid fill ▸ blank frame.

A person with a fitted body becomes an avatar, any other tracked person a silhouette, and a doubt is replaced
by background only. Frames without avatars are then checked once more (`look_again`). A detection is
inpainted, then filled with one colour. A frame that still has a detection becomes blank. No rung reads a
pixel under its region; this is verified by counting, as for the masks.

A detection in one frame is also redacted in the frames around it, and a lower rung is held for some time, so
that there is no flicker between rungs. The result of a frame depends only on the detections in the frames
around it, so a video that is resumed in its middle gives the same result.

Shape suffixes: H rows, W columns, N boxes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

import cv2
import numpy as np

from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.anonymize.background.leakage import surviving_pixels
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.masks import box_patch

HELD_S = 0.5
"""Seconds by which a detection is extended before and after its frame, and for which a rung is held. A hand
that enters the frame is half hidden, and not detected, for longer than a quarter of a second."""

MARGIN = 0.08
"""Margin of the box of a detection, as a share of its longer side."""

SOLID = 127
"""The colour of a solid fill and of a blank frame, all three channels."""


SAME_LEVELS = 6.0
"""A part of a frame counts as unchanged if no cell of its small copy differs by more than this many levels.
"""

INSIDE = 0.6
"""A region is not counted as a person if the analysis removed at least this share of it already."""

_CELL = 8

PARTS = 4
"""Number of parts of a frame that are processed besides the whole."""

ROUND_S = 0.07
"""Seconds in which all parts are processed once. People who walk stay in their boxes for so long."""


class Rung(IntEnum):
    """The lowest rung of a frame's regions after it was checked again."""

    CLEAN = 0
    BACKGROUND = 1
    FILL = 2
    BLANK = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class LadderFrame:
    """A frame without its people, while it is redacted.

    Attributes:
      index: its number in the video.
      mask_HW: bool, the pixels that the analysis removes.
      frame_HW3: uint8 RGB, without them.
      removed_HW: bool, all pixels that differ from the source.
      surviving: pixels that depend on a masked one; must be 0.
      rung: the rung that was applied here.
      region_HW: bool, its region; None for none.
    """

    index: int
    mask_HW: np.ndarray
    frame_HW3: np.ndarray
    removed_HW: np.ndarray
    surviving: int
    rung: Rung = Rung.CLEAN
    region_HW: np.ndarray | None = None


class SecondDetector(Protocol):
    """Detects people in a frame that must show none."""

    def __call__(self, frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        """Boxes, float [N, 4], of the whole frame and some of its `PARTS` parts; of all parts for None."""


class ChangedFrames:
    """Runs the detectors on the frames of one video that differ from the last processed one.

    The means of all small cells are compared: a person who enters changes some of them by far more than
    noise. A changed frame is processed as a whole and, at high frame rates, in one or two of its parts, which
    alternate from frame to frame. A static frame is processed once in each part.
    """

    def __init__(self, look: SecondDetector, fps: float) -> None:
        self._look = look
        self._every = _every(fps)
        self._frames = next(frames for frames in (4, 2, 1) if frames <= max(1.0, ROUND_S * fps))
        self._last: np.ndarray | None = None
        self._found: dict[tuple[int, ...] | None, np.ndarray] = {}

    def __call__(self, frame_HW3: np.ndarray, index: int) -> np.ndarray:
        """Detections in frame `index`, float64 [N, 4]; once a second in all parts, even without a change."""
        height, width = frame_HW3.shape[:2]
        size = (max(1, width // _CELL), max(1, height // _CELL))
        small = cv2.resize(frame_HW3, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        anyhow = index % self._every == 0
        if anyhow or self._last is None or np.abs(small - self._last).max() > SAME_LEVELS:
            self._last, self._found = small, {}
        parts = tuple(range(index % self._frames, PARTS, self._frames))
        wanted = None if anyhow or len(parts) == PARTS else parts
        if None not in self._found and wanted not in self._found:
            self._found[wanted] = self._look(frame_HW3, wanted)
        return np.concatenate(list(self._found.values()))


def warm_up(start: int, fps: float) -> int:
    """The first frame to process so that the results for frame `start` and later ones are right."""
    held, every = _held(fps), _every(fps)
    return max(0, (start - 2 * held) // every * every)


def redacted(frames: Iterable[LadderFrame], look: SecondDetector, fps: float) -> Iterator[LadderFrame]:
    """The frames with all people redacted that `look` detects.

    Args:
      frames: in order; the first is that of `warm_up`.
      look: boxes in a frame. It is not called for frames that are like the last one it processed.
      fps: frames a second.
    """
    held, attention = _held(fps), ChangedFrames(look, fps)
    waiting: deque[tuple[LadderFrame, np.ndarray]] = deque()
    behind: deque[np.ndarray] = deque(maxlen=held)
    rungs: deque[Rung] = deque(maxlen=held)

    def finished() -> LadderFrame:
        shown, _ = waiting[0]
        near = [*behind, *(found for _, found in list(waiting)[: held + 1])]
        done = _redacted(shown, np.concatenate(near), look)
        rungs.append(done.rung)
        behind.append(waiting.popleft()[1])
        return _lowered(done, max(rungs))

    for shown in frames:
        waiting.append((shown, attention(shown.frame_HW3, shown.index)))
        if len(waiting) > held:
            yield finished()
    while waiting:
        yield finished()


def frames_around(index: int, num_frames: int, fps: float) -> range:
    """The frames whose detections are redacted in frame `index`."""
    held = _held(fps)
    return range(max(0, index - held), min(num_frames, index + held + 1))


def num_regions(shown: LadderFrame, removed_HW: np.ndarray, things_HW: np.ndarray) -> int:
    """Number of regions of a frame that were lowered on the ladder and may have contained a person.

    A detection where a person was removed comes from the inpainting, so it is not counted. A region that is
    mostly a detected object, such as a dog, is not counted either. A region consists of the detections of
    `frames_around` the frame, and so do the masks that it is compared with.

    Args:
      removed_HW, things_HW: bool [H, W], the analysis' masks and its objects, in any of these frames.
    """
    if shown.region_HW is None:
        return 0
    count, labels_HW = cv2.connectedComponents(shown.region_HW.view(np.uint8))
    area, removed, things = (
        np.bincount(labels_HW[mask_HW], minlength=count)[1:]
        for mask_HW in (shown.region_HW, removed_HW, things_HW)
    )
    nobody = (removed >= INSIDE * area) | (things >= 0.5 * area)
    return int(np.count_nonzero(~nobody))


def _held(fps: float) -> int:
    return max(1, round(HELD_S * fps))


def _every(fps: float) -> int:
    """Largest distance of two processed frames, whatever their similarity."""
    return max(1, round(fps))


def _redacted(shown: LadderFrame, seen_N4: np.ndarray, look: SecondDetector) -> LadderFrame:
    """A frame lowered on the ladder until it has no detection."""
    if not len(seen_N4):
        return shown
    region_HW = _painted(seen_N4, shown.mask_HW.shape)
    for rung, method in ((Rung.BACKGROUND, "rows"), (Rung.FILL, None), (Rung.FILL, None)):
        taken = _taken(shown, region_HW, rung, method)
        again_N4 = look(taken.frame_HW3)
        if not len(again_N4):
            return taken
        region_HW = region_HW | _painted(again_N4, region_HW.shape)
    return _blank(taken)


def _taken(shown: LadderFrame, region_HW: np.ndarray, rung: Rung, method: str | None) -> LadderFrame:
    """The frame with a filled region: by a method of `inpaint`, or with one colour."""

    def filled(frame_HW3: np.ndarray) -> np.ndarray:
        if method is not None:
            return fill(frame_HW3, region_HW, method)
        plain_HW3 = frame_HW3.copy()
        plain_HW3[region_HW] = SOLID
        return plain_HW3

    frame_HW3 = filled(shown.frame_HW3)
    return replace(
        shown,
        frame_HW3=frame_HW3,
        removed_HW=shown.removed_HW | region_HW,
        surviving=shown.surviving + surviving_pixels(filled, shown.frame_HW3, region_HW, frame_HW3),
        rung=rung,
        region_HW=region_HW,
    )


def _lowered(shown: LadderFrame, rung: Rung) -> LadderFrame:
    """The frame at rung `rung` or lower, in its regions."""
    if rung <= shown.rung or shown.region_HW is None:
        return shown
    return _blank(shown) if rung == Rung.BLANK else _taken(shown, shown.region_HW, rung, None)


def _blank(shown: LadderFrame) -> LadderFrame:
    return replace(
        shown,
        frame_HW3=np.full_like(shown.frame_HW3, SOLID),
        removed_HW=np.ones_like(shown.removed_HW),
        rung=Rung.BLANK,
    )


def _painted(seen_N4: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bool [H, W], the boxes of the detections, with a margin."""
    region_HW = np.zeros(size, bool)
    for box_4 in seen_N4:
        box_patch(boxes.expand(box_4, MARGIN)).paint(region_HW)
    return region_HW
