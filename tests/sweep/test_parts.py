"""What a sweep is made of: grids, intervals, the plot, the selection cost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.files import MADE, write_json
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.sweep import SweepConfig, frontier, trials
from raymaskdp.sweep.results import plotted, with_present_names
from raymaskdp.sweep.selection_cost import selection_cost
from raymaskdp.train import PrivacyConfig, TrainConfig

TRAIN = TrainConfig(data=Path("clips"), privacy=PrivacyConfig(epsilon=2.0))


def sweep_of(grids, seeds=(0, 1)) -> SweepConfig:
    return SweepConfig(out=Path("out"), train=TRAIN, grids=grids, seeds=seeds)


def test_every_combination_is_a_trial_for_every_seed() -> None:
    found = trials(
        sweep_of({"frontier": {"privacy.mechanism": ("maskdp", "dpsgd"), "privacy.epsilon": (1, 2, 8)}})
    )
    points = {(t.config.privacy.mechanism, t.config.privacy.epsilon, t.config.seed) for t in found}
    assert len(found) == len(points) == 2 * 3 * 2
    assert all(t.config.privacy.clipping_norm == TRAIN.privacy.clipping_norm for t in found)


def test_a_point_of_two_grids_is_trained_once() -> None:
    found = trials(
        sweep_of(
            {
                "frontier": {"privacy.epsilon": (1.0, 2.0)},
                "clipping": {"privacy.clipping_norm": (0.5, 1.0)},
            },
            seeds=(0,),
        )
    )
    assert len(found) == 3
    (shared,) = [t for t in found if len(t.grids) == 2]
    assert shared.grids == ("frontier", "clipping")
    assert (shared.config.privacy.epsilon, shared.config.privacy.clipping_norm) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"privacy.epsilom": (1.0,)}, "Unknown setting 'privacy.epsilom'.*did you mean 'privacy.epsilon'"),
        ({"privacie.epsilon": (1.0,)}, "Unknown setting 'privacie.epsilon' in the grid 'g'"),
        ({"privacy.epsilon": (-1.0,)}, r"privacy\.epsilon must be"),
        ({"scheme": ("everything",)}, "scheme must be one of"),
    ],
)
def test_grids_are_checked_before_anything_runs(grid, message) -> None:
    with pytest.raises(UserError, match=message):
        sweep_of({"g": grid})


def test_sweep_configuration_survives_yaml(tmp_path) -> None:
    sweep = sweep_of({"frontier": {"privacy.epsilon": (1.0, None), "privacy.mechanism": ("sgd",)}})
    (tmp_path / "sweep.yaml").write_text(configuration.to_yaml(sweep))
    assert configuration.load(SweepConfig, tmp_path / "sweep.yaml") == sweep


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = [
        found.low <= 0.5 <= found.high
        for found in (frontier.point(rng.normal(0.5, 0.05, size=3)) for _ in range(2000))
    ]
    assert 0.93 < np.mean(hits) < 0.97
    alone = frontier.point([0.4])
    assert (alone.low, alone.mean, alone.high) == (0.4, 0.4, 0.4)


def results_table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {"status": "done", "mechanism": mechanism, "target_epsilon": epsilon, "score": rng.uniform(0.3, 0.9)}
        for mechanism, epsilons in {"maskdp": (1.0, 2.0), "dpsgd": (1.0, 2.0), "sgd": (None,)}.items()
        for epsilon in epsilons
        for _ in range(3)
    ]
    rows.append({"status": "failed", "mechanism": "maskdp", "target_epsilon": 1.0, "score": None})
    return pd.DataFrame(rows).assign(metric="top1")


def test_frontier_has_every_mechanism_side_by_side(tmp_path) -> None:
    results = results_table()
    curves = frontier.by_mechanism(results)
    assert list(curves) == ["maskdp", "dpsgd", "sgd"]
    assert [epsilon for epsilon, _ in curves["maskdp"]] == [e for e, _ in curves["dpsgd"]] == [1.0, 2.0]
    assert all(len(point.accuracies) == 3 for curve in curves.values() for _, point in curve)
    frontier.draw(results, tmp_path / "frontier", classes=8, caption="A caption.")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "frontier.svg").read_text()
    frontier.draw(results, tmp_path / "again", classes=8, caption="A caption.")
    assert "<svg" in svg
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "frontier.png").read_bytes()


def test_digests_of_scores_are_in_the_private_list(tmp_path: Path) -> None:
    """With a digest anyone could test guesses of a small table."""
    for name, scores in (("settings.json", False), ("results.json", True)):
        write_json(tmp_path / name, {"score": 0.5}, scores=scores)
        write_json(tmp_path / name, {"score": 0.5}, scores=scores)  # known as its own
    assert "settings.json" in (tmp_path / MADE).read_text()
    assert "results.json" not in (tmp_path / MADE).read_text()
    assert "results.json" in (tmp_path / "private" / MADE).read_text()


def test_the_bill_grows_with_what_is_published() -> None:
    plan = PrivacyPlan.calibrate(
        mechanism="maskdp", num_records=1000, expected_batch=50, steps=50, delta=1e-5, noise_multiplier=2.0
    )
    few, many = (selection_cost(plan, [plan] * runs) for runs in (4, 16))
    assert few.one_run == many.one_run == pytest.approx(plan.epsilon())
    assert plan.epsilon() < few.best_of_random < many.best_of_random
    assert plan.epsilon() < few.all_runs < many.all_runs < 16 * plan.epsilon()
    assert all(text in str(many) for text in ("one run", "random number", "all 16 private runs"))


def test_a_plan_without_noise_has_an_infinite_bill() -> None:
    plan = PrivacyPlan.calibrate(
        mechanism="maskdp", num_records=10, expected_batch=5, steps=5, delta=1e-2, noise_multiplier=0.0
    )
    price = selection_cost(plan, [plan] * 2)
    assert price.one_run is price.all_runs is None
    assert math.isinf(plan.epsilon())


def planned(**settings) -> PrivacyPlan:
    common = {"num_records": 9537, "expected_batch": 64, "delta": 1e-5}
    return PrivacyPlan.calibrate(**{"mechanism": "maskdp", **common, **settings})


def test_all_runs_cost_what_each_of_them_released() -> None:
    """Equal ε at one δ is not equal composition: the cheapest-looking run must not stand for the others."""
    long, short = (planned(steps=steps, epsilon=2.0) for steps in (20_000, 5))
    price = selection_cost(short, [*[long] * 15, short])
    assert price.one_run == pytest.approx(2.0, abs=0.01)
    assert price.all_runs >= 9.63
    assert price.best_of_random > selection_cost(short, [short] * 16).best_of_random


def test_runs_at_other_budgets_are_on_the_bill() -> None:
    small, large = planned(steps=500, epsilon=1.0), planned(steps=500, epsilon=8.0)
    assert selection_cost(small, [small, large]).all_runs > 8


def test_weights_to_start_from_are_on_the_bill_once() -> None:
    one, earlier = planned(steps=500, epsilon=1.0), planned(steps=500, epsilon=4.0)
    price = selection_cost(one, [one] * 3, before=[earlier])
    assert 4 < price.one_run < price.best_of_random
    again = selection_cost(one, [one] * 3, before=[earlier] * 2)
    assert price.all_runs < again.all_runs < price.all_runs + 4


def test_a_trial_without_privacy_leaves_table_and_models_uncovered() -> None:
    one = planned(steps=500, epsilon=1.0)
    without = planned(mechanism="sgd", steps=500)
    price = selection_cost(one, [one] * 3 + [without] * 2)
    assert (price.runs, price.not_private) == (3, 2)
    assert price.all_runs == selection_cost(one, [one] * 3).all_runs
    assert "2 of the trials had no privacy: no ε covers their models, nor the table" in str(price)
    assert "no ε covers" not in str(selection_cost(one, [one] * 3))


def test_the_plot_shows_the_frontier_and_the_line_without_privacy(tmp_path: Path) -> None:
    results = pd.DataFrame(
        {
            "grids": ["frontier", "frontier,clipping norm", "not private", "clipping norm"],
            "status": "done",
            "mechanism": ["dpsgd", "maskdp", "sgd", "maskdp"],
            "target_epsilon": [2.0, 2.0, math.nan, 2.0],
            "score": [0.5, 0.6, 0.9, 0.1],
        }
    )
    curves = frontier.by_mechanism(plotted(results))
    assert {name: [point.mean for _, point in curve] for name, curve in curves.items()} == {
        "maskdp": [0.6],
        "dpsgd": [0.5],
        "sgd": [0.9],
    }


def test_a_result_of_an_earlier_version_has_its_selection_cost() -> None:
    assert with_present_names({"bill": 1, "trials": 2}) == {"selection_cost": 1, "trials": 2}
