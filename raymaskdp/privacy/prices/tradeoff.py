"""The whole privacy curve of a run: δ for every ε, and the trade-off curve of the best test.

A mechanism is (ε, δ)-private for a whole curve of pairs; a quoted pair is one of them. The same curve says
how well two adjacent data sets can be distinguished: a test that is wrong about one in a share α of cases is
wrong about the other in a share of f(α) at least (Dong, Roth and Su 2022, "Gaussian differential privacy",
Proposition 2.12). All figures are upper bounds on δ, and so lower bounds on f.

Shape suffixes: E values of ε, A values of α.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp import check
from raymaskdp.check import finite_or_none
from raymaskdp.errors import UserError
from raymaskdp.privacy.prices.accounting import (
    ORDERS,
    SubsampledGaussian,
    composed_accountant,
    cost,
    divergences,
)

POINTS = 60
"""Values of ε of a curve."""

SMALLEST_DELTA = 1e-10
"""A curve ends at the ε of this δ; below it numerical accounting gives mostly its own error."""


DELTAS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
"""At which ε is printed."""

FALSE_ALARMS = 0.05
"""Allowed share of errors of a test for records that were not in the data, where one is given."""


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """The curve of one event.

    Attributes:
      epsilons: from 0 on, ascending.
      deltas_rdp, deltas_pld: upper bounds on δ at each, by Rényi divergences and by privacy losses.
    """

    epsilons: tuple[float, ...]
    deltas_rdp: tuple[float, ...]
    deltas_pld: tuple[float, ...]

    @property
    def deltas(self) -> tuple[float, ...]:
        """The smaller of both at each ε."""
        return tuple(map(min, self.deltas_rdp, self.deltas_pld))

    def misses(self, false_alarms: float) -> float:
        """Smallest share of records missed by a test with this share of false alarms.

        Args:
          false_alarms: α in [0, 1].
        """
        check.in_range("false_alarms", false_alarms, low=0.0, high=1.0)
        epsilon_E, delta_E = np.array(self.epsilons), np.array(self.deltas)
        with np.errstate(divide="ignore", over="ignore"):  # e to the power of ε may be beyond a float
            steep_E = 1 - delta_E - np.exp(epsilon_E + np.log(false_alarms))
        flat_E = np.exp(-epsilon_E) * (1 - delta_E - false_alarms)
        return float(max(0.0, steep_E.max(), flat_E.max()))


@dataclass(frozen=True, kw_only=True)
class Priced:
    """ε at one δ, by both accountants; None for infinite."""

    delta: float
    rdp: float | None
    pld: float | None


def at_deltas(event: SubsampledGaussian, deltas: Sequence[float] = DELTAS) -> tuple[Priced, ...]:
    """ε of an event at several δ, by both accountants."""
    costs = [(delta, cost(event, delta)) for delta in deltas]
    return tuple(
        Priced(delta=delta, rdp=finite_or_none(both.rdp), pld=finite_or_none(both.pld))
        for delta, both in costs
    )


@functools.lru_cache(maxsize=64)
def tradeoff(event: SubsampledGaussian) -> Tradeoff:
    """The curve of an event with noise; raises `UserError` for one without.

    With too little noise for meaningful privacy losses, their bound on δ is 1.
    """
    largest = cost(event, SMALLEST_DELTA).epsilon
    if not math.isfinite(largest):
        raise UserError("There is no curve of δ against ε for a run without noise.")
    epsilon_E = np.linspace(0.0, max(largest, 1e-3), POINTS)
    accountant = composed_accountant(event)
    delta_E = np.ones(POINTS) * (event.steps > 0)
    if accountant is not None:
        delta_E = np.clip([accountant.get_delta(float(epsilon)) for epsilon in epsilon_E], 0, 1)
    return Tradeoff(
        epsilons=tuple(epsilon_E.tolist()),
        deltas_rdp=tuple(_delta_of_divergences(event, float(epsilon)) for epsilon in epsilon_E),
        deltas_pld=tuple(np.asarray(delta_E, np.float64).tolist()),
    )


def _delta_of_divergences(event: SubsampledGaussian, epsilon: float) -> float:
    """The conversion of Balle et al. 2020 solved for δ, at the best order."""
    if event.steps == 0:
        return 0.0
    order, bound = ORDERS, divergences(event)
    log_delta = (order - 1) * (bound - epsilon + np.log1p(-1 / order)) - np.log(order)
    return math.exp(min(0.0, float(np.min(log_delta))))
