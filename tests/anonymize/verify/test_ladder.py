"""The ladder: what is seen again goes down it, for long enough, and whatever frame one begins with."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaskdp.anonymize.verify import ladder
from raymaskdp.anonymize.verify.ladder import (
    SOLID,
    ChangedFrames,
    LadderFrame,
    Rung,
    SecondDetector,
    frames_around,
    num_regions,
    redacted,
    warm_up,
)

H, W = 48, 64
FPS = 12.0
HELD = 6
ROOM = np.random.default_rng(0).integers(40, 200, (H, W, 3), np.uint8)
RED = np.array((255, 0, 0), np.uint8)
NOBODY = np.zeros((0, 4))
NOTHING_HW = np.zeros((H, W), bool)


def frame(index: int, *squares: tuple[int, int], room: np.ndarray = ROOM) -> LadderFrame:
    """A frame of the room with red squares of six pixels; a person was removed from its lower left corner."""
    picture, mask = room.copy(), np.zeros((H, W), bool)
    mask[40:, :10] = True
    for x, y in squares:
        picture[y : y + 6, x : x + 6] = RED
    return LadderFrame(index=index, mask_HW=mask, frame_HW3=picture, removed_HW=mask, surviving=0)


def red(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
    """The box around all that is red."""
    rows, columns = np.nonzero((frame_HW3 == RED).all(-1))
    if not len(rows):
        return NOBODY
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float64)


def unless(is_fine: object) -> SecondDetector:
    """A person in the middle of every frame whose middle is not redacted."""

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        return NOBODY if is_fine(frame_HW3) else np.array([[20.0, 20, 30, 30]])

    return look


def run(frames: Iterable[LadderFrame], look: SecondDetector = red, fps: float = FPS) -> list[LadderFrame]:
    return list(redacted(frames, look, fps))


@pytest.mark.parametrize(("x", "counted"), [(30, 1), (8, 1), (0, 0)])
def test_whoever_is_seen_where_a_person_was_removed_is_counted_once(x: int, counted: int) -> None:
    """A filling that looks human is redacted, and is no second person."""
    (out,) = run([frame(0, (x, 42))])
    assert out.rung == Rung.BACKGROUND
    assert num_regions(out, out.mask_HW, NOTHING_HW) == counted


def test_frames_without_anybody_pass_as_they_are() -> None:
    given = [frame(index) for index in range(20)]
    assert all(out is shown for out, shown in zip(run(given), given, strict=True))
    assert run([]) == []


def test_a_person_of_one_frame_is_redacted_half_a_second_around() -> None:
    out = run(frame(index, *([(30, 20)] if index == 10 else [])) for index in range(30))
    assert [shown.index for shown in out] == list(range(30))
    for shown in out:
        near = abs(shown.index - 10) <= HELD
        assert (shown.rung == Rung.BACKGROUND) == near
        assert shown.surviving == 0
        changed = (shown.frame_HW3 != ROOM).any(-1)
        if near:
            assert shown.region_HW is not None
            assert shown.region_HW[20:26, 30:36].all()  # the square, and a margin
            assert not shown.region_HW[:18].any()
            assert (shown.removed_HW >= shown.region_HW).all()
            assert not changed[~shown.region_HW].any()
            assert not (shown.frame_HW3 == RED).all(-1).any()
        else:
            assert not changed.any()


def test_who_walks_is_redacted_wherever_they_were_around_a_frame() -> None:
    out = run(frame(index, (2 * index, 20)) for index in range(20))
    middle = out[10].region_HW
    assert middle is not None
    for index in range(10 - HELD, 10 + HELD + 1):
        assert middle[20:26, 2 * index : 2 * index + 6].all()
    assert num_regions(out[10], out[10].mask_HW, NOTHING_HW) == 1


@pytest.mark.parametrize(
    ("is_fine", "rung"),
    [
        (lambda picture: (picture[20:30, 20:30] != ROOM[20:30, 20:30]).any(), Rung.BACKGROUND),
        (lambda picture: (picture[20:30, 20:30] == SOLID).all(), Rung.FILL),
        (lambda picture: (picture == SOLID).all(), Rung.BLANK),
    ],
)
def test_it_goes_down_until_nobody_is_seen(is_fine: object, rung: Rung) -> None:
    look = unless(is_fine)
    for shown in run((frame(index) for index in range(12)), look):
        assert shown.rung == rung
        assert shown.surviving == 0
        assert not len(look(shown.frame_HW3))
        if rung == Rung.BLANK:
            assert (shown.frame_HW3 == SOLID).all()
            assert shown.removed_HW.all()


def test_what_even_a_blank_frame_does_not_change_ends_there() -> None:
    """At most three rounds: a detector that always reports a person does not loop forever."""
    looked: list[int] = []

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        looked.append(1)
        return np.array([[0.0, 0, 5, 5]])

    assert all(shown.rung == Rung.BLANK for shown in run([frame(0), frame(1)], look))
    assert len(looked) <= 2 * 4


def test_a_region_that_uncovers_another_one_grows() -> None:
    """A second person is detected only after the first is removed: the final region has both."""

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        if (frame_HW3[4:10, 4:10] == RED).all():
            return np.array([[4.0, 4, 10, 10]])
        still = (frame_HW3[30:36, 40:46] == RED).all()
        return np.array([[40.0, 30, 46, 36]]) if still else NOBODY

    (shown,) = run([frame(0, (4, 4), (40, 30))], look)
    assert shown.rung == Rung.FILL
    assert not (shown.frame_HW3 == RED).all(-1).any()
    assert num_regions(shown, shown.mask_HW, NOTHING_HW) == 2
    dog_HW = np.zeros(shown.mask_HW.shape, bool)
    dog_HW[shown.region_HW] = True
    dog_HW[:, :25] = False
    assert num_regions(shown, shown.mask_HW, dog_HW) == 1  # the other place is a thing
    assert num_regions(shown, shown.mask_HW, ~dog_HW) == 1


def test_a_lower_rung_is_held() -> None:
    """A fill in one frame is a fill for half a second after it, where there is a region at all."""

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        # Blue says that nothing less than one colour will do here.
        if (frame_HW3[0, 0] == (0, 0, 255)).all():
            return NOBODY if (frame_HW3[22:24, 32:34] == SOLID).all() else np.array([[30.0, 20, 36, 26]])
        return red(frame_HW3)

    frames = [frame(index, (30, 20)) for index in range(24)]
    frames[5].frame_HW3[0, 0] = (0, 0, 255)
    rungs = [shown.rung for shown in run(frames, look)]
    assert rungs[:5] == [Rung.BACKGROUND] * 5
    assert rungs[5 : 5 + HELD] == [Rung.FILL] * HELD
    assert set(rungs[5 + HELD : 10 + HELD]) == {Rung.BACKGROUND}


def test_a_region_is_compared_with_masks_of_the_frames_that_it_consists_of() -> None:
    assert frames_around(3, 40, FPS) == range(10)
    assert frames_around(20, 40, FPS) == range(20 - HELD, 20 + HELD + 1)
    assert frames_around(38, 40, FPS) == range(38 - HELD, 40)
    # A dog runs to the right. The region of frame 6 is where it was in 13 frames.
    out = run(frame(index, (4 * index, 20)) for index in range(13))
    dogs = np.zeros((13, H, W), bool)
    for index in range(13):
        dogs[index, 20:26, 4 * index : 4 * index + 6] = True
    assert num_regions(out[6], NOTHING_HW, dogs[6]) == 1
    assert num_regions(out[6], NOTHING_HW, dogs[list(frames_around(6, 13, FPS))].any(0)) == 0


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["", "a", "b", "ab", "bright", "a bright"]), min_size=1, max_size=50),
    st.sampled_from([1.0, 4.0, 12.0, 15.0]),
    st.data(),
)
def test_the_outcome_is_the_same_wherever_one_takes_it_up(
    shows: list[str], fps: float, data: st.DataObject
) -> None:
    """No person, a square, or a light: an interrupted run resumes with the same result."""
    places = {"a": (10, 10), "b": (40, 30)}

    def made(index: int) -> LadderFrame:
        squares = [place for name, place in places.items() if name in shows[index].removesuffix("bright")]
        room = np.clip(ROOM.astype(int) + 40 * ("bright" in shows[index]), 0, 254).astype(np.uint8)
        return frame(index, *squares, room=room)

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        found = red(frame_HW3)
        # Whom only one colour hides, and only in the light.
        bright = frame_HW3.mean() > ROOM.mean() + 20
        return found if len(found) or not bright or (frame_HW3 == SOLID).all(-1).any() else NOBODY

    whole = list(redacted((made(index) for index in range(len(shows))), look, fps))
    start = data.draw(st.integers(0, len(shows) - 1))
    begin = warm_up(start, fps)
    assert 0 <= begin <= start
    again = list(redacted((made(index) for index in range(begin, len(shows))), look, fps))[start - begin :]
    for one, other in zip(whole[start:], again, strict=True):
        assert (one.index, one.rung) == (other.index, other.rung)
        np.testing.assert_array_equal(one.frame_HW3, other.frame_HW3)
        np.testing.assert_array_equal(one.removed_HW, other.removed_HW)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_nobody_is_seen_in_any_frame_in_the_end(there: list[bool]) -> None:
    for shown in run(frame(index, *([(30, 20)] if seen else [])) for index, seen in enumerate(there)):
        assert not len(red(shown.frame_HW3))
        near = any(there[max(0, shown.index - HELD) : shown.index + HELD + 1])
        assert (shown.region_HW is not None) == near


def test_a_fill_that_reads_under_the_region_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof counts for these regions, too: here a fill lets some of what was there through."""
    honest = run([frame(0, (30, 20))])[0]
    assert honest.surviving == 0

    def leaks(frame_HW3: np.ndarray, mask_HW: np.ndarray, method: str) -> np.ndarray:
        mixed = frame_HW3.copy()
        mixed[mask_HW] = 0.5 * frame_HW3[mask_HW] + 60
        return mixed

    monkeypatch.setattr(ladder, "fill", leaks)
    shown = run([frame(0, (30, 20))])[0]
    assert shown.surviving >= 36


