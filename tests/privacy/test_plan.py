"""The plan holds together: what cannot be meant is refused, and what is derived follows from its fields."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from raymaskdp import config
from raymaskdp.errors import UserError
from raymaskdp.privacy import PrivacyPlan, changed_clips, commands

BASE = {"num_records": 1000, "expected_batch": 50, "delta": 1e-5, "steps": 100}


@pytest.mark.parametrize(
    ("mechanism", "clips", "weights"),
    [
        ("sgd", 2, (0.5, 0.5)),
        ("dpsgd", 1, (1.0,)),
        ("multiclip", 4, (0.25,) * 4),
        ("maskdp", 2, (0.5, 0.5, -0.5, -0.5)),
        ("maskdp-full", 2, (0.5, 0.5)),
    ],
)
def test_the_weights_of_views(mechanism, clips, weights):
    noise = 0.0 if mechanism == "sgd" else 1.0
    plan = PrivacyPlan(mechanism=mechanism, clips=clips, noise_multiplier=noise, **BASE)
    assert plan.view_weights == weights
    assert plan.num_views == len(weights)


@pytest.mark.parametrize(
    ("mechanism", "adjacency", "sides"),
    [
        ("dpsgd", "add-remove", 1),
        ("dpsgd", "zero-out", 1),
        ("multiclip", "replace", 2),
        ("maskdp", "zero-out", 1),
        ("maskdp", "replace", 2),
        ("maskdp-full", "zero-out", 2),
        ("maskdp-full", "replace", 2),
    ],
)
def test_sensitivity_and_price_follow_mechanism_and_adjacency(mechanism, adjacency, sides):
    plan = PrivacyPlan(
        mechanism=mechanism, adjacency=adjacency, noise_multiplier=1.5, clipping_norm=0.3, **BASE
    )
    assert plan.sensitivity == pytest.approx(0.3 * sides)
    assert plan.noise_std == pytest.approx(0.45 * (1 + 2**-10))  # a thousandth more, for rounding
    assert plan.event().contribution == ("one-sided" if sides == 1 else "two-sided")


def test_nothing_is_promised_without_noise():
    plan = PrivacyPlan(mechanism="sgd", noise_multiplier=0.0, **BASE)
    assert plan.epsilon() == math.inf
    assert plan.sensitivity == math.inf
    assert "Nothing" in plan.guarantee_statement


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mechanism": "dp"}, "mechanism"),
        ({"mechanism": "dpsgd", "clips": 2}, "multiclip"),
        ({"mechanism": "sgd"}, "sgd has no noise"),
        ({"adjacency": "add-remove"}, "which records exist"),
        ({"adjacency": "none"}, "adjacency"),
        ({"expected_batch": 1001}, "expected_batch"),
        ({"expected_batch": 0}, "expected_batch"),
        ({"delta": 1.0}, "delta"),
        ({"clips": 0}, "clips"),
        ({"steps": 0}, "steps"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"clipping_norm": 0.0}, "clipping_norm"),
        ({"clipping": "none"}, "clipping"),
        ({"unit": "frame"}, "unit"),
        ({"public_weight": -1.0}, "public_weight"),
        ({"public_batch": 2000.0}, "public_batch"),
        ({"mechanism": "multiclip", "public_batch": 5.0}, "no public branch"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, says):
    values = BASE | {"mechanism": "maskdp", "noise_multiplier": 1.0} | changes
    with pytest.raises(UserError, match=says):
        PrivacyPlan(**values)


def test_calibration_takes_exactly_one_of_each_pair():
    base = {key: value for key, value in BASE.items() if key != "steps"} | {"mechanism": "maskdp"}
    for extra in (
        {"epsilon": 1.0},
        {"epsilon": 1.0, "steps": 5, "epochs": 1.0},
        {"steps": 5},
        {"steps": 5, "epsilon": 1.0, "noise_multiplier": 1.0},
    ):
        with pytest.raises(UserError, match="and not both"):
            PrivacyPlan.calibrate(**base, **extra)
    plan = PrivacyPlan.calibrate(**base, epochs=3, noise_multiplier=1.0)
    assert plan.steps == 60


def test_a_calibrated_plan_keeps_within_its_target():
    plan = PrivacyPlan.calibrate(mechanism="maskdp", epsilon=2.0, **BASE)
    assert 1.98 <= plan.epsilon() <= 2.0
    assert plan.epsilon(50) < plan.epsilon()


def test_a_plan_survives_a_round_trip_through_plain_values():
    plan = PrivacyPlan(mechanism="maskdp", noise_multiplier=1.25, public_batch=20.0, **BASE)
    assert config.build(PrivacyPlan, config.to_dict(plan), where="test") == plan


def test_a_plan_is_frozen():
    plan = PrivacyPlan(mechanism="maskdp", noise_multiplier=1.25, **BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.noise_multiplier = 0.1  # type: ignore[misc]


def test_the_public_branch_is_scaled_by_its_expected_batch():
    plan = PrivacyPlan(mechanism="maskdp", noise_multiplier=1.0, public_batch=20.0, public_weight=0.5, **BASE)
    assert plan.public_scale == pytest.approx(0.5 / 20)
    assert PrivacyPlan(mechanism="multiclip", noise_multiplier=1.0, **BASE).public_scale == 0


def test_the_price_of_a_plan():
    settings = {
        "mechanism": "maskdp",
        "num_records": 9537,
        "expected_batch": 256,
        "epochs": 50,
        "delta": 1e-5,
    }
    price = commands.price(PrivacyPlan.calibrate(noise_multiplier=1.2646, **settings))
    assert price.epsilon == pytest.approx(4.97, abs=0.006)
    assert price.steps == 1850
    assert "4.97" in str(price)
    wanted = commands.price(PrivacyPlan.calibrate(epsilon=price.epsilon, **settings))
    assert wanted.noise_multiplier == pytest.approx(1.2646, rel=2e-3)
    assert commands.price(PrivacyPlan.calibrate(noise_multiplier=0.0, **settings)).epsilon is None


def test_changed_clips_sees_every_difference():
    clips = torch.zeros(2, 3, 4, 5)
    public = clips.clone()
    clips[0, 1, 2, 3] = 1e-30
    clips[1, 0, 0, 0] = torch.nan
    assert changed_clips(clips, public).tolist() == [[False, True, False], [True, False, False]]


def test_a_delta_that_allows_to_publish_a_record_is_warned_of():
    values = {"mechanism": "maskdp", "num_records": 93, "expected_batch": 10.0, "steps": 5, "delta": 0.05}
    plan = PrivacyPlan(**values, noise_multiplier=1.0)
    assert "delta is 0.05, but with 93 records it should be below 0.011" in plan.warnings[0]
    assert "Warning: delta is 0.05" in str(commands.price(plan))
    assert dataclasses.replace(plan, delta=0.01).warnings == ()


@pytest.mark.parametrize("clipping", ["flat", "automatic", "per-layer"])
@pytest.mark.parametrize(
    ("adjacency", "moves"), [("zero-out", "at most 0.5"), ("replace", "at most twice 0.5")]
)
def test_the_statement_says_how_far_one_record_moves_a_sum(clipping, adjacency, moves):
    plan = PrivacyPlan(
        mechanism="maskdp", num_records=93, expected_batch=10.0, steps=5, delta=1e-3, noise_multiplier=1.0,
        clipping_norm=0.5, clipping=clipping, adjacency=adjacency,
    )  # fmt: skip
    assert moves in plan.guarantee_statement
    assert plan.sensitivity == (0.5 if adjacency == "zero-out" else 1.0)
    assert {"flat": "as a whole", "automatic": "to nearly", "per-layer": "layer by layer"}[
        clipping
    ] in plan.guarantee_statement
