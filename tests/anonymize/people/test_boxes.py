"""Boxes: what overlaps what, against counted pixels; and which boxes are left of many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaskdp.anonymize.people import boxes

SIDE = 24


@st.composite
def whole_boxes(draw: st.DrawFn, most: int = 6) -> np.ndarray:
    """Up to `most` boxes of whole pixels, float64 [N, 4]."""
    count = draw(st.integers(0, most))
    sides = st.tuples(*[st.integers(0, SIDE - 1)] * 2, *[st.integers(1, SIDE)] * 2)
    found = [(x, y, min(x + w, SIDE), min(y + h, SIDE)) for x, y, w, h in (draw(sides) for _ in range(count))]
    return np.array(found, np.float64).reshape(-1, 4)


def pixels(boxes_N4: np.ndarray) -> np.ndarray:
    """The boxes as pixels, bool [N, H·W]."""
    drawn = np.zeros((len(boxes_N4), SIDE, SIDE), bool)
    for mask, (x0, y0, x1, y1) in zip(drawn, boxes_N4.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    return drawn.reshape(len(boxes_N4), SIDE * SIDE)


@given(whole_boxes(), whole_boxes())
def test_overlaps_are_counted_pixels(some: np.ndarray, others: np.ndarray) -> None:
    mine, theirs = pixels(some), pixels(others)
    shared = (mine[:, None] & theirs[None]).sum(-1)
    either = (mine[:, None] | theirs[None]).sum(-1)
    np.testing.assert_array_equal(boxes.intersections(some, others), shared)
    np.testing.assert_allclose(boxes.iou(some, others), shared / np.maximum(either, 1))
    np.testing.assert_allclose(boxes.share_inside(some, others), shared / mine.sum(-1)[:, None])


@given(whole_boxes(), st.floats(0.1, 50), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_overlaps_do_not_depend_on_place_and_scale(
    some: np.ndarray, scale: float, dx: float, dy: float
) -> None:
    moved = some * scale + (dx, dy, dx, dy)
    np.testing.assert_allclose(boxes.iou(moved, moved), boxes.iou(some, some), atol=1e-6)
    np.testing.assert_allclose(np.diag(boxes.iou(some, some)), 1)
    np.testing.assert_array_equal(boxes.iou(some, some), boxes.iou(some, some).T)


def test_an_empty_box_overlaps_nothing() -> None:
    empty, whole = np.array([[3.0, 3, 3, 9]]), np.array([[0.0, 0, 10, 10]])
    assert boxes.iou(empty, whole) == boxes.iou(empty, empty) == boxes.share_inside(empty, whole) == 0


@given(whole_boxes(12), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_suppression_leaves_the_best_of_each_heap(some: np.ndarray, most_iou: float, random: object) -> None:
    score_N = np.linspace(0.1, 0.9, len(some))
    random.shuffle(score_N)
    kept = boxes.nms(some, score_N, most_iou)
    overlap = boxes.iou(some, some)
    assert (np.diff(score_N[kept]) < 0).all()
    for place, index in enumerate(kept):
        assert (overlap[index, kept[:place]] <= most_iou).all()
    for index in set(range(len(some))) - set(kept.tolist()):
        better = [other for other in kept if score_N[other] > score_N[index]]
        assert overlap[index, better].max() > most_iou
    # The order in which they come does not matter.
    order = np.array(random.sample(range(len(some)), len(some)), int)
    again = boxes.nms(some[order], score_N[order], most_iou)
    np.testing.assert_array_equal(order[again], kept)


@given(
    st.tuples(*[st.floats(-100, 200)] * 4).map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), *b[2:])),
    st.integers(1, 99),
    st.integers(1, 99),
)
def test_a_box_has_at_least_one_pixel_of_a_frame(box: tuple[float, ...], height: int, width: int) -> None:
    x0, y0, x1, y1 = boxes.clip_to_frame(box, height=height, width=width)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    if box[0] < width - 1 and box[1] < height - 1 and box[2] > 1 and box[3] > 1:
        assert x0 <= max(0, box[0])
        assert y0 <= max(0, box[1])
        assert x1 >= min(width, box[2])
        assert y1 >= min(height, box[3])


def test_growing_is_by_the_longer_side() -> None:
    np.testing.assert_allclose(boxes.expand((10, 20, 20, 40, 0.9), 0.1), (8, 18, 22, 42))


def test_a_box_around_points_ignores_those_that_are_not_known() -> None:
    points = np.array([[3.0, 9], [np.nan, np.nan], [5, 1]])
    assert boxes.bounding_box(points) == pytest.approx((3, 1, 5, 9))


def test_things_are_paired_nearest_first_and_once() -> None:
    before = np.array([[0, 0, 10, 10.0], [12, 0, 22, 10]])
    after = np.array([[11, 0, 21, 10.0], [100, 0, 110, 10], [-3, 0, 7, 10]])
    assert boxes.same_things(before, after, 2.0) == {0: 1, 2: 0}, "the second is out of reach of both"
    assert boxes.same_things(before, after[:1], 2.0) == {0: 1}, "the nearer one has it, the other none"
    assert boxes.same_things(before, after[:0], 2.0) == boxes.same_things(before[:0], after, 2.0) == {}
    grown = np.array([[0, 0, 30, 30.0]])
    assert boxes.same_things(before[:1], grown, 1.0) == {0: 0}, "sizes may differ: a detector's boxes do"
