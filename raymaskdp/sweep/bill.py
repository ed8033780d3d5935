"""What a sweep costs: the price of one run, and of having chosen it among others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.selection import selection_bill


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Upper bounds on ε at `delta` for what may be published of a sweep. None where nothing is promised.

    Attributes:
      runs: the private runs that the best was chosen among, seeds included; all at its ε.
      one_run: one run, had it been picked without looking at the private data.
      best_of_random: the best run, had the number of runs been drawn at random (geometric, mean `runs`)
        and nothing else been published (Papernot and Steinke 2022).
      all_runs: all of them, or the best of a number of runs that was fixed beforehand, as it is here.
    """

    runs: int
    delta: float | None
    one_run: float | None
    best_of_random: float | None
    all_runs: float | None

    def __str__(self) -> str:
        if self.one_run is None:
            return "No private run was chosen, so there is no bill."
        return "\n".join(
            [
                f"The bill, ε at δ = {self.delta:g}:",
                f"  {_number(self.one_run)}  one run, picked without looking at private data",
                f"  {_number(self.best_of_random)}  best of a random number of runs, {self.runs} on average",
                f"  {_number(self.all_runs)}  all {self.runs} runs at this ε, or their best, as done here",
                "Points at different ε are counterfactuals: publishing several of them costs more.",
            ]
        )


NOTHING = Bill(runs=0, delta=None, one_run=None, best_of_random=None, all_runs=None)


def make_bill(chosen: PrivacyPlan, runs: int) -> Bill:
    """The bill for publishing the best of `runs` ≥ 1 runs that cost what `chosen` costs."""
    bill = selection_bill(chosen.event(), delta=chosen.delta, expected_runs=runs)
    return Bill(
        runs=runs,
        delta=chosen.delta,
        one_run=_finite(bill.one_run),
        best_of_random=_finite(bill.best_of_random),
        all_runs=_finite(bill.all_runs),
    )


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _number(epsilon: float | None) -> str:
    return "     ∞" if epsilon is None else f"{epsilon:6.3g}"
