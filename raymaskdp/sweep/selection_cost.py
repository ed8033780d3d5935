"""The cost of a sweep: the price of one run, and of choosing it among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymaskdp.check import finite_or_none
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.prices.composition import compose
from raymaskdp.privacy.prices.selection import best_of_random
from raymaskdp.sweep.config import Tuning


@dataclass(frozen=True, kw_only=True)
class SelectionCost:
    """Upper bounds on ε at `delta` for publishing parts of a sweep. None if there is no guarantee.

    Attributes:
      runs: number of private runs, at any ε, with all seeds, including stopped and failed ones. If their
        number is random, its expectation, because the drawn number must not be published.
      not_private: trials without noise.
      one_run: the chosen run, if it was picked without using the private data.
      best_of_random: the best run, if the number of runs was random (geometric, mean `runs`) and nothing else
        is published (Papernot and Steinke 2022).
      all_runs: all private runs together, or the best of them by scores of others than the training videos:
        the composition of their releases, whatever the ε of each.
      tuning: how the choice was paid for.
      about: what the figures of several runs are about, if these protect different things
        (`raymaskdp.privacy.prices.composition`).
      scored_on: what the scores have in common with the training videos, which no ε covers then; None if they
        are of other people.
    """

    runs: int
    not_private: int = 0
    delta: float | None
    one_run: float | None
    best_of_random: float | None
    all_runs: float | None
    tuning: Tuning = "none"
    about: str | None = None
    scored_on: str | None = None

    def __str__(self) -> str:
        if self.one_run is None:
            return " ".join(["No private run was chosen, so there is no selection cost.", *self.warnings])
        prices = {"one_run": self.one_run, "best_of_random": self.best_of_random, "all_runs": self.all_runs}
        lines = [f"  {_number(prices[name])}  {text}" for name, text in ways(self).items()]
        return "\n".join([f"The selection cost, ε at δ = {self.delta:g}:", *lines, self.verdict])

    @property
    def verdict(self) -> str:
        """What may be published, and at which price."""
        return " ".join([VERDICTS[self.tuning], *self.warnings])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the figures do not cover, or are about; a sentence each."""
        if self.tuning == "public":
            return ()
        about = (
            "The trials, and the runs that their initial weights come from, differ in mechanism, unit or "
            f"adjacency, so ε of several of these runs is about {self.about}, which all of them bound at "
            "twice the contribution.",
        )
        without = (
            f"{self.not_private} of the trials had no privacy: no ε covers their models, nor the table and "
            "the plots, which show their scores. Publish only the folders of private runs.",
        )
        scored = (
            f"{self.scored_on}, so scores tell about training videos without noise: no ε covers the choice, "
            "nor the table and the plots, nor runs that Optuna or early stopping led by them. Publish only "
            "the folders of all other private runs, or of one that was picked without scores.",
        )
        return (
            (about if self.about else ())
            + (scored if self.scored_on else ())
            + (without if self.not_private else ())
        )


VERDICTS: dict[Tuning, str] = {
    "none": (
        "The choice was not paid for: the ε of the chosen run alone does not cover it. "
        "Publishing parts of several runs, at whatever ε, costs as much as all of them."
    ),
    "papernot-steinke": (
        "The choice is paid for if only the best run is published: not the table, the plots, the other "
        "runs, nor how many there were."
    ),
    "public": "All data here are declared public, so the choice cost nothing.",
}
"""The statement that each way of tuning permits."""


def ways(cost: SelectionCost) -> dict[str, str]:
    """Descriptions of the relevant figures of a `SelectionCost`, by field, in the order of display."""
    one = "one run, picked without using private data"
    if cost.tuning == "public":
        return {"one_run": "one run with these settings, on as many private records"}
    if cost.tuning == "papernot-steinke":
        return {
            "one_run": one,
            "best_of_random": f"best of a random number of runs, {cost.runs} on average, as here",
        }
    if cost.scored_on:
        return {"one_run": one, "all_runs": f"all {cost.runs} private runs together"}
    return {
        "one_run": one,
        "best_of_random": f"best of a random number of runs, {cost.runs} on average",
        "all_runs": f"all {cost.runs} private runs together, or their best, as done here",
    }


NOTHING = SelectionCost(runs=0, delta=None, one_run=None, best_of_random=None, all_runs=None)


def selection_cost(
    chosen: PrivacyPlan,
    made: Sequence[PrivacyPlan],
    *,
    possible: Sequence[PrivacyPlan] = (),
    before: Sequence[PrivacyPlan] = (),
    expected_runs: int | None = None,
    tuning: Tuning = "none",
    scored_on: str | None = None,
) -> SelectionCost:
    """The selection cost of a sweep that chose a run with the plan `chosen`.

    Args:
      made: of every trial, the chosen one included.
      possible: what else a trial could have been, where trials were drawn at random. The best of a random
        number of runs costs as much as if all of these were among them, whatever was drawn.
      before: of the runs on the data that the trials' initial weights come from.
      expected_runs: how many runs there were on average, where their number was drawn at random.
      tuning, scored_on: of the result.
    """
    private = [plan for plan in made if plan.noise_multiplier > 0] or [chosen]
    runs = expected_runs or len(private)
    together, drawn = compose([*private, *before]), compose([*private, *possible, *before])
    trials = len(private) + len(possible)
    one = compose([chosen, *before])
    best = best_of_random(
        drawn.events[:trials], delta=chosen.delta, expected_runs=runs, before=drawn.events[trials:]
    )
    return SelectionCost(
        runs=runs,
        not_private=sum(plan.noise_multiplier == 0 for plan in made),
        delta=chosen.delta,
        one_run=finite_or_none(one.cost(chosen.delta).epsilon),
        best_of_random=finite_or_none(best),
        all_runs=finite_or_none(together.cost(chosen.delta).epsilon),
        tuning=tuning,
        about=drawn.about,
        scored_on=None if tuning == "public" else scored_on,
    )


def _number(epsilon: float | None) -> str:
    return "     ∞" if epsilon is None else f"{epsilon:6.3g}"
