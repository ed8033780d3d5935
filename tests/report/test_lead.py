"""What a report says first: the accuracy of the trained model at its ε, and how well that is known."""

import pytest
from scipy.stats import binom

from raymaskdp.report.report import _cards
from raymaskdp.report.summary import verdict
from raymaskdp.report.trainings import Fact, Run, Sweep, _cost_rows, _known
from raymaskdp.sweep.selection_cost import SelectionCost

MODEL = Run(
    name="runs/one",
    private=True,
    tested="The model one has accuracy 78% on 32 test videos, at ε = 2.",
    sentence="Trained with maskdp.",
    plot="",
    tradeoff=None,
    facts=(),
    headline=(Fact(name="accuracy of the trained model, at ε = 2", value="78%"),),
)
SWEEP = Sweep(
    name="sweep",
    sentence="",
    plot="",
    parallel=None,
    columns=(),
    rows=(),
    selection_cost=(),
    headline=(Fact(name="accuracy, MaskDP at ε = 0.25", value="54%"),),
)


def test_the_trained_model_comes_before_trials_of_a_sweep() -> None:
    assert [card.value for card in _cards([], [SWEEP], [MODEL])] == ["78%"]
    assert [card.value for card in _cards([], [SWEEP], [])] == ["54%"]


def test_what_is_not_known_is_said_with_it() -> None:
    both = verdict([], [MODEL], [SWEEP], [])
    assert both.measured[0] == MODEL.tested
    assert "does not show which mechanism is best" in both.remains[0]
    assert "does not show which mechanism is best" not in " ".join(verdict([], [MODEL], [], []).remains)


@pytest.mark.parametrize(("score", "videos"), [(0.78125, 32), (1.0, 20), (0.5, 400)])
def test_the_interval_holds_what_could_have_given_the_score(score: float, videos: int) -> None:
    said = _known({"metric": "top1", "score": score, "videos": videos})
    low, high = (int(part.rstrip("%")) / 100 for part in said.split("give ")[1].split(" (")[0].split(" to "))
    assert low < score <= high
    right = round(score * videos)
    # By the binomial distribution itself: outside it, so high or so low a count is rare.
    assert binom.sf(right - 1, videos, low - 0.02) < 0.035
    assert high == 1 or binom.cdf(right, videos, high + 0.02) < 0.035


def test_an_auroc_has_no_interval_of_a_share() -> None:
    assert _known({"metric": "auroc", "score": 0.8, "videos": 30}) == ""


@pytest.mark.parametrize(
    ("changes", "unprotected"),
    [({}, False), ({"not_private": 3}, True), ({"about": "tokens"}, False), ({"tuning": "public"}, False)],
)
def test_trials_without_privacy_have_no_epsilon_and_others_have(
    changes: dict[str, object], unprotected: bool
) -> None:
    cost = SelectionCost(runs=4, delta=1e-5, one_run=2.0, best_of_random=6.5, all_runs=None, **changes)
    rows = {fact.name: fact.value for fact in _cost_rows(cost)}
    assert ("table, plots, and runs without privacy" in rows) == unprotected
    assert rows.get("table, plots, and runs without privacy", "no ε at all") == "no ε at all"
    assert "ε = 2" in rows.values()
    assert ("∞" in rows.values()) == (cost.tuning != "public")  # all runs together have no bound here
