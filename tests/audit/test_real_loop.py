"""The whole of `train` is audited for as many steps as a run has, and every known fault in it is found."""

from __future__ import annotations

import contextlib
import dataclasses
import re

import numpy as np
import pytest

from raymaskdp.audit import real_loop
from raymaskdp.audit.faults import FAULTS, counted_twice
from raymaskdp.audit.real_loop import audit_loop, reference_at, train_on
from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.privacy.audit import (
    CanaryRecords,
    audit,
    beyond_curve,
    curve_allows,
    most_right,
    run_plan,
)
from raymaskdp.privacy.prices.tradeoff import tradeoff
from raymaskdp.train import loop
from raymaskdp.train.run import setup

KEY = Key(secret=bytes(range(32)))
STEPS = 60
SAYS = {
    "no noise": "prove ε",
    "half the noise": r"noise has 0\.[45]",
    "noise once per worker": r"noise has 1\.[34]",
    "every record counted twice": "reveal",
    "one lot for both branches": "reveal",
    "clipping per clip": "reveal",
    "public views from the composite": "prove ε",
}


@pytest.mark.parametrize("mechanism", ["maskdp", "multiclip", "dpsgd"])
def test_what_a_run_publishes_holds_the_updates_that_the_plan_makes(mechanism) -> None:
    """The releases read from checkpoints are those of a program that follows the plan and no more."""
    plan = reference_at(4, mechanism=mechanism, records=50)
    records = CanaryRecords.make(plan=plan, present_N=np.arange(50) % 3 == 0)
    quiet = dataclasses.replace(plan, noise_multiplier=1e-3, expected_batch=20.0)
    for real, wanted in zip(train_on(records, quiet, KEY), run_plan(records, quiet, KEY), strict=True):
        secrets = slice(50, 100)
        np.testing.assert_allclose(real.private_F[secrets], wanted.private_F[secrets], atol=1e-3)
        if plan.is_masked:
            assert ((real.public_F[:50] > 0) == (wanted.public_F[:50] > 0)).all()
        assert float(real.private_F[secrets].max()) > 0.04  # C / (q N), for those in the lot


@pytest.mark.slow
@pytest.mark.parametrize("clipping", ["flat", "adaptive"])
@pytest.mark.parametrize("mechanism", ["maskdp", "maskdp-full", "multiclip"])
def test_train_as_it_is_passes(mechanism, clipping) -> None:
    plan = dataclasses.replace(reference_at(STEPS, mechanism=mechanism), clipping=clipping)
    report = audit(train_on, plan, runs=1, seed=2)
    assert report.findings == ()
    assert 0.95 < report.noise_over_claimed < 1.05


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_in_train_is_caught(name) -> None:
    fault, mechanism = FAULTS[name]
    before = PrivacyPlan.whole_noise, PrivacyPlan.public_lot, loop.micro_batches, setup.open_inputs
    with fault():
        report = audit(train_on, reference_at(STEPS, mechanism=mechanism), runs=1)
    assert any(re.search(SAYS[name], finding) for finding in report.findings), report
    assert before == (PrivacyPlan.whole_noise, PrivacyPlan.public_lot, loop.micro_batches, setup.open_inputs)


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
def test_counting_twice_is_caught_after_1850_steps_and_nothing_else_is(twice) -> None:
    """A run of eight steps is not enough: noise hides what one step reveals."""
    with counted_twice() if twice else contextlib.nullcontext():
        report = audit(train_on, reference_at(1850), runs=1)
    assert bool(report.findings) == twice, report
    said = ("prove ε", "reveal", "were right")  # and nothing about the amount of noise, which is right
    assert all(any(text in finding for text in said) for finding in report.findings)


def test_the_curve_holds_for_the_best_attack_on_a_gaussian_and_not_for_half_its_noise() -> None:
    """On one Gaussian release: beyond the curve in one case of a hundred, at twice the distance always."""
    plan = PrivacyPlan(
        mechanism="multiclip", num_records=10, expected_batch=10.0, steps=1, delta=1e-5, noise_multiplier=1.0
    )
    curve, rng = tradeoff(plan.event()), np.random.default_rng(0)
    found = {1.0: 0, 2.0: 0}
    for distance in found:
        for _ in range(60):
            present, absent = rng.normal(distance, 1, (800, 1)), rng.normal(0, 1, (800, 1))
            found[distance] += beyond_curve(present, absent, curve) is not None
    assert found[1.0] <= 3
    assert found[2.0] >= 57


def test_right_guesses_hold_for_the_best_attack_on_a_gaussian_and_not_for_a_third_of_its_noise() -> None:
    """The estimator for one run, by simulation: wrong in one case of a hundred at most, and not blind."""
    plan = PrivacyPlan(
        mechanism="multiclip", num_records=10, expected_batch=10.0, steps=1, delta=1e-5, noise_multiplier=1.0
    )
    curve, rng = tradeoff(plan.event()), np.random.default_rng(0)
    found = {1.0: 0, 3.0: 0}
    for distance in found:
        for _ in range(40):
            present = rng.random(1000) < 0.5
            scores = rng.normal(0, 1, (1000, 1)) + distance * present[:, None]
            found[distance] += most_right(scores, present, curve) is not None
    assert found[1.0] <= 2
    assert found[3.0] >= 38
    # All of few coins right is nothing much, and all of many is.
    assert curve_allows(4, 4, canaries=100, curve=curve, chance=0.01)
    assert not curve_allows(100, 100, canaries=100, curve=curve, chance=0.01)


@pytest.mark.slow
def test_the_command_s_audit_is_not_blind(monkeypatch) -> None:
    """A fault that passes as a correct program is reported, and a correct program passes."""
    monkeypatch.setattr(real_loop, "FAULTS", {"nothing at all": (contextlib.nullcontext, "maskdp")})
    plan = reference_at(3, mechanism="multiclip", records=40)
    found = audit_loop(plan, steps=3, seed=0)
    assert [(one.program, one.expected, one.as_expected) for one in found] == [
        ("this run's plan", "holds", True),
        ("a faithful program", "holds", True),
        ("a faithful program", "holds", True),
        ("broken: nothing at all", "caught", False),
    ]
