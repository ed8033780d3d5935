"""What a sweep costs: the price of one run, and of having chosen it among others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.selection import selection_bill

Tuning = Literal["none", "papernot-steinke", "public"]


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Upper bounds on ε at `delta` for what may be published of a sweep. None where nothing is promised.

    Attributes:
      runs: the private runs that the best was chosen among, all at its ε, with all seeds, and those that
        were stopped or failed. Their expected number where it was drawn at random, since the drawn one must
        not be published.
      one_run: one run, had it been picked without looking at the private data.
      best_of_random: the best run, had the number of runs been drawn at random (geometric, mean `runs`)
        and nothing else been published (Papernot and Steinke 2022).
      all_runs: all of them, or the best of a number of runs that was fixed beforehand.
      tuning: how the choice was paid for.
    """

    runs: int
    delta: float | None
    one_run: float | None
    best_of_random: float | None
    all_runs: float | None
    tuning: Tuning = "none"

    def __str__(self) -> str:
        if self.one_run is None:
            return "No private run was chosen, so there is no bill."
        prices = {"one_run": self.one_run, "best_of_random": self.best_of_random, "all_runs": self.all_runs}
        lines = [f"  {_number(prices[name])}  {text}" for name, text in ways(self.tuning, self.runs).items()]
        return "\n".join([f"The bill, ε at δ = {self.delta:g}:", *lines, VERDICTS[self.tuning]])


VERDICTS: dict[Tuning, str] = {
    "none": (
        "The choice was not paid for: the ε of the chosen run alone does not cover it. "
        "Points at different ε are counterfactuals: publishing several of them costs more."
    ),
    "papernot-steinke": (
        "The choice is paid for if only the best run is published: not the table, the plots, the other "
        "runs, nor how many there were."
    ),
    "public": "All data here are declared public, so the choice cost nothing.",
}
"""What each way of tuning lets one say."""


def ways(tuning: Tuning, runs: int) -> dict[str, str]:
    """What the prices of a bill that matter are for, by the bill's fields, in the order to show them."""
    one = "one run, picked without looking at private data"
    if tuning == "public":
        return {"one_run": "one run with these settings, on as many private records"}
    if tuning == "papernot-steinke":
        return {
            "one_run": one,
            "best_of_random": f"best of a random number of runs, {runs} on average, as here",
        }
    return {
        "one_run": one,
        "best_of_random": f"best of a random number of runs, {runs} on average",
        "all_runs": f"all {runs} runs at this ε, or their best, as done here",
    }


NOTHING = Bill(runs=0, delta=None, one_run=None, best_of_random=None, all_runs=None)


def make_bill(chosen: PrivacyPlan, runs: int, tuning: Tuning = "none") -> Bill:
    """The bill for publishing the best of `runs` ≥ 1 runs that cost what `chosen` costs."""
    bill = selection_bill(chosen.event(), delta=chosen.delta, expected_runs=runs)
    return Bill(
        runs=runs,
        delta=chosen.delta,
        one_run=_finite(bill.one_run),
        best_of_random=_finite(bill.best_of_random),
        all_runs=_finite(bill.all_runs),
        tuning=tuning,
    )


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _number(epsilon: float | None) -> str:
    return "     ∞" if epsilon is None else f"{epsilon:6.3g}"