def test_what_survived_before_is_not_forgotten() -> None:
    (shown,) = run([dataclasses.replace(frame(0, (30, 20)), surviving=7)])
    assert shown.surviving == 7


def test_frames_that_look_alike_are_looked_at_once_in_each_part() -> None:
    looked: list[tuple[int, ...] | None] = []

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        looked.append(parts)
        return NOBODY

    attention, rng = ChangedFrames(look, 30.0), np.random.default_rng(0)
    for index in range(1, 12):
        noisy = np.clip(ROOM + rng.normal(0, 4, ROOM.shape), 0, 255).astype(np.uint8)
        attention(noisy, index)
    assert looked == [(1, 3), (0, 2)]
    attention(ROOM, 30)  # a second is over: everything, however alike
    attention(ROOM, 31)
    assert looked[2:] == [None]
    somebody = ROOM.copy()
    somebody[16:24, 24:32] += 20  # one small cell of sixty
    attention(somebody, 32)
    assert looked[3:] == [(0, 2)]


@pytest.mark.parametrize(
    ("fps", "parts"), [(5.0, None), (15.0, None), (25.0, None), (30.0, (1, 3)), (60.0, (1,))]
)
def test_all_parts_are_looked_at_within_a_fourteenth_of_a_second(
    fps: float, parts: tuple[int, ...] | None
) -> None:
    looked: list[tuple[int, ...] | None] = []

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        looked.append(parts)
        return NOBODY

    ChangedFrames(look, fps)(ROOM, 1)
    assert looked == [parts]


@pytest.mark.parametrize("fps", [10.0, 25.0])
def test_a_person_whom_a_part_shows_in_a_single_frame_is_redacted(fps: float) -> None:
    """In turns, that part would not be looked at in this frame, and the person is in no other."""

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        return red(frame_HW3) if parts is None or 2 in parts else NOBODY

    frames = [frame(index, *([(30, 20)] if index == 5 else [])) for index in range(12)]
    for shown in run(frames, look, fps=fps):
        assert not len(red(shown.frame_HW3)), shown.index


def test_slow_change_is_seen_in_the_end() -> None:
    """Each frame hardly differs from the previous one, but from the last checked frame."""
    looked: list[int] = []

    def look(frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        looked.append(int(frame_HW3[0, 0, 0]))
        return NOBODY

    attention = ChangedFrames(look, 5.0)
    for level in range(60, 90):
        attention(np.full((H, W, 3), level, np.uint8), 1)
    assert looked == [60, 67, 74, 81, 88]
