"""The redaction ladder: avatar ▸ silhouette ▸ background only ▸ solid fill ▸ blank frame.

A person whose body is known is an avatar, any other person that is followed a silhouette, and a region in
which somebody may be is background only. Frames without avatars are then looked at once more (`look_again`).
What is seen there is filled in from its surroundings, then by one colour; a frame in which somebody is seen
even so is blank. No rung reads a pixel under its region: that is counted, as for the masks.

What is found in one frame is redacted in those around it, too, and a lower rung is held, so that nothing
flickers between rungs. A frame's outcome depends on what is seen in the frames around it and on no others, so
that a video that is resumed in its middle comes out the same.

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

HELD_S = 0.25
"""Seconds before and after a frame for which what was seen in it is redacted, and a rung is held."""

MARGIN = 0.08
"""Growth of the box of what was seen, as a share of its longer side."""

SOLID = 127
"""The colour of a solid fill and of a blank frame, all three channels."""


SAME_LEVELS = 6.0
"""A part of a frame that has changed by less, in levels of its small copy, looks as it did before."""

INSIDE = 0.6
"""Share of a region that the analysis removed already from which nobody is counted in it."""

_CELL = 8

TURNS = 4
"""Parts of a frame that are looked at in turn."""


class Rung(IntEnum):
    """How far down a frame's regions were taken after it was looked at again."""

    CLEAN = 0
    BACKGROUND = 1
    FILL = 2
    BLANK = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class LadderFrame:
    """A frame without its people, on its way down the ladder.

    Attributes:
      index: its number in the video.
      mask_HW: bool, what the analysis wants removed.
      frame_HW3: uint8 RGB, without it.
      removed_HW: bool, everything that is not the source's.
      surviving: pixels that depend on a masked one; must be 0.
      rung: how far down it was taken here.
      region_HW: bool, where that was; None where it was nowhere.
    """

    index: int
    mask_HW: np.ndarray
    frame_HW3: np.ndarray
    removed_HW: np.ndarray
    surviving: int
    rung: Rung = Rung.CLEAN
    region_HW: np.ndarray | None = None


class SecondLook(Protocol):
    """What detectors see in a frame that must show nobody."""

    def __call__(self, frame_HW3: np.ndarray, turn: int | None = None) -> np.ndarray:
        """Boxes, float [N, 4], of the whole frame and one of its `TURNS` parts; of all parts for None."""


class Attention:
    """Looks at the frames of one video that do not look like the last one that was looked at.

    Compared are means of small cells, all of them: a person who comes in changes some by far more than noise.
    A frame that has changed is looked at as a whole and in one part, another one from frame to frame:
    what is seen is redacted for longer than a round takes. What stays is looked at once in each part.
    """

    def __init__(self, look: SecondLook, fps: float) -> None:
        self._look = look
        self._every = _every(fps)
        self._takes_turns = 2 * _held(fps) + 1 >= TURNS
        self._last: np.ndarray | None = None
        self._found: dict[int | None, np.ndarray] = {}

    def __call__(self, frame_HW3: np.ndarray, index: int) -> np.ndarray:
        """What is seen in frame `index`, float64 [N, 4]; once a second in all parts, whatever has changed."""
        height, width = frame_HW3.shape[:2]
        size = (max(1, width // _CELL), max(1, height // _CELL))
        small = cv2.resize(frame_HW3, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        anyhow = index % self._every == 0
        if anyhow or self._last is None or np.abs(small - self._last).max() > SAME_LEVELS:
            self._last, self._found = small, {}
        turn = None if anyhow or not self._takes_turns else index % TURNS
        if None not in self._found and turn not in self._found:
            self._found[turn] = self._look(frame_HW3, turn)
        return np.concatenate(list(self._found.values()))


def warm_up(start: int, fps: float) -> int:
    """The frame from which to read on, so that what is said of frame `start` and later ones is right."""
    held, every = _held(fps), _every(fps)
    return max(0, (start - 3 * held) // every * every)


def redacted(frames: Iterable[LadderFrame], look: SecondLook, fps: float) -> Iterator[LadderFrame]:
    """The frames with everybody redacted whom `look` sees.

    Args:
      frames: in order; the first is that of `warm_up`.
      look: boxes seen in a frame. It is not asked about frames that look like the last one it was asked of.
      fps: frames a second.
    """
    held, attention = _held(fps), Attention(look, fps)
    waiting: deque[tuple[LadderFrame, np.ndarray]] = deque()
    behind: deque[np.ndarray] = deque(maxlen=held)
    rungs: deque[Rung] = deque(maxlen=2 * held)

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


def num_regions(shown: LadderFrame, things_HW: np.ndarray | None = None) -> int:
    """Places of a frame that were taken down the ladder and in which somebody may have been.

    What is seen where a person was removed is an unlucky filling: no pixel of anybody is there to be counted.
    Nor is anybody where most of the place is a thing that the finding named, such as a dog (`things_HW`, bool
    [H, W]).
    """
    if shown.region_HW is None:
        return 0
    count, labels_HW = cv2.connectedComponents(shown.region_HW.view(np.uint8))
    area = np.bincount(labels_HW.ravel(), minlength=count)[1:]
    removed = np.bincount(labels_HW[shown.mask_HW], minlength=count)[1:]
    nobody = removed >= INSIDE * area
    if things_HW is not None:
        nobody |= np.bincount(labels_HW[things_HW], minlength=count)[1:] >= 0.5 * area
    return int(np.count_nonzero(~nobody))


def _held(fps: float) -> int:
    return max(1, round(HELD_S * fps))


def _every(fps: float) -> int:
    """Frames between two that are looked at however much they resemble those before."""
    return max(1, round(fps))


def _redacted(shown: LadderFrame, seen_N4: np.ndarray, look: SecondLook) -> LadderFrame:
    """A frame taken down the ladder until nobody is seen in it."""
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
    """The frame with a region filled in: by a method of `inpaint`, or by one colour."""

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
    """The frame at least as far down as `rung`, in the regions that it has."""
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
    """Bool [H, W], the boxes of what was seen, grown."""
    region_HW = np.zeros(size, bool)
    for box_4 in seen_N4:
        box_patch(boxes.expand(box_4, MARGIN)).paint(region_HW)
    return region_HW
