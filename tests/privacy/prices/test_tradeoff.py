"""The whole curve of a run's promise, against closed forms, the quoted points, and each other."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from raymaskdp.errors import UserError
from raymaskdp.privacy.prices.accounting import SubsampledGaussian, cost
from raymaskdp.privacy.prices.tradeoff import at_deltas, tradeoff

RUN = SubsampledGaussian(rate=0.02, noise_multiplier=1.1, steps=800, contribution="one-sided")


@pytest.mark.parametrize(("noise", "steps"), [(2.0, 1), (5.0, 4), (1.0, 1)])
def test_a_gaussian_mechanism_has_its_closed_form(noise: float, steps: int) -> None:
    """Balle and Wang 2018, Theorem 8; f of Dong et al. 2022: Φ(Φ⁻¹(1 - α) - µ)."""
    curve = tradeoff(
        SubsampledGaussian(rate=1.0, noise_multiplier=noise, steps=steps, contribution="one-sided")
    )
    mu = math.sqrt(steps) / noise
    epsilons, deltas = np.array(curve.epsilons), np.array(curve.deltas)
    exact = norm.cdf(mu / 2 - epsilons / mu) - np.exp(epsilons) * norm.cdf(-mu / 2 - epsilons / mu)
    assert (deltas >= exact - 1e-12).all()
    np.testing.assert_allclose(deltas, exact, rtol=0.02, atol=1e-9)
    for alarms in (0.001, 0.01, 0.05, 0.3, 0.5, 0.9):
        best = norm.cdf(norm.ppf(1 - alarms) - mu)
        assert best - 0.01 <= curve.misses(alarms) <= best + 1e-6


@pytest.mark.parametrize("contribution", ["one-sided", "two-sided"])
def test_the_quoted_pair_lies_on_the_curve(contribution: str) -> None:
    event = dataclasses.replace(RUN, contribution=contribution)
    curve = tradeoff(event)
    for delta in (1e-3, 1e-5, 1e-8):
        both = cost(event, delta)
        for epsilon, deltas in ((both.rdp, curve.deltas_rdp), (both.pld, curve.deltas_pld)):
            if epsilon > curve.epsilons[-1]:
                continue  # a curve goes as far as the better accountant says something
            logs = np.log(np.maximum(deltas, 1e-300))
            assert np.interp(epsilon, curve.epsilons, logs) == pytest.approx(math.log(delta), abs=0.2)
    assert list(curve.deltas) == sorted(curve.deltas, reverse=True)


def test_misses_fall_with_false_alarms_and_guessing_is_no_better_than_chance() -> None:
    curve = tradeoff(RUN)
    alarms_A = np.linspace(0, 1, 101)
    misses = [curve.misses(float(alarms)) for alarms in alarms_A]
    assert misses == sorted(misses, reverse=True)
    assert (np.array(misses) <= 1 - alarms_A + 1e-9).all()
    # A test function of two simple hypotheses is convex.
    assert (np.diff(misses, 2) >= -1e-9).all()
    more = tradeoff(dataclasses.replace(RUN, steps=1600))
    assert more.misses(0.05) < curve.misses(0.05)


def test_epsilon_at_other_deltas_is_that_of_the_accountants() -> None:
    for one in at_deltas(RUN):
        assert one.rdp == cost(RUN, one.delta).rdp
        assert one.pld == cost(RUN, one.delta).pld


def test_a_run_without_noise_has_no_curve_and_one_without_steps_promises_all() -> None:
    with pytest.raises(UserError, match="no curve"):
        tradeoff(dataclasses.replace(RUN, noise_multiplier=0.0))
    little = tradeoff(dataclasses.replace(RUN, noise_multiplier=0.05))
    assert set(little.deltas_pld) == {1.0}  # privacy losses say nothing of so little noise
    assert little.deltas_rdp[-1] < 1e-3
    assert little.misses(0.05) == 0
    assert little.misses(0.0) > 0.99
    nothing = tradeoff(dataclasses.replace(RUN, steps=0))
    assert nothing.misses(0.05) == pytest.approx(0.95)
