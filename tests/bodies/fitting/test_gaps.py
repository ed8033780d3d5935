"""Gaps of a motion: interpolated between two known frames, and never where the person is absent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.fitting.gaps import bridge, runs


def motion(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A turn by 0.1 radians and a step of 0.2 m a frame, of one joint."""
    at = np.arange(frames, dtype=np.float32)
    turns = at[:, None, None] * np.array([0, 0.1, 0], np.float32)
    return turns, at[:, None] * np.array([0.2, 0, 0], np.float32)


@pytest.mark.parametrize("gap", [slice(3, 4), slice(2, 6), slice(1, 9)])
def test_an_even_motion_comes_back(gap: slice) -> None:
    turns, places = motion(10)
    broken, away = turns.copy(), places.copy()
    broken[gap], away[gap] = 2.0, -5.0
    fitted = np.ones(10, bool)
    fitted[gap] = False
    known = bridge(broken, away, fitted, np.ones(10, bool), longest=8)
    assert known.all()
    np.testing.assert_allclose(away, places, atol=1e-5)
    apart = Rotation.from_rotvec(broken[:, 0]).inv() * Rotation.from_rotvec(turns[:, 0])
    assert apart.magnitude().max() < 0.02


@pytest.mark.parametrize(
    ("fitted", "visible", "longest"),
    [
        ([1, 0, 0, 0, 1], [1, 1, 1, 1, 1], 2),  # too long
        ([1, 0, 0, 0, 1], [1, 1, 0, 1, 1], 8),  # the person was away
        ([0, 0, 1, 1, 1], [1, 1, 1, 1, 1], 8),  # nothing before
        ([1, 1, 1, 0, 0], [1, 1, 1, 1, 1], 8),  # nothing behind
    ],
)
def test_what_cannot_be_known_stays_open(fitted: list[int], visible: list[int], longest: int) -> None:
    turns, places = motion(5)
    before = turns.copy(), places.copy()
    known = bridge(turns, places, np.array(fitted, bool), np.array(visible, bool), longest)
    assert known.tolist() == [bool(flag) for flag in fitted]
    np.testing.assert_array_equal(turns, before[0])
    np.testing.assert_array_equal(places, before[1])


def test_turns_go_the_shorter_way_round() -> None:
    turns = np.array([[[0, 3.1, 0]], [[0, 0, 0]], [[0, -3.1, 0]]], np.float32)
    bridge(turns, np.zeros((3, 3), np.float32), np.array([1, 0, 1], bool), np.ones(3, bool), longest=2)
    assert abs(abs(turns[1, 0, 1]) - np.pi) < 0.05


def test_runs_are_the_stretches_of_true_flags() -> None:
    assert runs(np.array([0, 1, 1, 0, 1], bool)) == [slice(1, 3), slice(4, 5)]
    assert runs(np.zeros(3, bool)) == []
