"""Which tracks are people, and how the doubtful ones are counted."""

import numpy as np

from raymaskdp.anonymize.people.box_tracker import BoxTrack
from raymaskdp.anonymize.people.certainty import doubts_of


def track(start: int, *boxes: tuple[float, float, float, float]) -> BoxTrack:
    count = len(boxes)
    return BoxTrack(
        start=start,
        boxes_N4=np.array(boxes, float),
        seen_N=np.ones(count, bool),
        score_N=np.full(count, 0.6),
        votes=count,
        against=0,
    )


def test_a_doubt_that_contains_a_person_or_is_inside_one_is_that_person() -> None:
    person = track(1, *[(100, 50, 140, 150)] * 5)
    doubtful = track(
        0,
        (100, 50, 140, 150),  # before the person
        (90, 40, 220, 160),  # contains them
        (105, 55, 135, 95),  # their upper half
        (130, 60, 300, 150),  # beside them
        (300, 60, 340, 150),  # another place
    )
    doubts = doubts_of(doubtful, "why", people=[person])
    assert [doubt.is_part for doubt in doubts] == [False, True, True, False, False]
    assert [doubt.frame for doubt in doubts] == [0, 1, 2, 3, 4]
    assert not any(doubt.is_part for doubt in doubts_of(doubtful, "why"))
    for doubt, (x0, y0, x1, y1) in zip(doubts, doubtful.boxes_N4, strict=True):  # redacted all the same
        assert doubt.box[0] < x0
        assert doubt.box[1] < y0
        assert doubt.box[2] > x1
        assert doubt.box[3] > y1


def test_beside_a_single_person_three_quarters_of_a_box_suffice() -> None:
    person, other = track(0, (100, 50, 140, 150)), track(0, (125, 50, 165, 150))
    mostly_inside = track(0, (90, 60, 130, 120))  # three quarters of it
    [alone] = doubts_of(mostly_inside, "why", people=[person])
    [in_a_crowd] = doubts_of(mostly_inside, "why", people=[person, other])
    assert (alone.is_part, in_a_crowd.is_part) == (True, False)
