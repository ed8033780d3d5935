"""Classify tracks: people for certain, possible people (doubts), and false detections.

Coordinates are x0, y0, x1, y1 in pixels. Shape suffixes: N frames of a track, 4 coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_tracker import BoxTrack
from raymaskdp.anonymize.people.people import Doubt

LEAST_HITS = 3
"""Least number of frames with a detection of a track that is a person for certain."""

LEAST_BEST = 0.5
"""Least score of the best box of a person."""

LEAST_DOUBT, LEAST_UNVOTED = 0.52, 0.65
"""Least scores of a track that is a doubt: with a vote, and without one. Fainter detections are left to
`look_again`."""

LEAST_VOTES, VOTED = 2, 0.25
"""Least number of frames, and least share of a track's frames, in which a network that may begin a track
detected a person."""

BODIES = 0.3
"""Share of a track's frames with a body from which the track is a person without these votes."""

PART = 0.75
"""Share of a box inside another person's box from which it may be a part of that person: an arm, a head or
legs."""

SAME = 0.9
"""The same, from which a doubtful box is that person; in a crowd boxes of several people overlap by less."""

BOX_MARGIN = 0.06
"""Margin of a box that is painted into a mask, as a share of its longer side."""


def is_certain(track: BoxTrack, bodies: int, num_frames: int) -> bool:
    """Whether a track is a person for certain: detected often enough, and confirmed by votes or by its body.

    Args:
      bodies: number of frames in which the landmark network found a body in the track's box.
      num_frames: of the video; in a video of one frame, one detection is enough.
    """
    brief = track.seen_N.sum() < min(LEAST_HITS, num_frames)
    if brief or track.score_N.max() < LEAST_BEST or track.against > track.votes:
        return False
    voted = track.votes >= max(min(LEAST_VOTES, num_frames), VOTED * track.seen_N.sum())
    return bool(voted or bodies >= BODIES * len(track.seen_N))


def is_doubtful(track: BoxTrack) -> bool:
    """Whether a track that is not a person for certain may be one. A track with more votes for something
    else, such as a dog, is not.
    """
    least = LEAST_DOUBT if track.votes else LEAST_UNVOTED
    return track.against <= track.votes and float(track.score_N.max()) >= least


def doubts_of(
    track: BoxTrack, reason: str, *, is_part: bool = False, people: Sequence[BoxTrack] = ()
) -> list[Doubt]:
    """One doubt for each box of a track, from its first detection to its last.

    Args:
      people: certain people. A box that contains the box of one of them, or is inside it, is counted as a
        part of that person: networks also detect the upper half of a person, or a person and a bench.
    """
    seen = np.flatnonzero(track.seen_N)
    return [
        Doubt(
            frame=track.start + index,
            reason=reason,
            box=tuple(boxes.expand(box_4, BOX_MARGIN).tolist()),
            is_part=is_part or _is_of_one(box_4, people, track.start + index),
        )
        for index, box_4 in enumerate(track.boxes_N4)
        if seen[0] <= index <= seen[-1]  # doubts are extended in time later
    ]


def _is_of_one(box_4: np.ndarray, people: Sequence[BoxTrack], frame: int) -> bool:
    """Whether a box contains the box of one of some people in a frame, or is inside it.

    Beside a single person `PART` of it suffices.
    """
    boxes_in_frame = (person.at(frame) for person in people)
    others = [one_4 for one_4 in boxes_in_frame if one_4 is not None]
    inside = [
        max(
            boxes.share_inside(box_4[None], other_4[None])[0, 0],
            boxes.share_inside(other_4[None], box_4[None])[0, 0],
        )
        for other_4 in others
    ]
    near = sum(share > 0 for share in inside)
    return bool(near and max(inside) >= (PART if near == 1 else SAME))
