"""The first pass over a video: boxes of everybody, followed through the frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people.box_tracker import BoxTrack, FrameBoxes, follow
from raymaskdp.anonymize.people.look import Look
from raymaskdp.anonymize.people.networks.multipose import MultiPose
from raymaskdp.anonymize.people.networks.nanodet import NanoDet, Things
from raymaskdp.anonymize.people.networks.roles import BoxNetwork
from raymaskdp.video.reader import VideoInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """What the first pass found.

    Attributes:
      frames: boxes of each frame.
      things: what the box network saw in the frames that it looked at, by frame.
      tracks: people, and what may be people.
    """

    frames: Sequence[FrameBoxes]
    things: dict[int, Things]
    tracks: list[BoxTrack]


class BoxSearch:
    """The first pass.

    Args:
      detector: the box network; NanoDet where None.
    """

    def __init__(self, detector: BoxNetwork | None = None) -> None:
        self._detector = detector or NanoDet()
        self._multipose = MultiPose()

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo) -> Looked:
        """Look for everybody in `frames`, uint8 RGB [H, W, 3] each."""
        look = Look(self._detector, self._multipose, float(info.fps))
        seen = [boxes for some in some_at_once(frames, self._detector.batch) for boxes in look(some)]
        return Looked(frames=seen, things=look.things, tracks=follow(seen, float(info.fps)))


def some_at_once(frames: Iterable[np.ndarray], most: int) -> Iterator[list[np.ndarray]]:
    """The frames in order, in lists of at most so many.

    >>> [len(some) for some in some_at_once([np.zeros(1)] * 5, 2)]
    [2, 2, 1]
    """
    left = iter(frames)
    while some := list(itertools.islice(left, most)):
        yield some
