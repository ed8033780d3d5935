"""Legs that no frame shows are not drawn; legs that some frames show are."""

import numpy as np
import pytest

from raymaskdp.anonymize.compose.unseen_legs import unseen_T
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.bodies.without_legs import Unseen

T, FPS = 60, 20.0


def visibility(**seen: float) -> np.ndarray:
    """Everything visible, but for points whose names end so."""
    visible_TL = np.ones((T, 33), np.float32)
    for row, name in enumerate(MEDIAPIPE.points):
        for ending, value in seen.items():
            if name.endswith(ending):
                visible_TL[:, row] = value
    return visible_TL


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, Unseen.NOTHING),
        ({"ankle": 0.1, "toe": 0.1}, Unseen.SHINS),
        ({"ankle": 0.1, "toe": 0.1, "knee": 0.1}, Unseen.LEGS),
        ({"knee": 0.1}, Unseen.NOTHING),  # covered by a hand, say
        ({"left_ankle": 0.1, "left_toe": 0.1, "left_knee": 0.1}, Unseen.NOTHING),  # behind the other leg
    ],
)
def test_both_legs_must_be_unseen(seen: dict[str, float], expected: Unseen) -> None:
    found = unseen_T(visibility(**seen), np.zeros(T, bool), FPS)
    np.testing.assert_array_equal(found, np.full(T, expected))


def test_legs_that_go_on_below_the_frame_are_drawn() -> None:
    hidden = visibility(ankle=0.1, toe=0.1, knee=0.1)
    cut_off_T = np.arange(T) < T // 2
    found = unseen_T(hidden, cut_off_T, FPS)
    assert (found[: T // 2 - 1] == Unseen.NOTHING).all()
    assert (found[T // 2 + 1 :] == Unseen.LEGS).all()


def test_legs_do_not_come_and_go() -> None:
    hidden = visibility(ankle=0.1, toe=0.1, knee=0.1)
    hidden[30:36] = 1  # a third of a second
    assert (unseen_T(hidden, np.zeros(T, bool), FPS) == Unseen.LEGS).all()
    hidden[10:50:2] = np.nan
    assert set(unseen_T(hidden, np.zeros(T, bool), FPS)) == {Unseen.LEGS}


def test_without_landmarks_everything_is_drawn() -> None:
    nothing = np.full((T, 33), np.nan, np.float32)
    assert (unseen_T(nothing, np.zeros(T, bool), FPS) == Unseen.NOTHING).all()
