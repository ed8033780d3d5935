"""The accountants agree with each other, other libraries, and the known figures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, dp_event, rdp
from opacus.accountants import RDPAccountant
from scipy import optimize, stats

from raymaskdp.errors import UserError
from raymaskdp.privacy.prices import crosscheck
from raymaskdp.privacy.prices.accounting import (
    ORDERS,
    SubsampledGaussian,
    calibrate_noise,
    composed_cost,
    cost,
    pld_epsilon,
    rdp_epsilon,
)
from raymaskdp.privacy.prices.accounting import (
    dp_event as event_of,
)
from raymaskdp.privacy.prices.selection import best_of_random, draw_runs

REFERENCE = {"rate": 256 / 9537, "noise_multiplier": 1.2646, "steps": 1850}
GRID = [
    SubsampledGaussian(rate=rate, noise_multiplier=sigma, steps=steps, contribution=contribution)
    for rate, sigma, steps in [
        (0.01, 0.8, 1000),
        (0.1, 2.0, 100),
        (0.3, 1.0, 4),
        (1.0, 6.0, 10),
        (0.02, 5.0, 3000),
    ]
    for contribution in ("one-sided", "two-sided")
]


def test_the_reference_points():
    for contribution, epsilon in (("one-sided", 4.97), ("two-sided", 9.16)):
        event = SubsampledGaussian(**REFERENCE, contribution=contribution)
        assert cost(event, 1e-5).epsilon == pytest.approx(epsilon, abs=0.006)


def test_sharing_one_lot_between_both_branches_would_cost_what_the_specification_says():
    """Were S′ = S, only the plain Gaussian mechanism, over the epochs, could be claimed."""
    plain = SubsampledGaussian(rate=1.0, noise_multiplier=1.2646, steps=50, contribution="one-sided")
    assert cost(plain, 1e-5).epsilon == pytest.approx(38.7, abs=1.5)


@pytest.mark.parametrize("event", GRID, ids=str)
def test_two_libraries_agree(event):
    ours = cost(event, 1e-5)
    assert crosscheck.prv_epsilon(event, 1e-5) == pytest.approx(ours.pld, rel=0.01, abs=0.02)
    assert ours.pld <= ours.rdp
    if event.contribution == "one-sided":
        assert crosscheck.rdp_epsilon(event, 1e-5) == pytest.approx(ours.rdp, rel=0.005)
    else:
        half = SubsampledGaussian(
            rate=event.rate,
            noise_multiplier=event.noise_multiplier,
            steps=event.steps,
            contribution="one-sided",
        )
        assert pld_epsilon(half, 1e-5) <= ours.pld


def test_opacus_gives_the_same_figure():
    accountant = RDPAccountant()
    accountant.history = [(1.2646, 256 / 9537, 1850)]
    event = SubsampledGaussian(**REFERENCE, contribution="one-sided")
    assert rdp_epsilon(event, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-3)


@pytest.mark.parametrize(("contribution", "distance"), [("one-sided", 1.0), ("two-sided", 2.0)])
def test_one_unsampled_step_is_the_gaussian_mechanism(contribution, distance):
    """Balle and Wang 2018, Theorem 8, solved for ε."""
    sigma, delta = 3.0, 1e-5

    def excess(epsilon: float) -> float:
        a, b = distance / (2 * sigma), epsilon * sigma / distance
        return stats.norm.cdf(a - b) - math.exp(epsilon) * stats.norm.cdf(-a - b) - delta

    event = SubsampledGaussian(rate=1.0, noise_multiplier=sigma, steps=1, contribution=contribution)
    assert pld_epsilon(event, delta) == pytest.approx(optimize.brentq(excess, 0, 20), rel=2e-3)


def test_the_two_sided_loss_by_simulation():
    """One step of replace, against the hockey-stick divergence integrated on a grid."""
    q, sigma, delta = 0.3, 0.8, 1e-3
    x = np.linspace(-12, 12, 400001)
    middle, right, left = (stats.norm.pdf(x, mean, sigma) for mean in (0, 1, -1))
    p, r = (1 - q) * middle + q * right, (1 - q) * middle + q * left

    def excess(epsilon: float) -> float:
        return float(np.clip(p - math.exp(epsilon) * r, 0, None).sum() * (x[1] - x[0])) - delta

    event = SubsampledGaussian(rate=q, noise_multiplier=sigma, steps=1, contribution="two-sided")
    truth = optimize.brentq(excess, 0, 20)
    assert pld_epsilon(event, delta) == pytest.approx(truth, rel=2e-3)
    assert rdp_epsilon(event, delta) >= truth


@pytest.mark.parametrize("contribution", ["one-sided", "two-sided"])
@pytest.mark.parametrize("epsilon", [0.5, 5.0])
def test_calibration_meets_the_target_from_below(contribution, epsilon):
    def event(sigma: float) -> SubsampledGaussian:
        return SubsampledGaussian(rate=0.05, noise_multiplier=sigma, steps=200, contribution=contribution)

    sigma = calibrate_noise(event, epsilon=epsilon, delta=1e-5)
    assert 0.995 * epsilon <= cost(event(sigma), 1e-5).epsilon <= epsilon


def test_an_impossible_target_is_refused():
    with pytest.raises(UserError, match="fewer steps"):
        calibrate_noise(
            lambda sigma: SubsampledGaussian(
                rate=1.0, noise_multiplier=sigma, steps=10**9, contribution="one-sided"
            ),
            epsilon=1e-3,
            delta=1e-9,
        )


def test_edges():
    free = SubsampledGaussian(rate=0.5, noise_multiplier=1.0, steps=0, contribution="one-sided")
    bare = SubsampledGaussian(rate=0.5, noise_multiplier=0.0, steps=3, contribution="two-sided")
    assert cost(free, 1e-5).epsilon == 0
    assert cost(bare, 1e-5).epsilon == math.inf
    assert crosscheck.prv_epsilon(free, 1e-5) == 0
    assert crosscheck.prv_epsilon(bare, 1e-5) == math.inf


def test_unsupported_events_are_refused():
    with pytest.raises(UserError, match="contribution"):
        SubsampledGaussian(rate=0.5, noise_multiplier=1.0, steps=1, contribution="both")
    with pytest.raises(UserError, match="rate"):
        SubsampledGaussian(rate=1.5, noise_multiplier=1.0, steps=1, contribution="one-sided")
    with pytest.raises(UserError, match="two-sided"):
        crosscheck.rdp_epsilon(
            SubsampledGaussian(rate=0.5, noise_multiplier=1.0, steps=1, contribution="two-sided"), 1e-5
        )


@pytest.mark.parametrize("runs", [1.0, 4.0, 16.0])
def test_the_best_of_a_random_number_of_runs_costs_what_dp_accounting_says(runs):
    event = SubsampledGaussian(**REFERENCE, contribution="one-sided")
    accountant = rdp.RdpAccountant(ORDERS, NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(dp_event.RepeatAndSelectDpEvent(event_of(event), runs, 1))
    assert best_of_random([event], delta=1e-5, expected_runs=runs) == pytest.approx(
        accountant.get_epsilon(1e-5), rel=0.005
    )


def test_the_bill_of_the_specification():
    """ε = 5 by Rényi divergences, 16 expected runs."""
    event = SubsampledGaussian(rate=256 / 9537, noise_multiplier=1.3286, steps=1850, contribution="one-sided")
    assert rdp_epsilon(event, 1e-5) == pytest.approx(5.0, abs=0.01)
    assert best_of_random([event], delta=1e-5, expected_runs=16) == pytest.approx(9.4, abs=0.05)
    all_runs = dataclasses.replace(event, steps=16 * event.steps)
    assert rdp_epsilon(all_runs, 1e-5) == pytest.approx(26.3, abs=0.1)


def test_a_bill_orders_its_figures():
    event = SubsampledGaussian(rate=0.02, noise_multiplier=1.3, steps=500, contribution="two-sided")
    best = best_of_random([event] * 16, delta=1e-5, expected_runs=16)
    assert cost(event, 1e-5).epsilon < best < composed_cost([event] * 16, 1e-5).epsilon


def test_runs_at_one_epsilon_are_composed_by_what_they_were():
    """15 runs of 20 000 steps and one of 5, all at ε = 2: what one costs says nothing of the others."""
    long, short = (
        SubsampledGaussian(rate=64 / 9537, noise_multiplier=sigma, steps=steps, contribution="one-sided")
        for steps, sigma in ((20_000, 2.0288), (5, 0.5807))
    )
    assert cost(long, 1e-5).epsilon == pytest.approx(2.0, abs=0.005)
    assert cost(short, 1e-5).epsilon == pytest.approx(2.0, abs=0.005)
    found = composed_cost([long] * 15 + [short], 1e-5)
    assert 9.63 <= found.epsilon <= 9.8
    accountant = rdp.RdpAccountant(ORDERS, NeighboringRelation.REPLACE_SPECIAL)
    for event in [long] * 15 + [short]:
        accountant.compose(event_of(event))
    assert found.rdp == pytest.approx(accountant.get_epsilon(1e-5), rel=0.005)
    as_billed_before = cost(dataclasses.replace(short, steps=80), 1e-5).epsilon
    assert as_billed_before < 3.4


@pytest.mark.parametrize("contribution", ["one-sided", "two-sided"])
def test_very_much_noise_costs_next_to_nothing(contribution):
    event = SubsampledGaussian(rate=0.1, noise_multiplier=1e8, steps=100, contribution=contribution)
    assert 0 <= cost(event, 1e-5).epsilon < 1e-4
    assert crosscheck.prv_epsilon(event, 1e-5) < 0.02
    assert 0 <= composed_cost([event, dataclasses.replace(event, rate=0.2)], 1e-5).epsilon < 1e-4


def test_composition_is_never_cheaper_than_its_parts():
    one = SubsampledGaussian(rate=0.02, noise_multiplier=1.3, steps=300, contribution="one-sided")
    two = dataclasses.replace(one, contribution="two-sided", noise_multiplier=2.0)
    both = composed_cost([one, two], 1e-5).epsilon
    as_two_sided = composed_cost([dataclasses.replace(one, contribution="two-sided"), two], 1e-5).epsilon
    assert max(cost(one, 1e-5).epsilon, cost(two, 1e-5).epsilon) < both == as_two_sided
    assert composed_cost([one, one], 1e-5) == cost(dataclasses.replace(one, steps=600), 1e-5)
    assert composed_cost([], 1e-5).epsilon == 0
    assert math.isinf(composed_cost([one, dataclasses.replace(one, noise_multiplier=0.0)], 1e-5).epsilon)


def test_the_number_of_runs_is_geometric():
    generator = np.random.default_rng(0)
    runs = np.array([draw_runs(8.0, generator) for _ in range(4000)])
    assert runs.min() == 1
    assert runs.mean() == pytest.approx(8.0, rel=0.06)
    assert (runs == 1).mean() == pytest.approx(1 / 8, abs=0.02)
