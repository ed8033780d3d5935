"""Torsos that flip or spin are distinguished from those that turn plausibly."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.fitting.implausible_turns import flips, spinning


def turning(degrees_T: np.ndarray) -> np.ndarray:
    """A motion [T, 1, 3] whose torso is turned about the vertical by so many degrees."""
    turns = np.zeros((len(degrees_T), 1, 3))
    turns[:, 0, 1] = np.radians(degrees_T)
    return turns


@pytest.mark.parametrize("fps", [10, 25, 60])
@pytest.mark.parametrize("speed", [0, 90, 300])
def test_a_person_who_turns_is_believed(fps: int, speed: int) -> None:
    time = np.arange(3 * fps) / fps
    motion, known = turning(speed * time), np.ones(3 * fps, bool)
    assert not flips(motion, known, fps).any()
    assert not spinning(motion, known, fps).any()


@pytest.mark.parametrize("length", [1, 3])
def test_a_flip_is_found_and_nothing_beside_it(length: int) -> None:
    degrees = 60 * np.arange(90) / 30
    degrees[40 : 40 + length] += 180
    flipped = flips(turning(degrees), np.ones(90, bool), 30)
    assert np.flatnonzero(flipped).tolist() == list(range(40, 40 + length))


def test_turning_round_for_good_is_no_flip() -> None:
    degrees = np.where(np.arange(90) < 45, 0, 180)
    assert not flips(turning(degrees), np.ones(90, bool), 30).any()


def test_a_guess_in_every_frame_is_no_motion() -> None:
    rng = np.random.default_rng(0)
    rotations = Rotation.random(120, rng=rng).as_rotvec()[:, None]
    known = np.ones(120, bool)
    assert spinning(rotations, known, 30).all()
    still = np.concatenate([np.zeros((120, 1, 3)), rotations])
    found = spinning(still, np.ones(240, bool), 30)
    assert not found[:100].any()
    assert found[140:].all()


def test_frames_without_a_body_say_nothing() -> None:
    degrees = 30 * np.arange(60) / 30
    known = np.ones(60, bool)
    known[20:40] = False
    degrees[~known] = 1e3 * np.arange(20)
    assert not flips(turning(degrees), known, 30).any()
    assert not spinning(turning(degrees), known, 30).any()
    assert not spinning(turning(degrees), np.zeros(60, bool), 30).any()


@pytest.mark.parametrize("at", [2, 57])
def test_one_wrong_frame_at_the_end_of_a_track_is_no_spinning(at: int) -> None:
    """Half a second, which is all that there is on one side, would be too little to say so."""
    degrees = np.where(np.arange(60) == at, 170, 0)
    assert not spinning(turning(degrees), np.ones(60, bool), 30).any()
