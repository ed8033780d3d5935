"""The cost of choosing among runs that were trained on the same private data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import ORDERS, SubsampledGaussian


def best_of_random(
    events: Sequence[SubsampledGaussian],
    *,
    delta: float,
    expected_runs: float,
    before: Sequence[SubsampledGaussian] = (),
) -> float:
    """ε at `delta` of publishing the best of a random number of runs, and nothing else; infinite: no bound.

    The number must have been drawn from the geometric distribution with the mean k = `expected_runs`,
    `draw_runs`, before the sweep, and each run must be at most as dear as one of `events`. With RDP of order
    α, ε is RDP(α) + c + log(k) / (α − 1), where c = 2 min over orders α̂ of (1 − 1/α̂) RDP(α̂) + log(k) / α̂
    (Papernot and Steinke 2022, Theorem 2). `before` is what was released of the data before all of the runs,
    such as the weights that they start from; its divergences are added once.
    """
    check.in_range("expected_runs", expected_runs, low=1.0)
    if not events:
        raise UserError("A selection cost needs the events of the runs that were made; there are none.")
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
