"""What it costs to choose among runs that were trained on the same private data."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from raymaskdp import check
from raymaskdp.privacy import accounting
from raymaskdp.privacy.accounting import ORDERS, SubsampledGaussian


@dataclass(frozen=True, kw_only=True)
class SelectionBill:
    """Upper bounds on ε at one δ for the three things that a sweep may publish.

    Attributes:
      expected_runs: k, the (expected) number of runs.
      one_run: a single run, chosen without looking at the data.
      best_of_random: the best of a random, geometrically distributed number of runs with mean k, if
        nothing else is published (Papernot and Steinke 2022, Theorem 2).
      all_runs: all of k runs, or the best of a number that was fixed beforehand.
    """

    expected_runs: float
    one_run: float
    best_of_random: float
    all_runs: float


def selection_bill(event: SubsampledGaussian, *, delta: float, expected_runs: float) -> SelectionBill:
    """The bill of a sweep whose runs all cost what `event` costs (`plan.event()`) or less.

    `best_of_random` holds only if the number of runs was really drawn from the geometric distribution
    with that mean, `draw_runs`, before the sweep began.
    """
    check.in_range("expected_runs", expected_runs, low=1.0)
    composed = dataclasses.replace(event, steps=event.steps * math.ceil(expected_runs))
    return SelectionBill(
        expected_runs=expected_runs,
        one_run=accounting.cost(event, delta).epsilon,
        best_of_random=best_of_random(event, delta=delta, expected_runs=expected_runs),
        all_runs=accounting.cost(composed, delta).epsilon,
    )


def best_of_random(event: SubsampledGaussian, *, delta: float, expected_runs: float) -> float:
    """ε of publishing the best of a geometric number of runs: RDP(α) + c + log(k) / (α − 1), with
    c = 2 min over orders α̂ of (1 − 1/α̂) RDP(α̂) + log(k) / α̂.
    """
    if event.noise_multiplier == 0 and event.steps > 0:
        return math.inf
    one = accounting.divergences(event)
    log_runs = math.log(expected_runs)
    constant = 2 * np.min((1 - 1 / ORDERS) * one + log_runs / ORDERS)
    return accounting.convert(one + log_runs / (ORDERS - 1) + constant, delta)


def draw_runs(expected_runs: float, generator: np.random.Generator) -> int:
    """How many runs to make: geometric with mean `expected_runs`, at least one."""
    check.in_range("expected_runs", expected_runs, low=1.0)
    return int(generator.geometric(1 / expected_runs))
