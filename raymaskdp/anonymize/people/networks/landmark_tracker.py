"""Landmarks of people whose boxes are known. A person is tracked from the window of the previous frame.

A tracked window jitters less than a new one, and costs one call of the network. For a person who has no
window or is lost, windows are guessed from the box at intervals.

Shape suffixes: H×W pixels, 4 coordinates of a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.body_track import BodyObservation, same_body, to_observation
from raymaskdp.anonymize.people.networks.blazepose import BlazePose, WindowResult
from raymaskdp.anonymize.people.networks.windows import Window, guesses

LEAST_SCORE = 0.2
"""Bodies below this score (`body_track.BodyObservation`) are false, even where a detector found a person."""

SURE_SCORE = 0.3
"""Least score of a body that confirms a person."""

BODY_FITS, FAINT_FITS = 0.3, 0.45
"""Least overlap of a body with the box of its person, and the same for a body of a low score."""

PERHAPS = 0.2
"""Least presence in a guessed window for a second call, with the window that the network returned."""

RETRY_S = 0.25
"""Seconds between two attempts to find a person in guessed windows."""

KEPT_S = 1.0
"""Seconds for which the last window of a lost person is tried."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A body that fits its person's box.

    Attributes:
      seen: the body.
      window: the window for the next frame.
      worth: quality, to choose between several candidates.
    """

    seen: BodyObservation
    window: Window
    worth: float


class LandmarkTracker:
    """Tracks the bodies of one video's people, frame by frame.

    Args:
      network: computes the landmarks.
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
    ) -> dict[int, BodyObservation]:
        """The bodies in the next frame, by track. Tracks without a body are absent.

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
        results = self._network(frame_HW3, list(known.values()))
        for track, result in zip(known, results, strict=True):
            candidate = self._candidate(known[track], result, boxes_by_track[track], frame_HW3.shape[:2])
            if candidate is not None:
                found[track] = candidate
        lost = [
            track
            for track in boxes_by_track
            if track not in found and self._now - self._tried.get(track, -self._retry) >= self._retry
        ]
        found |= self._searched(frame_HW3, {track: boxes_by_track[track] for track in lost})
        taken: dict[int, _Candidate] = {}
        # In order of quality, because two boxes of one person have one body.
        for track in sorted(found, key=lambda track: -found[track].worth):
            if not any(same_body(found[track].seen, other.seen) for other in taken.values()):
                taken[track] = found[track]
        self._windows |= {track: candidate.window for track, candidate in taken.items()}
        self._found |= dict.fromkeys(taken, self._now)
        return {track: candidate.seen for track, candidate in taken.items()}

    def _searched(
        self, frame_HW3: np.ndarray, boxes_by_track: Mapping[int, np.ndarray]
    ) -> dict[int, _Candidate]:
        """The best body of each track in the guessed windows; each guess is refined once."""
        guessed = [(track, window) for track, box_4 in boxes_by_track.items() for window in guesses(box_4)]
        self._tried |= dict.fromkeys(boxes_by_track, self._now)
        first = self._network(frame_HW3, [window for _, window in guessed])
        again = [
            (track, result.window)
            for (track, _), result in zip(guessed, first, strict=True)
            if result.presence >= PERHAPS
        ]
        best: dict[int, _Candidate] = {}
        second = self._network(frame_HW3, [window for _, window in again])
        for (track, window), result in zip(again, second, strict=True):
            candidate = self._candidate(window, result, boxes_by_track[track], frame_HW3.shape[:2])
            if candidate is not None and (track not in best or candidate.worth > best[track].worth):
                best[track] = candidate
        return best

    def _candidate(
        self, window: Window, result: WindowResult, box_4: np.ndarray, size: tuple[int, int]
    ) -> _Candidate | None:
        """A body in a window, as a track stores it; None if there is none, or if it belongs to another
        person.
        """
        if result.presence < self._presence:
            return None
        height, width = size
        seen = to_observation(result.body, height=height, width=width)
        fit = fit_of(seen, box_4, height=height, width=width)
        if seen.score < LEAST_SCORE or fit < (BODY_FITS if seen.score >= SURE_SCORE else FAINT_FITS):
            return None
        worth = result.presence * fit * window.steadiness(result.window)
        return _Candidate(seen=seen, window=result.window, worth=worth)


def fit_of(seen: BodyObservation, box_4: np.ndarray, *, height: int, width: int) -> float:
    """Intersection over union of a box and the bounding box of a body's outline."""
    if not seen.area:
        return 0.0
    outline_4 = np.array(seen.patch.box(), np.float64)
    frame_4 = np.clip(box_4, 0, (width, height, width, height))
    return float(boxes.iou(outline_4[None], frame_4[None])[0, 0])
