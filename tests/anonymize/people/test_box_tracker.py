"""Following boxes: who is who after a crossing, gaps, cuts, cameras that move, and boxes that come twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_tracker import (
    CERTAIN,
    DOUBTFUL,
    HELD_S,
    BoxTrack,
    FrameBoxes,
    shots_of,
    track_boxes,
)

FPS = 12.0
HELD = round(HELD_S * FPS)
STILL = np.array([[1.0, 0, 0], [0, 1, 0]])
RED, BLUE, GREEN = np.eye(64)[:3]

Path = Callable[[int], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Walker:
    """A person with a box of `size` about `at(frame)`, in the frames `seen`."""

    at: Path
    seen: Sequence[int]
    colour: np.ndarray = field(default_factory=lambda: RED)
    size: tuple[float, float] = (40.0, 100.0)
    score: Callable[[int], float] = lambda frame: 0.9
    vote: int = 1

    def box(self, frame: int) -> np.ndarray:
        x, y = self.at(frame)
        w, h = self.size
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def filmed(
    walkers: Sequence[Walker],
    count: int,
    *,
    camera: Callable[[int], np.ndarray | None] = lambda frame: STILL,
    order: np.random.Generator | None = None,
) -> list[FrameBoxes]:
    """What detectors see of `count` frames; with `order`, in any order."""
    frames = []
    for frame in range(count):
        there = [walker for walker in walkers if frame in walker.seen]
        if order is not None:
            there = [there[index] for index in order.permutation(len(there))]
        frames.append(
            FrameBoxes(
                boxes_N4=np.array([walker.box(frame) for walker in there], np.float32).reshape(-1, 4),
                score_N=np.array([walker.score(frame) for walker in there]),
                votes_N=np.array([walker.vote for walker in there], np.int8),
                colour_NC=np.array([walker.colour for walker in there], np.float32).reshape(-1, 64),
                camera_23=None if frame == 0 else camera(frame),
            )
        )
    return frames


def is_of(track: BoxTrack, walker: Walker, *, frames: Sequence[int], atol: float = 1e-3) -> bool:
    """Whether a track has a walker's boxes in all of `frames`."""
    return all(
        (box_4 := track.at(frame)) is not None and np.allclose(box_4, walker.box(frame), atol=atol)
        for frame in frames
    )


