"""The first pass over a video: detect people as boxes, and link the boxes to tracks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people.box_tracker import BoxTrack, FrameBoxes, track_boxes
from raymaskdp.anonymize.people.frame_detector import FrameDetector
from raymaskdp.anonymize.people.networks.multipose import MultiPose
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections, NanoDet
from raymaskdp.anonymize.people.networks.roles import BoxNetwork
from raymaskdp.video.reader import VideoInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxSearchResult:
    """The result of the first pass.

    Attributes:
      frames: boxes of each frame.
      things: detections of the box network, people and objects, by frame; only some frames have them.
      tracks: people, and tracks that may be people.
    """

    frames: Sequence[FrameBoxes]
    things: dict[int, BoxDetections]
    tracks: list[BoxTrack]


class BoxSearch:
    """The first pass.

    Args:
      detector: the box network; NanoDet where None.
    """

    def __init__(self, detector: BoxNetwork | None = None) -> None:
        self._detector = detector or NanoDet()
        self._multipose = MultiPose()

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo) -> BoxSearchResult:
        """Detect and track the people in `frames`, uint8 RGB [H, W, 3] each."""
        detector = FrameDetector(self._detector, self._multipose, float(info.fps))
        seen = [boxes for some in frame_batches(frames, self._detector.batch) for boxes in detector(some)]
        return BoxSearchResult(frames=seen, things=detector.things, tracks=track_boxes(seen, float(info.fps)))


def frame_batches(frames: Iterable[np.ndarray], most: int) -> Iterator[list[np.ndarray]]:
    """The frames in order, in lists of at most `most` frames.

    >>> [len(batch) for batch in frame_batches([np.zeros(1)] * 5, 2)]
    [2, 2, 1]
    """
    left = iter(frames)
    while some := list(itertools.islice(left, most)):
        yield some
