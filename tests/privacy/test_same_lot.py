"""A counter-example that is kept: public gradients of the private lot itself, under the price of sampling.

Code of the family of Feature DP (Mahloujifar et al., arXiv 2506.19836) adds the gradients of what is public
about the records of a lot, without noise, to the noisy sum over the same lot, and accounts for Poisson
sampling. The public gradients show who is in the lot, so sampling hides nobody, and that price is wrong. Ours
are of a lot of their own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.privacy.audit import CanaryRecords, Release, audit, run_plan
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import SubsampledGaussian

PLAN = PrivacyPlan(
    mechanism="maskdp", num_records=400, expected_batch=20.0, clips=2, steps=8, delta=1e-5,
    noise_multiplier=0.7,
)  # fmt: skip


class SameLot(PrivacyPlan):
    """S′ = S."""

    def public_lot(self, key: Key, step: int) -> np.ndarray:
        return self.lot(key, step)


def added_up(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """One vector a step is seen, (Σ clipped residuals + noise) / (qN) + λ Σ public gradients / (q′N).

    Public gradients are not clipped, and are large here. They are read off the sum itself.
    """
    releases = []
    for one in run_plan(records, plan, key):
        seen = one.private_F + plan.public_scale * 1e3 * one.public_F
        marks = (seen[: plan.num_records] > plan.public_scale * 500).float()
        rest = torch.zeros(len(seen) - plan.num_records)
        releases.append(dataclasses.replace(one, private_F=seen, public_F=torch.cat([marks, rest])))
    return releases


def same_lot(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    return added_up(records, SameLot(**dataclasses.asdict(plan)), key)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_who_sees_sums_with_public_gradients_of_the_lot_learns_more_than_is_claimed(seed) -> None:
    report = audit(same_lot, PLAN, seed=seed)
    assert report.epsilon_at_least > report.claimed_epsilon + 0.3
    assert any("prove ε" in finding for finding in report.findings)
    # It keeps the price without sampling, for as many steps as a record can be in.
    without = dataclasses.replace(PLAN, expected_batch=400.0)
    assert report.epsilon_at_least < accounting.cost(without.event(), report.delta).epsilon


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_independent_public_lot_passes_the_same_attack(seed) -> None:
    report = audit(added_up, PLAN, seed=seed)
    assert report.findings == ()
    assert report.epsilon_at_least <= report.claimed_epsilon


def delta_of(epsilon: float, steps: np.ndarray, chances: np.ndarray, noise: float) -> float:
    """δ at ε where everybody sees in how many steps a record is, all Gaussian (Balle and Wang 2018)."""
    apart = np.sqrt(np.maximum(steps, 1e-12)) / noise
    missed = np.exp(epsilon + stats.norm.logcdf(-apart / 2 - epsilon / apart))
    return float((chances * (stats.norm.cdf(apart / 2 - epsilon / apart) - missed)).sum())


def test_the_exact_test_of_one_record_beats_the_claimed_curve() -> None:
    """No estimate: the probability of being right, in closed form, of who sees both parts of every step.

    In the steps whose public gradient shows the record (a binomial number n of them) its residual adds up to
    n C under noise of σ C √n: with n known, that is a test between two Gaussians √n / σ apart.
    """
    claimed = SubsampledGaussian(rate=0.02, noise_multiplier=1.0, steps=200, contribution="one-sided")
    epsilon, accountant = 2.0, accounting.composed_accountant(claimed)
    assert accountant is not None
    counts = np.arange(201)
    true_delta = delta_of(epsilon, counts, stats.binom.pmf(counts, 200, 0.02), claimed.noise_multiplier)
    assert true_delta > 3 * float(accountant.get_delta(epsilon))


def test_the_figures_of_the_specification() -> None:
    """q = 256/9537, 50 epochs, σ = 1.2646, δ = 1e-5: ε = 4.97 as it is, 38.7 or 43.0 if the lots were one.

    38.7 for a record that is in a step an epoch, 43.0 over the binomial number of steps.
    """
    plan = PrivacyPlan.calibrate(
        mechanism="maskdp", num_records=9537, expected_batch=256, clips=4, epochs=50, delta=1e-5,
        noise_multiplier=1.2646,
    )  # fmt: skip
    assert plan.epsilon() == pytest.approx(4.97, abs=0.01)
    counts = np.arange(plan.steps + 1)
    drawn = stats.binom.pmf(counts, plan.steps, plan.rate)
    assert delta_of(4.97, counts, drawn, plan.noise_multiplier) > 0.5  # where 1e-5 is claimed
    for steps, chances, epsilon in ((np.array([50.0]), np.ones(1), 38.7), (counts, drawn, 43.0)):
        assert delta_of(epsilon - 0.1, steps, chances, plan.noise_multiplier) > plan.delta
        assert delta_of(epsilon + 0.1, steps, chances, plan.noise_multiplier) < plan.delta