def test_two_people_who_cross_keep_who_they_are() -> None:
    """One hides the other for half a second; colours and motion identify both afterwards."""
    hidden = range(17, 24)
    front = Walker(at=lambda t: (100 + 5 * t, 150), seen=range(41))
    behind = Walker(
        at=lambda t: (300 - 5 * t, 152), seen=[t for t in range(41) if t not in hidden], colour=BLUE
    )
    tracks = track_boxes(filmed([front, behind], 41, order=np.random.default_rng(0)), FPS)
    assert len(tracks) == 2
    first, second = sorted(tracks, key=lambda track: track.boxes_N4[0, 0])
    assert is_of(first, front, frames=range(41))
    assert is_of(second, behind, frames=[*range(17), *range(24, 41)])
    assert not second.seen_N[list(hidden)].any()


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_people_who_keep_apart_are_as_many_tracks_in_any_order_of_boxes(seed: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    walkers = []
    for number in range(people):
        speed, phase = rng.uniform(-6, 6), rng.uniform(0, 6)
        first, last = sorted(rng.choice(np.arange(4, 36), 2, replace=False))
        seen = [t for t in range(first, last + 1) if t in (first, last) or rng.random() > 0.15]
        walkers.append(
            Walker(
                at=lambda t, n=number, s=speed, p=phase: (200 + s * t, 300 * n + 10 * np.sin(t / 3 + p)),
                seen=seen,
                colour=np.eye(64)[number],
            )
        )
    one, other = (track_boxes(filmed(walkers, 40, order=np.random.default_rng(n)), FPS) for n in (1, 2))
    assert len(one) == people
    # Tracks that begin in one frame have the order of its boxes.
    one, other = (sorted(found, key=lambda track: tuple(track.boxes_N4[0])) for found in (one, other))
    for track, same in zip(one, other, strict=True):
        np.testing.assert_allclose(track.boxes_N4, same.boxes_N4, atol=1e-3)
        np.testing.assert_array_equal(track.seen_N, same.seen_N)
    for walker in walkers:
        (track,) = [track for track in one if is_of(track, walker, frames=walker.seen)]
        assert track.seen_N.sum() == track.votes == len(walker.seen)
        assert track.start == max(0, walker.seen[0] - HELD)
        assert track.stop == min(40, walker.seen[-1] + 1 + HELD)


def test_a_gap_is_filled_on_the_straight_line() -> None:
    seen = [*range(10), *range(16, 30)]
    walker = Walker(at=lambda t: (100 + 4 * t, 150 - 2 * t), seen=seen)
    (track,) = track_boxes(filmed([walker], 30), FPS)
    assert is_of(track, walker, frames=range(30))
    assert np.flatnonzero(~track.seen_N).tolist() == list(range(10, 16))
    assert (track.score_N[10:16] == 0).all()


def test_a_person_who_is_away_for_too_long_is_another_one() -> None:
    seen = [*range(10), *range(50, 60)]
    first, second = track_boxes(filmed([Walker(at=lambda t: (100, 150), seen=seen)], 60), FPS)
    assert first.stop <= second.start
    assert second.start == 50 - HELD


def test_a_person_is_held_before_and_after_but_not_beyond_a_cut() -> None:
    walker = Walker(at=lambda t: (100, 150), seen=range(10, 15))
    (track,) = track_boxes(filmed([walker], 40), FPS)
    assert (track.start, track.stop) == (10 - HELD, 15 + HELD)
    cuts = (9, 16)
    (track,) = track_boxes(filmed([walker], 40, camera=lambda t: None if t in cuts else STILL), FPS)
    assert (track.start, track.stop) == (9, 16)


def test_a_cut_ends_everybody() -> None:
    walker = Walker(at=lambda t: (100, 150), seen=range(20))
    frames = filmed([walker], 20, camera=lambda t: None if t == 8 else STILL)
    assert shots_of(frames).tolist() == [0] * 8 + [1] * 12
    tracks = track_boxes(frames, FPS)
    assert [(track.start, track.stop) for track in tracks] == [(0, 8), (8, 20)]


@pytest.mark.parametrize("is_known", [True, False])
def test_the_cameras_motion_is_taken_out(is_known: bool) -> None:
    """A whip pan: the picture moves by two widths of a person from frame to frame."""
    pan = np.array([[1.0, 0, -80], [0, 1, 0]])
    walker = Walker(at=lambda t: (2000 - 78 * t, 150), seen=[t for t in range(20) if t not in (9, 10)])
    frames = filmed([walker], 20, camera=lambda t: pan if is_known else STILL)
    tracks = [track for track in track_boxes(frames, FPS) if track.seen_N.sum() > 10]
    assert len(tracks) == is_known
    if is_known:
        assert is_of(tracks[0], walker, frames=range(20), atol=3)


def test_zoom_of_the_camera_is_taken_out() -> None:
    zoom = np.array([[1.1, 0, 0], [0, 1.1, 0]])
    grown = [
        Walker(at=lambda t: (100 * 1.1**t, 150 * 1.1**t), seen=[t], size=(40 * 1.1**t, 100 * 1.1**t))
        for t in range(16)
        if t not in (6, 7, 8)
    ]
    (track,) = track_boxes(filmed(grown, 16, camera=lambda t: zoom), FPS)
    assert (track.start, track.stop) == (0, 16)
    assert track.seen_N.sum() == 13


def test_two_tracks_of_which_one_at_a_time_is_seen_are_one_person() -> None:
    """Two networks that take turns, after both were seen once."""
    one = Walker(at=lambda t: (100, 150), seen=range(0, 30, 2))
    two = Walker(at=lambda t: (106, 155), seen=[0, *range(1, 30, 2)])
    assert boxes.iou(one.box(0)[None], two.box(0)[None]) > 0.6
    (track,) = track_boxes(filmed([one, two], 30), FPS)
    assert (track.start, track.stop) == (0, 30)
    assert track.seen_N.all()


def test_a_second_box_of_a_person_in_one_frame_does_not_take_the_person_over() -> None:
    """Two networks see one person a little apart, once; the next boxes are nearer to the younger track."""

    def at(frame: int) -> tuple[float, float]:
        return (112.0 if frame == 9 else 100.0, 100.0)

    kicker = Walker(at=at, seen=range(24))
    (alone,) = track_boxes(filmed([kicker], 24), FPS)
    double = Walker(at=lambda frame: (97.0, 100.0), seen=[9], size=(46, 100), score=lambda frame: 0.6, vote=0)
    tracks = track_boxes(filmed([kicker, double], 24), FPS)
    assert len(tracks) == 1
    assert is_of(tracks[0], kicker, frames=[*range(9), *range(10, 24)])
    both_4 = tracks[0].at(9)
    assert both_4 is not None
    assert (both_4 == [74, 50, 132, 150]).all()  # so that nothing that either box held is left uncovered
    assert tracks[0].votes >= alone.votes - 1


def test_two_people_who_stand_close_are_two() -> None:
    one = Walker(at=lambda t: (100, 150), seen=range(30))
    two = Walker(at=lambda t: (116, 150), seen=range(30), colour=BLUE)
    assert 0.4 < boxes.iou(one.box(0)[None], two.box(0)[None]) < 0.5
    assert len(track_boxes(filmed([one, two], 30), FPS)) == 2


def test_a_part_of_a_person_that_nothing_votes_for_is_no_person() -> None:
    body = Walker(at=lambda t: (100 + 3 * t, 150), seen=range(20))
    arm = Walker(at=lambda t: (110 + 3 * t, 130), seen=range(20), size=(15, 40), vote=0)
    (track,) = track_boxes(filmed([body, arm], 20), FPS)
    assert is_of(track, body, frames=range(20))
    child = Walker(at=arm.at, seen=range(20), size=(15, 40), vote=1, colour=BLUE)
    assert len(track_boxes(filmed([body, child], 20), FPS)) == 2


def test_a_person_is_followed_back_through_faint_boxes() -> None:
    """A person who appears in the middle of the picture, with low scores at first."""
    walker = Walker(
        at=lambda t: (100 + 3 * t, 150), seen=range(10, 30), score=lambda t: 0.2 if t < 18 else 0.9
    )
    (track,) = track_boxes(filmed([walker], 30), FPS)
    assert track.start == 10 - HELD
    assert track.seen_N[HELD:].all()
    assert is_of(track, walker, frames=range(10, 30))


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_only_a_certain_box_begins_a_track(scores: list[float]) -> None:
    walker = Walker(at=lambda t: (100, 150), seen=range(12), score=lambda t: scores[t])
    tracks = track_boxes(filmed([walker], 12), FPS)
    assert len(tracks) == any(score >= CERTAIN for score in scores)
    for track in tracks:
        seen = [track.start + index for index in np.flatnonzero(track.seen_N)]
        assert all(scores[frame] >= DOUBTFUL for frame in seen)


def test_a_glimpse_is_a_track_and_says_so() -> None:
    (track,) = track_boxes(filmed([Walker(at=lambda t: (100, 150), seen=[7])], 20), FPS)
    assert track.seen_N.sum() == 1
    assert (track.start, track.stop) == (7 - HELD, 8 + HELD)


def test_votes_are_counted_for_and_against() -> None:
    dog = Walker(at=lambda t: (100, 150), seen=range(10), vote=-1)
    (track,) = track_boxes(filmed([dog], 10), FPS)
    assert (track.votes, track.against) == (0, 10)


def test_an_empty_video_has_nobody() -> None:
    assert track_boxes(filmed([], 5), FPS) == track_boxes([], FPS) == []
