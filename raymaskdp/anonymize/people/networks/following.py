"""Landmarks of people whose boxes are known, each looked for where they were in the frame before.

A window that goes on from one frame to the next shakes less than one that is found anew, and costs one look.
Who is not there any more, or never was, is looked for in guesses from the box, now and then.

Shape suffixes: H×W pixels, 4 coordinates of a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.body_track import BodySeen, observed, same_body
from raymaskdp.anonymize.people.networks.blazepose import BlazePose, Glimpse
from raymaskdp.anonymize.people.networks.windows import Window, guesses

LEAST_SCORE = 0.2
"""Bodies below this score (`body_track.BodySeen`) are imagined, even where a detector saw a person."""

SURE_SCORE = 0.3
"""Score from which a body speaks for a person by itself."""

BODY_FITS, FAINT_FITS = 0.3, 0.45
"""Least overlap of a body with the box of the person whose it is, and the same of a body of a low score."""

PERHAPS = 0.2
"""Presence in a guess from which the network is asked again, in the window that it says itself."""

RETRY_S = 0.25
"""Seconds after which somebody who was not found is looked for again in guesses."""

KEPT_S = 1.0
"""Seconds for which somebody who is lost is looked for where they were last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A body that fits its person's box.

    Attributes:
      seen: the body.
      window: where it is looked for next.
      worth: how good it is, to choose between several.
    """

    seen: BodySeen
    window: Window
    worth: float


class Following:
    """The bodies of one video's people, frame by frame.

    Args:
      network: finds the landmarks.
      presence: least presence of a body, in [0, 1].
      fps: frames a second.
    """

    def __init__(self, network: BlazePose, *, presence: float, fps: float) -> None:
        self._network = network
        self._presence = presence
        self._retry = max(1, round(RETRY_S * fps))
        self._kept = max(1, round(KEPT_S * fps))
        self._windows: dict[int, Window] = {}
        self._found: dict[int, int] = {}
        self._tried: dict[int, int] = {}
        self._now = -1

    def __call__(
        self, frame_HW3: np.ndarray, boxes_by_track: Mapping[int, np.ndarray]
    ) -> dict[int, BodySeen]:
        """The bodies in the next frame, by track, of those tracks that have one.

        Args:
          frame_HW3: uint8 RGB.
          boxes_by_track: float64 [4] each, pixels.
        """
        self._now += 1
        known = {
            track: self._windows[track]
            for track in boxes_by_track
            if self._now - self._found.get(track, -self._kept - 1) <= self._kept
        }
        found: dict[int, _Candidate] = {}
        glimpses = self._network(frame_HW3, list(known.values()))
        for track, glimpse in zip(known, glimpses, strict=True):
            candidate = self._candidate(known[track], glimpse, boxes_by_track[track], frame_HW3.shape[:2])
            if candidate is not None:
                found[track] = candidate
        lost = [
            track
            for track in boxes_by_track
            if track not in found and self._now - self._tried.get(track, -self._retry) >= self._retry
        ]
        found |= self._searched(frame_HW3, {track: boxes_by_track[track] for track in lost})
        taken: dict[int, _Candidate] = {}
        # The best first: two boxes of one person have one body.
        for track in sorted(found, key=lambda track: -found[track].worth):
            if not any(same_body(found[track].seen, other.seen) for other in taken.values()):
                taken[track] = found[track]
        self._windows |= {track: candidate.window for track, candidate in taken.items()}
        self._found |= dict.fromkeys(taken, self._now)
        return {track: candidate.seen for track, candidate in taken.items()}

    def _searched(
        self, frame_HW3: np.ndarray, boxes_by_track: Mapping[int, np.ndarray]
    ) -> dict[int, _Candidate]:
        """The best body of each track among the guesses, each looked at twice."""
        guessed = [(track, window) for track, box_4 in boxes_by_track.items() for window in guesses(box_4)]
        self._tried |= dict.fromkeys(boxes_by_track, self._now)
        first = self._network(frame_HW3, [window for _, window in guessed])
        again = [
            (track, glimpse.window)
            for (track, _), glimpse in zip(guessed, first, strict=True)
            if glimpse.presence >= PERHAPS
        ]
        best: dict[int, _Candidate] = {}
        second = self._network(frame_HW3, [window for _, window in again])
        for (track, window), glimpse in zip(again, second, strict=True):
            candidate = self._candidate(window, glimpse, boxes_by_track[track], frame_HW3.shape[:2])
            if candidate is not None and (track not in best or candidate.worth > best[track].worth):
                best[track] = candidate
        return best

    def _candidate(
        self, window: Window, glimpse: Glimpse, box_4: np.ndarray, size: tuple[int, int]
    ) -> _Candidate | None:
        """A body in a window, as a track keeps it; None if there is hardly one, or it is somebody else's."""
        if glimpse.presence < self._presence:
            return None
        height, width = size
        seen = observed(glimpse.body, height=height, width=width)
        fit = fit_of(seen, box_4, height=height, width=width)
        if seen.score < LEAST_SCORE or fit < (BODY_FITS if seen.score >= SURE_SCORE else FAINT_FITS):
            return None
        worth = glimpse.presence * fit * window.steadiness(glimpse.window)
        return _Candidate(seen=seen, window=glimpse.window, worth=worth)


def fit_of(seen: BodySeen, box_4: np.ndarray, *, height: int, width: int) -> float:
    """Overlap of a body's outline with a box, by the boxes around both: intersection over union."""
    if not seen.area:
        return 0.0
    outline_4 = np.array(seen.patch.box(), np.float64)
    frame_4 = np.clip(box_4, 0, (width, height, width, height))
    return float(boxes.iou(outline_4[None], frame_4[None])[0, 0])
