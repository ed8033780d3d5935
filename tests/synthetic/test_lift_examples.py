"""Training examples of the lift: targets are the truth, even if cut off, and a network learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raymaskdp.bodies.fitting.lift import lift, neighbours
from raymaskdp.synthetic.lift.config import LiftTrainingConfig
from raymaskdp.synthetic.lift.examples import LiftExample, example_of, simulated_examples
from raymaskdp.synthetic.lift.training import learn

FPS = 12.0
CAMERA = np.array([[200.0, 0, 96], [0, 200.0, 72], [0, 0, 1]])


def example(seed: int = 0, frames: int = 8, off_px: float = 2.0) -> LiftExample:
    """Points that wander two metres away, seen with errors."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.4, (1, 33, 3)) + np.cumsum(rng.normal(0, 0.02, (frames, 33, 3)), 0) + (0, 0, 2.5)
    image = truth[..., :2] / truth[..., 2:] * 200 + (96, 72) + rng.normal(0, off_px, (frames, 33, 2))
    keypoints = np.concatenate([image, rng.uniform(0.5, 1, (frames, 33, 1))], -1)
    return example_of(keypoints, truth + rng.normal(0, 0.1, truth.shape), truth, CAMERA, FPS)


def told_pixels(one: LiftExample) -> np.ndarray:
    """Where the example says that points are in the image, [N, 33, 2]."""
    return one.seen.pixels() + one.seen.spread_N[:, None, None] * one.image_NL2


def test_a_cut_hides_landmarks_and_leaves_the_truth() -> None:
    whole = example()
    for seed in range(20):
        cut = whole.cut(np.random.default_rng(seed))
        np.testing.assert_allclose(told_pixels(cut), told_pixels(whole), atol=1e-9)
        np.testing.assert_array_equal(cut.space_NL3, whole.space_NL3)
        hidden = cut.seen.seen_NL == 0
        assert 0 < hidden.mean() < 0.8
        assert not cut.seen.image_NL2[hidden].any()
        assert not cut.seen.space_NL3[hidden].any()


def test_the_mirror_image_of_the_mirror_image_is_the_lesson() -> None:
    one = example()
    again = one.mirrored().mirrored()
    np.testing.assert_allclose(again.image_NL2, one.image_NL2)
    np.testing.assert_allclose(again.space_NL3, one.space_NL3)
    np.testing.assert_allclose(again.seen.features(), one.seen.features())


def test_the_imagined_err_as_others_did_and_give_nothing_in_space() -> None:
    errors = [example(seed) for seed in range(3)]
    people = simulated_examples(12, errors, frames=10, fps=FPS, seed=1)
    assert len(people) >= 10  # some stand behind the camera
    for one in people:
        assert one.image_NL2.shape == (10, 33, 2)
        assert not one.seen.space_NL3.any()
        assert np.isfinite(one.seen.features().numpy()).all()
    wrong = [np.abs(some.image_NL2).mean() for some in (*errors, *people)]
    assert np.mean(wrong[3:]) == pytest.approx(np.mean(wrong[:3]), rel=0.25)
    again = simulated_examples(12, errors, frames=10, fps=FPS, seed=1)
    np.testing.assert_array_equal(again[-1].space_NL3, people[-1].space_NL3)


def test_a_network_learns_what_it_is_taught() -> None:
    settings = LiftTrainingConfig(imagined=4, frames=6, epochs=80, batch=4, dropout=0.0, noise=0.0)
    taught = [example(frames=12)]
    network, loss = learn(taught, settings)
    _, first = learn(taught, replace(settings, epochs=1))
    assert loss < 0.5 * first
    keypoints = np.concatenate([taught[0].seen.pixels(), taught[0].seen.seen_NL[..., None]], -1)
    _, points = lift(keypoints, taught[0].seen.space_NL3, CAMERA, FPS, network=network)
    # Limb directions are targets in the axes of a camera that points at the hips.
    told = taught[0].space_NL3[:, 11] - taught[0].space_NL3[:, 12]
    found = points[:, 11] - points[:, 12]
    cosine = (told * found).sum(1) / np.linalg.norm(told, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() > 0.8


def test_what_the_landmarks_do_not_tell_moves_as_far_as_people_do() -> None:
    """A point may go forward, go back, or rest. Errors alone are least for one that rests."""
    one = example(frames=12)
    wave_N = 0.5 * np.sin(2 * np.pi * np.arange(12) / 12)
    rest_NL3 = np.broadcast_to(one.space_NL3[:1], one.space_NL3.shape)
    taught = [
        replace(one, space_NL3=rest_NL3 + sign * wave_N[:, None, None] * np.array([0, 0, 1.0]))
        for sign in (1, -1, 0)
    ]
    moved = {}
    for weight in (0.0, 3.0):
        settings = LiftTrainingConfig(
            imagined=0, frames=12, epochs=150, batch=6, dropout=0.0, noise=0.0, blind=0.0, cut=0.0,
            amplitude=weight,
        )  # fmt: skip
        network, _ = learn(taught, settings)
        with torch.inference_mode():
            found = network(one.seen.features(), one.seen.places(), neighbours(12, FPS))[..., 2].numpy()
        moved[weight] = float(np.std(found, axis=0).mean() / np.std(wave_N))
    assert moved[0.0] < 0.3
    assert moved[3.0] > 0.5
