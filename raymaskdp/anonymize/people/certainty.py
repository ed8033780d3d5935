"""Which tracks are people for certain, which may be, and which are nobody.

Coordinates are x0, y0, x1, y1 in pixels. Shape suffixes: N frames of a track, 4 coordinates.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_tracker import BoxTrack
from raymaskdp.anonymize.people.people import Doubt

LEAST_HITS = 3
"""Frames in which a person must have been detected to be more than a glimpse."""

LEAST_BEST = 0.5
"""Score that the best box of a person must have."""

LEAST_DOUBT, LEAST_UNVOTED = 0.52, 0.65
"""Score from which a box that is no person for certain is a doubt, and the same without a vote; fainter
ones are left to `look_again`."""

LEAST_VOTES, VOTED = 2, 0.25
"""Frames, and share of a track's frames, in which a network that may begin a track saw a person."""

BODIES = 0.3
"""Share of a track's frames with a body in it that makes a person of it without these votes."""

BOX_MARGIN = 0.06
"""Growth of a box that is covered as it is, as a share of its longer side."""


def is_certain(track: BoxTrack, bodies: int, num_frames: int) -> bool:
    """Whether a track is a person for certain: seen often enough, and by votes or by its body.

    Args:
      bodies: frames in which the landmark network found a body in the track's box.
      num_frames: of the video; a video of one frame has no person in three.
    """
    brief = track.seen_N.sum() < min(LEAST_HITS, num_frames)
    if brief or track.score_N.max() < LEAST_BEST or track.against > track.votes:
        return False
    voted = track.votes >= max(min(LEAST_VOTES, num_frames), VOTED * track.seen_N.sum())
    return bool(voted or bodies >= BODIES * len(track.seen_N))


def is_doubtful(track: BoxTrack) -> bool:
    """Whether a track that is no person for certain may be one; what looks like a dog more often is not."""
    least = LEAST_DOUBT if track.votes else LEAST_UNVOTED
    return track.against <= track.votes and float(track.score_N.max()) >= least


def doubts_of(track: BoxTrack, reason: str, *, is_part: bool = False) -> list[Doubt]:
    """A doubt about each of a track's boxes, from where it was first seen to where it was last."""
    seen = np.flatnonzero(track.seen_N)
    return [
        Doubt(
            frame=track.start + index,
            reason=reason,
            box=tuple(boxes.expand(box_4, BOX_MARGIN).tolist()),
            is_part=is_part,
        )
        for index, box_4 in enumerate(track.boxes_N4)
        if seen[0] <= index <= seen[-1]  # what is doubted is held later, before and after
    ]
