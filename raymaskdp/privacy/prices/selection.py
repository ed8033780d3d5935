"""The cost of choosing among runs that were trained on the same private data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import ORDERS, SubsampledGaussian


@dataclass(frozen=True, kw_only=True)
class SelectionBounds:
    """Upper bounds on ε at one δ for what a sweep may publish of several runs. Infinite: no bound.

    Attributes:
      expected_runs: k, the (expected) number of runs.
      best_of_random: the best of a random, geometrically distributed number of runs with mean k, if
        nothing else is published (Papernot and Steinke 2022, Theorem 2).
      all_runs: all of the runs together, or the best of them.
    """

    expected_runs: float
    best_of_random: float
    all_runs: float


def selection_bounds(
    events: Sequence[SubsampledGaussian],
    *,
    delta: float,
    expected_runs: float,
    before: Sequence[SubsampledGaussian] = (),
) -> SelectionBounds:
    """The cost of having made the runs `events`, private or not, and of having chosen one of them.

    `best_of_random` is of a number of runs with the mean `expected_runs`, each of which costs no more than
    the dearest of `events`. It holds only if the number was really drawn from the geometric distribution,
    `draw_runs`, before the sweep. `before` is what was released of the data before all of them, such
    as the weights that they start from: it is part of every figure, once.
    """
    check.in_range("expected_runs", expected_runs, low=1.0)
    if not events:
        raise UserError("A selection cost needs the events of the runs that were made; there are none.")
    return SelectionBounds(
        expected_runs=expected_runs,
        best_of_random=best_of_random(events, delta=delta, expected_runs=expected_runs, before=before),
        all_runs=accounting.composed_cost([*events, *before], delta).epsilon,
    )


def best_of_random(
    events: Sequence[SubsampledGaussian],
    *,
    delta: float,
    expected_runs: float,
    before: Sequence[SubsampledGaussian] = (),
) -> float:
    """ε of publishing the best of a geometric number of runs, each at most as dear as one of `events`:
    RDP(α) + c + log(k) / (α − 1), with c = 2 min over orders α̂ of (1 − 1/α̂) RDP(α̂) + log(k) / α̂; and of
    what was released `before`, whose divergences are added.
    """
    if any(event.noise_multiplier == 0 and event.steps > 0 for event in (*events, *before)):
        return math.inf
    one = np.max([accounting.divergences(event) for event in set(events)], axis=0)
    log_runs = math.log(expected_runs)
    constant = 2 * np.min((1 - 1 / ORDERS) * one + log_runs / ORDERS)
    earlier = sum((accounting.divergences(event) for event in before), np.zeros_like(one))
    return accounting.convert(one + log_runs / (ORDERS - 1) + constant + earlier, delta)


def draw_runs(expected_runs: float, generator: np.random.Generator) -> int:
    """The number of runs to make: geometric with mean `expected_runs`, at least one."""
    check.in_range("expected_runs", expected_runs, low=1.0)
    return int(generator.geometric(1 / expected_runs))
