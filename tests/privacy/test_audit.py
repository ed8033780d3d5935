"""The audit finds broken programs, and finds nothing wrong with a right one."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from raymaskdp.errors import UserError
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan, share
from raymaskdp.privacy.audit import (
    CanaryRecords,
    Release,
    audit,
    linear_model,
    losses,
    one_run_bound,
    public_gradient,
    run_plan,
)

PLAN = PrivacyPlan(
    mechanism="maskdp",
    num_records=400,
    expected_batch=20.0,
    clips=2,
    steps=8,
    delta=1e-5,
    noise_multiplier=0.7,
)


def no_noise(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return run_plan(records, dataclasses.replace(plan, noise_multiplier=0.0), key)


def too_little_noise(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return run_plan(records, dataclasses.replace(plan, noise_multiplier=0.6), key)


class SharedLot(PrivacyPlan):
    """S′ = S."""

    def public_lot(self, key, step):
        return self.lot(key, step)


def shared_lot(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return run_plan(records, SharedLot(**dataclasses.asdict(plan)), key)


def public_view_of_the_composite(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return [
        dataclasses.replace(
            release,
            public_F=public_gradient(records.composite_NKTF[torch.from_numpy(plan.public_lot(key, step))]),
        )
        for step, release in enumerate(run_plan(records, plan, key))
    ]


def workers(records: CanaryRecords, plan: PrivacyPlan, key: Key, *, clip_clips: bool, noisy_workers: int):
    """A trainer written by hand, in which two things can be wrong."""
    model = linear_model(records)
    engine = GradientEngine(model, plan)
    releases = []
    for step in range(plan.steps):
        lot = plan.lot(key, step)
        total = engine.zero_sum()
        noise = torch.zeros(1, model.in_features)
        for rank in range(2):
            mine = torch.from_numpy(share(lot, rank, 2))
            # A model that folds clips into the batch in its forward pass is this to Opacus: a record a clip.
            clips = (
                [[k, k + plan.clips] for k in range(plan.clips)]
                if clip_clips
                else [list(range(plan.num_views))]
            )
            views = torch.cat([records.composite_NKTF[mine], records.public_NKTF[mine]], dim=1)
            for which in clips:
                if len(mine):
                    with engine.record(num_records=len(mine), views=len(which)):
                        weights = torch.full((len(mine), len(which) // 2), 2 / len(which))
                        total += engine.clipped_sum(losses(model, views[:, which].flatten(0, 1)), weights)
            if rank < noisy_workers:
                noise += plan.noise(Key(secret=bytes([rank]) + key.secret[1:]), step, {"w": noise.shape})["w"]
        update = (total.gradients["weight"] + noise)[0] / plan.expected_batch
        public = public_gradient(records.public_NKTF[torch.from_numpy(plan.public_lot(key, step))])
        releases.append(Release(private_F=update, public_F=public))
    return releases


def clipped_per_clip(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return workers(records, plan, key, clip_clips=True, noisy_workers=1)


def noise_once_per_worker(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return workers(records, plan, key, clip_clips=False, noisy_workers=2)


def right_by_hand(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return workers(records, plan, key, clip_clips=False, noisy_workers=1)


@pytest.mark.parametrize("program", [run_plan, right_by_hand])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_program_passes(program, seed):
    report = audit(program, PLAN, seed=seed)
    assert report.findings == ()
    assert report.epsilon_at_least <= report.claimed_epsilon


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (no_noise, "prove ε"),
        (too_little_noise, "standard deviation"),
        (shared_lot, "prove ε"),
        (clipped_per_clip, "prove ε"),
        (noise_once_per_worker, r"noise has 1\.4"),
        (public_view_of_the_composite, "prove ε"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_broken_programs_are_caught(program, says, seed):
    report = audit(program, PLAN, seed=seed)
    assert any(re.search(says, finding) for finding in report.findings), report


def favours_even_canaries(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """Tells nothing: noise, and the same large numbers for every second canary, whatever is in it."""
    count = plan.num_records
    private = plan.noise(key, 0, {"w": (2 * count + 64,)})["w"] / plan.expected_batch
    private[count : 2 * count : 2] += 100.0
    return [Release(private_F=private, public_F=torch.zeros(2 * count + 64))] * 3


@pytest.mark.parametrize("seed", range(4))
def test_a_program_that_tells_nothing_proves_nothing(seed):
    report = audit(favours_even_canaries, PLAN, seed=seed)
    assert report.epsilon_at_least < 0.3
    assert not any("prove" in finding for finding in report.findings)


def test_the_bound_of_one_run_by_simulation():
    """Guesses that are as good as pure privacy allows exceed the bound in one case of a hundred."""
    rng = np.random.default_rng(0)
    for epsilon, guesses in ((0.5, 200), (2.0, 100)):
        rate = 1 / (1 + np.exp(-epsilon))
        drawn = rng.binomial(guesses, rate, size=400)
        bounds = {n: one_run_bound(int(n), guesses, canaries=400, delta=0.0) for n in set(drawn.tolist())}
        found = [bounds[right] for right in drawn.tolist()]
        assert np.mean(np.array(found) > epsilon) <= 0.03
        assert max(found) > 0.6 * epsilon
    assert one_run_bound(200, 200, canaries=200, delta=0.0) == pytest.approx(
        -np.log(0.01 ** (-1 / 200) - 1), abs=1e-3
    )
    with_delta = one_run_bound(200, 200, canaries=200, delta=1e-6)
    assert 1 < with_delta < one_run_bound(200, 200, canaries=200, delta=0.0)


def test_the_bound_of_a_right_program_is_not_trivial():
    """Without sampling the attack is the best there is, and proves most of the price."""
    plan = dataclasses.replace(PLAN, expected_batch=400.0, steps=1, noise_multiplier=1.0)
    report = audit(run_plan, plan, runs=64)
    assert 0.4 * report.claimed_epsilon < report.epsilon_at_least <= report.claimed_epsilon


@pytest.mark.parametrize("value", [float("nan"), 1e30, -7.0])
def test_the_public_gradient_is_bit_equal_whatever_the_sensitive_tokens_are(value):
    records = CanaryRecords.make(plan=PLAN, present_N=np.arange(PLAN.num_records) % 2 == 0)
    poisoned = records.composite_NKTF.clone()
    poisoned[:, :, 1] = value
    other = dataclasses.replace(records, composite_NKTF=poisoned)
    key = Key(secret=bytes(32))
    plan = dataclasses.replace(PLAN, steps=3)
    for here, there in zip(run_plan(records, plan, key), run_plan(other, plan, key), strict=True):
        assert torch.equal(here.public_F, there.public_F)
        assert there.private_F.isfinite().all()


def test_whole_records_are_audited_where_nothing_is_masked():
    plan = dataclasses.replace(PLAN, mechanism="multiclip")
    report = audit(run_plan, plan, runs=48)
    assert report.findings == ()
    assert report.epsilon_at_least > 0.15
    assert audit(no_noise, plan).findings


def test_a_plan_that_promises_nothing_is_refused():
    plan = PrivacyPlan(
        mechanism="sgd", num_records=4, expected_batch=1, steps=1, delta=1e-5, noise_multiplier=0.0
    )
    with pytest.raises(UserError, match="has no guarantee"):
        audit(run_plan, plan)


def test_adding_sums_of_different_models_is_refused():
    with pytest.raises(UserError, match="different models"):
        ClippedSum({"a": torch.zeros(1)}) + ClippedSum({"b": torch.zeros(1)})
