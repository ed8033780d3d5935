"""The digits benchmark trains, and its public branch sees public pixels alone."""

from __future__ import annotations

import pytest
import torch

from raymaskdp.benchmarks import digits
from raymaskdp.benchmarks.digits import DigitsRun, make_plan, public_pixels, train
from raymaskdp.benchmarks.settings.training import DigitsConfig

pytest.importorskip("sklearn")
SHORT = DigitsConfig(epochs=4, seeds=2)


@pytest.mark.slow
def test_methods_learn_in_the_order_of_what_they_may_see():
    torch.set_num_threads(1)
    dpsgd = train(DigitsRun(method="dpsgd", epsilon=0.5, clipping_norm=1.0), SHORT, 0)
    masked = train(DigitsRun(method="maskdp", epsilon=0.5), SHORT, 0)
    free = train(DigitsRun(method="sgd"), SHORT, 0)
    assert dpsgd < masked < free


def test_the_public_branch_depends_on_public_pixels_alone(monkeypatch):
    torch.set_num_threads(1)
    short = DigitsConfig(epochs=1, seeds=2)
    load = digits.load
    here = train(DigitsRun(method="public"), short, 0)

    def scrambled(seed: int):
        images, labels, test_images, test_labels = load(seed)
        noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
        return torch.where(public_pixels() > 0, images, noise), labels, test_images, test_labels

    monkeypatch.setattr(digits, "load", scrambled)
    assert train(DigitsRun(method="public"), short, 0) == here


def test_plans_meet_their_targets():
    plan = make_plan(DigitsRun(method="maskdp-full", epsilon=1.0), DigitsConfig(), 1437)
    assert plan.steps == 400
    assert 0.99 <= plan.epsilon() <= 1.0
    assert make_plan(DigitsRun(method="sgd"), DigitsConfig(), 1437).epsilon() == float("inf")
