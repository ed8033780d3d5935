"""What a frame shows of people: boxes of two networks as one list, and how the camera moved."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.frame_detector import (
    SAME_IOU,
    WHOLE,
    CameraMotion,
    ends_at_edge,
    merged,
    quarters,
)


@st.composite
def scored(draw: st.DrawFn) -> np.ndarray:
    """Up to six boxes with scores, float64 [N, 5]."""
    count = draw(st.integers(0, 6))
    number = st.floats(0, 100, width=16)
    size, score = st.floats(4, 60, width=16), st.floats(0.05, 1)
    rows = [(draw(number), draw(number), draw(size), draw(size), draw(score)) for _ in range(count)]
    return np.array([(x, y, x + w, y + h, s) for x, y, w, h, s in rows]).reshape(-1, 5)


@given(scored(), scored(), st.data())
def test_nobody_is_lost_or_doubled_where_two_lists_become_one(
    people: np.ndarray, posed: np.ndarray, data: st.DataObject
) -> None:
    votes = np.array([data.draw(st.sampled_from((-1, 0, 1))) for _ in people], np.float64)
    both = merged(people, votes, posed)
    assert both.shape[1] == 6
    assert len(both) <= len(people) + len(posed)
    assert ((both[:, 4] >= 0) & (both[:, 4] <= 1)).all()
    assert set(both[:, 5]) <= {-1, 0, 1}
    # Detections of either network are kept: as an overlapping box, or as part of a whole body.
    for one in (people, posed):
        if len(one):
            overlap, part = boxes.iou(one, both), boxes.share_inside(one, both)
            assert ((overlap > 0.4) | (part >= 0.8)).any(1).all()
    # A vote is never made up.
    assert (both[:, 5] > 0).sum() <= (votes > 0).sum()


@given(scored())
def test_one_list_alone_stays_as_it_is(some: np.ndarray) -> None:
    nobody = np.zeros((0, 5))
    votes = np.ones(len(some))
    np.testing.assert_array_equal(merged(some, votes, nobody), np.column_stack([some, votes]))
    np.testing.assert_array_equal(merged(nobody, np.zeros(0), some), np.column_stack([some, 0 * votes]))


def test_a_person_whom_both_see_is_one_surer_box_between_both() -> None:
    people, posed = np.array([[10, 10, 50, 110, 0.5]]), np.array([[14, 10, 54, 110, 0.6]])
    assert boxes.iou(people, posed) > SAME_IOU
    (both,) = merged(people, np.ones(1), posed)
    assert both[4] > max(people[0, 4], posed[0, 4])
    assert both[5] == 1
    assert 10 < both[0] < 14


def test_parts_of_a_body_are_votes_for_it() -> None:
    """A lying person: one network detects the whole body, the other a head and legs."""
    head, legs, other = (0, 40, 20, 60, 0.3), (60, 40, 100, 60, 0.4), (200, 0, 240, 100, 0.9)
    body = np.array([[0, 38, 102, 62, WHOLE + 0.1]])
    both = merged(np.array([head, legs, other]), np.array([0, 1, 1]), body)
    assert len(both) == 2
    assert {tuple(row[:4]) for row in both} == {other[:4], tuple(body[0, :4])}
    assert both[np.argmin(both[:, 4]), 5] == 1
    # An uncertain body absorbs no other box.
    faint = body.copy()
    faint[0, 4] = WHOLE - 0.1
    assert len(merged(np.array([head, legs, other]), np.array([0, 1, 1]), faint)) == 4


@given(st.integers(16, 2000), st.integers(16, 2000))
def test_quarters_cover_the_frame_and_overlap(height: int, width: int) -> None:
    parts = quarters(height, width)
    for size, low, high in ((width, 0, 2), (height, 1, 3)):
        spans = sorted({(part[low], part[high]) for part in parts})
        assert spans[0][0] == 0
        assert spans[-1][1] == size
        assert spans[-1][0] < spans[0][1]
    assert len({part[:2] for part in parts}) == 4


def test_a_box_is_cut_off_where_its_quarter_ends_and_the_frame_goes_on() -> None:
    part = quarters(200, 400)[0]
    assert part == (0, 0, 240, 120)
    around = np.array([(0, 0, 30, 60), (100, 50, 130, 119), (210, 20, 240, 60), (50, 20, 80, 100.0)])
    assert ends_at_edge(around, part, height=200, width=400).tolist() == [False, True, True, False]
    assert not ends_at_edge(around, (0, 0, 240, 120), height=120, width=240).any()


def room(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """Something to hold on to: blocks and stripes in many colours, uint8 RGB [H, W, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def seen_from(picture: np.ndarray, motion_23: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(picture, motion_23, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(
    ("turn", "zoom", "dx", "dy"),
    [(0, 1, 0, 0), (0, 1, 7, -4), (2, 1, 3, 0), (0, 1.05, -6, 2), (-1, 0.97, 0, 5)],
)
def test_the_cameras_motion_is_measured(turn: float, zoom: float, dx: float, dy: float) -> None:
    still = room(0)
    motion_23 = cv2.getRotationMatrix2D((160, 120), turn, zoom)
    motion_23[:, 2] += (dx, dy)
    camera = CameraMotion()
    assert camera(still) is None
    measured_23 = camera(seen_from(still, motion_23))
    assert measured_23 is not None
    corners = np.array([[40, 30, 1], [280, 30, 1], [40, 210, 1], [280, 210, 1.0]])
    off = np.linalg.norm(corners @ (measured_23 - motion_23).T, axis=1)
    assert off.max() < 1.5


def test_somebody_who_walks_by_is_no_motion_of_the_camera() -> None:
    camera, still = CameraMotion(), room(0)
    for x in range(20, 200, 20):
        frame = still.copy()
        frame[60:200, x : x + 60] = room(5)[60:200, :60]
        measured_23 = camera(frame)
    assert measured_23 == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]), abs=0.02)


def test_another_picture_is_a_cut_and_darkness_is_none() -> None:
    camera, other = CameraMotion(), (room(1) * (1, 0.5, 0.2)).astype(np.uint8)
    assert camera(room(0)) is None
    assert camera(other) is None
    assert camera(other) is not None
    # A light that is turned down changes no place.
    assert camera((other * 0.9).astype(np.uint8)) is not None


def test_a_blank_frame_has_nothing_to_hold_on_to() -> None:
    camera = CameraMotion()
    blank = np.full((120, 160, 3), 90, np.uint8)
    assert camera(blank) is None
    np.testing.assert_array_equal(camera(blank), [[1, 0, 0], [0, 1, 0]])
