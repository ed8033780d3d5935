"""Noise and lots have the stated distribution, and are functions of the key."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.zoo import build, losses_of

from raymaskdp.errors import UserError
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan, share

KEY = Key(secret=bytes(range(32)))
OTHER = Key(secret=bytes(range(1, 33)))


def plan_with(**changes) -> PrivacyPlan:
    values = {
        "mechanism": "maskdp",
        "num_records": 40,
        "expected_batch": 8.0,
        "steps": 2000,
        "delta": 1e-5,
        "noise_multiplier": 1.5,
        "clipping_norm": 0.4,
    }
    return PrivacyPlan(**(values | changes))


def test_noise_is_normal_with_the_stated_standard_deviation():
    plan = plan_with()
    noise = plan.noise(KEY, 0, {"a": (200, 300)})["a"].double().numpy().ravel()
    assert plan.noise_std == pytest.approx(1.5 * 0.4 * (1 + 2**-10))  # a thousandth more, for rounding
    assert stats.kstest(noise / plan.noise_std, "norm").pvalue > 1e-3
    assert abs(noise.mean()) < 5 * plan.noise_std / math.sqrt(noise.size)
    assert noise.std() == pytest.approx(plan.noise_std, rel=0.02)


def test_noise_is_independent_over_parameters_steps_and_keys():
    plan = plan_with()
    draws = [
        plan.noise(KEY, 0, {"a": (20000,), "b": (20000,)}),
        plan.noise(KEY, 1, {"a": (20000,), "b": (20000,)}),
        plan.noise(OTHER, 0, {"a": (20000,), "b": (20000,)}),
    ]
    rows = np.array([draw[name].numpy() for draw in draws for name in ("a", "b")])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / math.sqrt(20000)


def test_noise_of_a_parameter_does_not_depend_on_the_others():
    plan = plan_with()
    alone = plan.noise(KEY, 3, {"b": (5,)})["b"]
    assert torch.equal(alone, plan.noise(KEY, 3, {"a": (7,), "b": (5,)})["b"])


def test_inclusion_is_bernoulli_and_independent():
    plan = plan_with()
    inside = np.zeros((plan.steps, plan.num_records))
    for step in range(plan.steps):
        lot = plan.lot(KEY, step)
        assert np.array_equal(lot, np.unique(lot))
        inside[step, lot] = 1
    rate, count = plan.rate, inside.size
    assert abs(inside.mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / count)
    sizes = inside.sum(1)
    expected = stats.binom.pmf(np.arange(41), 40, rate) * plan.steps
    bins = expected > 5
    observed = np.array([(sizes == size).sum() for size in range(41)])[bins]
    scaled = expected[bins] * observed.sum() / expected[bins].sum()
    assert stats.chisquare(observed, scaled).pvalue > 1e-3
    records = np.corrcoef(inside.T) - np.eye(plan.num_records)
    assert np.abs(records).max() < 5.5 / math.sqrt(plan.steps)
    following = np.corrcoef(inside[:-1].ravel(), inside[1:].ravel())[0, 1]
    assert abs(following) < 5 / math.sqrt(count)


def test_the_public_lot_is_independent_of_the_private_one():
    plan = plan_with()
    both = np.zeros((2, plan.steps, plan.num_records))
    for step in range(plan.steps):
        both[0, step, plan.lot(KEY, step)] = 1
        both[1, step, plan.public_lot(KEY, step)] = 1
    assert abs(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 5 / math.sqrt(both[0].size)
    assert both[1].mean() == pytest.approx(plan.rate, rel=0.05)


def test_lots_may_be_empty():
    plan = plan_with(expected_batch=0.5)
    sizes = [len(plan.lot(KEY, step)) for step in range(200)]
    assert sizes.count(0) == pytest.approx(200 * math.exp(-0.5), rel=0.2)


def test_lots_and_noise_depend_on_key_and_step_only():
    plan = plan_with()
    assert np.array_equal(plan.lot(KEY, 7), plan.lot(Key(secret=KEY.secret), 7))
    assert any(not np.array_equal(plan.lot(KEY, step), plan.lot(OTHER, step)) for step in range(5))
    assert any(not np.array_equal(plan.lot(KEY, step), plan.lot(KEY, step + 1)) for step in range(5))


@given(size=st.integers(0, 30), workers=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_shares_make_up_the_lot(size, workers):
    lot = np.sort(np.random.default_rng(0).choice(100, size=size, replace=False))
    shares = [share(lot, rank, workers) for rank in range(workers)]
    assert np.array_equal(np.sort(np.concatenate(shares)), lot)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def updates(plan: PrivacyPlan, workers: int, start: int = 0, state: dict | None = None) -> list[dict]:
    """The states of a small model after every step of training with some number of workers."""
    model, shape = build("tokens", 0)
    if state is not None:
        model.load_state_dict(state)
    data = torch.randn(
        plan.num_records, plan.num_views, *shape, dtype=torch.float64, generator=torch.manual_seed(1)
    )
    engine = GradientEngine(model, plan)
    states = []
    for step in range(start, plan.steps):
        totals = []
        for rank in range(workers):
            mine = torch.from_numpy(share(plan.lot(KEY, step), rank, workers))
            totals.append(engine.zero_sum())
            if len(mine):
                with engine.record(num_records=len(mine)):
                    labels = (mine % 3).repeat_interleave(plan.num_views)
                    totals[-1] += engine.clipped_sum(losses_of(model, data[mine].flatten(0, 1), labels))
        total = sum(totals[1:], totals[0])
        with torch.no_grad():
            for name, update in plan.private_update(total, KEY, step).items():
                model.get_parameter(name).sub_(0.1 * update)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    return states


SMALL = {"num_records": 6, "expected_batch": 1.5, "clips": 2, "steps": 6}


def test_one_two_and_three_workers_make_the_same_updates():
    plan = plan_with(**SMALL)
    assert {len(plan.lot(KEY, step)) for step in range(6)} & {0, 1}  # shares are empty at times
    alone = updates(plan, 1)
    for workers in (2, 3):
        for one, many in zip(alone, updates(plan, workers), strict=True):
            for name in one:
                torch.testing.assert_close(many[name], one[name], rtol=1e-12, atol=1e-12)


def test_resuming_at_any_step_equals_an_uninterrupted_run():
    plan = plan_with(**SMALL)
    whole = updates(plan, 1)
    for done in range(1, plan.steps):
        resumed = updates(plan, 1, start=done, state=whole[done - 1])
        for one, other in zip(whole[done:], resumed, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_noise_enters_once_and_the_divisor_is_the_expected_batch():
    plan = plan_with()
    nothing = ClippedSum({"a": torch.zeros(50000)})
    update = plan.private_update(nothing, KEY, 0)["a"]
    assert float(update.std()) == pytest.approx(plan.noise_std / plan.expected_batch, rel=0.03)
    something = ClippedSum({"a": torch.ones(50000)})
    moved = plan.private_update(something, KEY, 0)["a"] - update
    torch.testing.assert_close(moved, torch.full_like(moved, 1 / plan.expected_batch), rtol=0, atol=1e-6)


def test_the_key_does_not_show_itself_and_must_be_whole(tmp_path):
    key = Key.draw()
    assert key.secret.hex() not in repr(key) + str(key) + key.fingerprint
    assert repr(key.secret) not in repr(key)
    with pytest.raises(UserError, match="32 bytes"):
        Key(secret=b"short")
    path = tmp_path / "key"
    assert Key.load_or_draw(path) == Key.load_or_draw(path)
    assert path.stat().st_mode & 0o077 == 0


def test_streams_with_different_names_or_coordinates_differ():
    streams = [("a",), ("b",), ("a", 1), ("a", 2), ("a", "1"), ("a", 1, 2), ("a", 12)]
    firsts = {KEY.stream(*stream).integers(2**63) for stream in streams}
    assert len(firsts) == len(streams)


def test_steps_beyond_the_budget_are_refused():
    plan = plan_with(steps=3)
    for call in (plan.lot, plan.public_lot):
        with pytest.raises(UserError, match="budget"):
            call(KEY, 3)
    with pytest.raises(UserError, match="budget"):
        plan.noise(KEY, 3, {})
