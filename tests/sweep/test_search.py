"""Searches: what is drawn, what is refused and why, what is measured on the way, and the plot of it all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from support.stores import write_videos

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.sweep import Range, Search, Stopping, SweepConfig, parallel_coordinates, trials
from raymaskdp.sweep.config import drawn_trial
from raymaskdp.sweep.results import plotted
from raymaskdp.sweep.run import _drawn_once
from raymaskdp.sweep.search import draw
from raymaskdp.sweep.trial import make_point, run_trial
from raymaskdp.sweep.trial_releases import require_apart, selection_cost_of
from raymaskdp.train import ClipConfig, ClipStore, ComputeConfig, PrivacyConfig, TrainConfig
from raymaskdp.train.data.splits import training_videos

SPACE = {
    "optimizer.learning_rate": Range(low=1e-3, high=10.0, log=True),
    "privacy.clips": Range(low=1, high=4, whole=True),
    "scheme": ("linear", "selective"),
}


def sweep_of(store: Path = Path("clips"), **settings: Any) -> SweepConfig:
    train = TrainConfig(
        data=store,
        validation=0.25,
        steps=6,
        model=ModelConfig(options={"width": 8, "depth": 1, "heads": 1, "tubelet": [2, 8, 8]}),
        clips=ClipConfig(frames=4, stride=2, draws=4),
        privacy=PrivacyConfig(epsilon=2.0, delta=1e-2, expected_batch=6),
        compute=ComputeConfig(workers=0, progress=False, tensorboard=False),
    )
    return SweepConfig(out=store.parent / "sweep", train=train, **settings)


def test_draws_are_spread_as_said_and_repeatable() -> None:
    search = Search(trials=400, space=SPACE)
    drawn = draw(search, (3, 4), np.random.default_rng(0), 400)
    rates = [np.log10(one["optimizer.learning_rate"]) for one in drawn]
    assert stats.kstest(rates, "uniform", args=(-3, 4)).pvalue > 0.01
    counts = np.bincount([one["privacy.clips"] for one in drawn])
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 0.01  # the ends as often as the others
    assert {one["scheme"] for one in drawn} == {"linear", "selective"}
    assert {one["seed"] for one in drawn} == {3, 4}
    assert all(type(one["privacy.clips"]) is int for one in drawn)
    assert drawn == draw(search, (3, 4), np.random.default_rng(0), 400)


def test_a_random_search_stands_beside_the_grids() -> None:
    grids = {"frontier": {"privacy.epsilon": (1.0, 2.0)}}
    sweep = sweep_of(grids=grids, search=Search(trials=5, space=SPACE), seeds=(0, 1))
    planned = trials(sweep)
    assert planned == trials(sweep)
    assert [trial.grids for trial in planned] == [("frontier",)] * 4 + [("search",)] * 5
    assert all(trial.settings.keys() == SPACE.keys() for trial in planned[4:])
    assert all(trial.config.seed in (0, 1) for trial in planned)
    read = configuration.build(SweepConfig, configuration.to_dict(sweep), where="here")
    assert configuration.to_dict(read) == configuration.to_dict(sweep)


STOPPING = Stopping(every=2, grace=2)
OPTUNA = Search(method="optuna", trials=4, space=SPACE)
MECHANISMS = {"privacy.mechanism": ("maskdp", "maskdp-full")}
BLOCKS = {"privacy": ({"epsilon": 2.0, "delta": 1e-2}, {"epsilon": 8.0, "delta": 1e-2})}
PRICED = {"privacy.expected_batch": Range(low=2, high=6)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space=SPACE), "stopping": STOPPING},
         "early stopping compares each with the others' private metrics"),
        ({"tuning": "papernot-steinke", "search": OPTUNA}, "independent draws"),
        ({"tuning": "papernot-steinke", "grids": {"g": {"seed": (1,)}}}, "independent draws"),
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space=PRICED)}, "must cost the same"),
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space=SPACE), "choose_on": "train"},
         "choose_on is 'train': scores on the videos that were trained on"),
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space=SPACE), "split": "train"},
         "split is 'train': scores on the videos that were trained on"),
        ({"search": Search(method="optuna", trials=4, space={"privacy.epsilon": (1.0, 2.0)})},
         "all trials are paid for together"),
        ({"search": Search(method="optuna", trials=4, space=MECHANISMS)},
         "differ in privacy.mechanism"),
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space=BLOCKS)}, "differ in privacy;"),
        ({"tuning": "papernot-steinke", "search": Search(trials=4, space={"privacy.mechanism": ([1],)})},
         "differ in privacy.mechanism"),
        ({"search": OPTUNA, "choose_on": "test"}, "the test videos that trials are measured on"),
        ({"grids": {"g": {"seed": (1,)}}, "stopping": STOPPING, "choose_on": "test"}, "hold some out"),
        ({"search": Search(trials=4, space={"privacy.clips": Range(low=1, high=9, whole=True)})},
         "must not exceed clips.draws"),
        ({"search": Search(trials=4, space={"privacy.clip": (1,)})}, "did you mean 'privacy.clips'"),
        ({"grids": {"search": {"seed": (1,)}}}, "another name"),
        ({}, "at least one grid or a search"),
    ],
)  # fmt: skip
def test_what_cannot_be_paid_for_or_run_is_refused(settings, message) -> None:
    with pytest.raises(UserError, match=message):
        sweep_of(**settings)


def test_a_list_of_blocks_may_be_searched() -> None:
    widths = tuple({"width": width, "depth": 1, "heads": 1, "tubelet": [2, 8, 8]} for width in (8, 16))
    search = Search(trials=4, space={"model.options": widths})
    assert sweep_of(tuning="papernot-steinke", search=search).pays


def test_the_best_of_random_mechanisms_costs_the_same_whichever_were_drawn(clip_store) -> None:
    """Their runs protect different things, and a draw of one kind tells nothing else."""
    space = {"privacy.mechanism": ("maskdp", "dpsgd")}
    sweep = sweep_of(clip_store, tuning="papernot-steinke", search=Search(trials=4, space=space))
    masked, whole = (
        drawn_trial(sweep, {"privacy.mechanism": name, "seed": 0}) for name in space["privacy.mechanism"]
    )
    costs = [
        selection_cost_of(sweep, made, pd.DataFrame({"status": ["done"] * len(made)}), made[0].config)
        for made in ([masked], [masked, masked], [whole], [masked, whole])
    ]
    assert len({round(one.best_of_random, 6) for one in costs}) == 1
    assert all(one.about and one.runs == 4 for one in costs)
    alone = sweep_of(clip_store, tuning="papernot-steinke", search=Search(trials=4, space=SPACE))
    one = selection_cost_of(alone, [masked], pd.DataFrame({"status": ["done"]}), masked.config)
    assert one.about is None
    assert one.best_of_random < costs[0].best_of_random


@pytest.mark.parametrize(
    "wrong",
    [{"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}, {"low": 0.5, "high": 2, "whole": True}],
)
def test_ranges_are_checked(wrong) -> None:
    with pytest.raises(UserError, match=r"search\.space"):
        Range(**wrong)


def test_the_number_of_trials_is_drawn_once(tmp_path) -> None:
    sweep = sweep_of(tuning="papernot-steinke", search=Search(trials=3, space=SPACE))
    assert trials(sweep) == ()
    counts = []
    for number in range(40):
        out = tmp_path / str(number)
        out.mkdir()
        first = _drawn_once(sweep, out)
        assert _drawn_once(sweep, out) == first  # and not again until it pleases
        counts.append(len(first))
    assert min(counts) >= 1
    assert len(set(counts)) > 2
    assert 1.5 < np.mean(counts) < 5  # geometric, mean 3, standard deviation 2.4 / √40


def test_a_choice_that_is_paid_for_looks_at_nobody_who_is_trained_on(clip_store, tmp_path) -> None:
    data = Path(shutil.copytree(clip_store, tmp_path / "clips"))
    table = pd.read_parquet(data / "videos.parquet")
    tested = table["split"] == "test"
    table["subject"] = [f"person {number}" for number in range(len(table))]
    settings = {"tuning": "papernot-steinke", "search": Search(trials=2, space=SPACE)}
    write_videos(data, table)
    require_apart(sweep_of(data, **settings))
    kept = training_videos(ClipStore.open(data), sweep_of(data, **settings).train)
    table.loc[table.index[tested][0], "subject"] = kept[0].subject
    write_videos(data, table)
    with pytest.raises(UserError, match=rf"1 subjects of split \('test'\), such as {kept[0].subject}"):
        require_apart(sweep_of(data, **settings))
    free = sweep_of(data, search=settings["search"])
    require_apart(free)  # not paid for, and said so:
    trial = drawn_trial(free, {})
    cost = selection_cost_of(free, [trial], pd.DataFrame({"status": ["done"]}), trial.config)
    assert f"such as {kept[0].subject}, are in the training videos too" in cost.verdict
    assert "no ε covers the choice" in cost.verdict


def test_no_price_is_given_for_a_choice_by_scores_on_training_videos(clip_store, tmp_path) -> None:
    """Scores of the training videos are not noisy: blank one, and another run is the best."""
    data, costs = Path(shutil.copytree(clip_store, tmp_path / "clips")), {}
    table = pd.read_parquet(data / "videos.parquet")
    table["subject"] = [f"person {number}" for number in range(len(table))]
    write_videos(data, table)
    for name in ("train", "test"):
        sweep = sweep_of(data, choose_on=name, search=Search(trials=2, space=SPACE))
        trial = drawn_trial(sweep, {})
        results = pd.DataFrame({"status": ["done"] * 2})
        costs[name] = str(selection_cost_of(sweep, [trial, trial], results, trial.config))
    assert "videos of choose_on ('train'), such as" in costs["train"]
    assert "are training videos" in costs["train"]
    assert "or their best" not in costs["train"]
    assert "best of a random number" not in costs["train"]
    assert "or their best, as done here" in costs["test"]
    assert "no ε covers" not in costs["test"]


def test_the_training_videos_of_any_trial_count(clip_store, tmp_path) -> None:
    """What one trial holds out, another is trained on."""
    data = Path(shutil.copytree(clip_store, tmp_path / "clips"))
    table = pd.read_parquet(data / "videos.parquet")
    table["subject"] = [f"person {number}" for number in range(len(table))]
    write_videos(data, table)
    sweep = sweep_of(data, choose_on="validation", search=Search(trials=2, space=SPACE))
    one, other = (drawn_trial(sweep, {"validation": share}) for share in (0.25, 0.6))
    cost = [
        selection_cost_of(sweep, made, pd.DataFrame({"status": ["done"] * len(made)}), one.config)
        for made in ([one], [one, other])
    ]
    assert cost[0].scored_on is None
    assert "are training videos" in str(cost[1].scored_on)


def test_weights_that_cost_something_are_not_drawn_in_a_paid_search() -> None:
    """The bill counts the runs that weights come from, and which were drawn must not be published."""
    space = {"init": ("runs/a/model.pt", "runs/b/model.pt")}
    with pytest.raises(UserError, match=r"they differ in init"):
        sweep_of(tuning="papernot-steinke", search=Search(trials=2, space=space))


def test_names_of_runs_do_not_tell_how_many_there_were(clip_store) -> None:
    sweep = sweep_of(clip_store, tuning="papernot-steinke", search=Search(trials=2, space={"seed": (1,)}))
    out = clip_store.parent / "named"
    trial = drawn_trial(sweep, {"seed": 1})
    names = [Path(make_point(number, trial, sweep, out)["train"]["out"]).name for number in (0, 1, 0)]
    assert names[0] == names[2] != names[1]
    assert not any(name.isdigit() for name in names)


def test_a_trial_that_may_be_stopped_is_measured_on_the_way(clip_store, tmp_path) -> None:
    torch.set_num_threads(1)
    sweep = replace(sweep_of(clip_store, grids={"g": {"steps": (6,)}}, stopping=STOPPING), out=tmp_path)
    (trial, *_) = trials(sweep)
    point = make_point(0, trial, sweep, tmp_path)
    reports: list[dict[str, Any]] = []
    outcome = run_trial(point, reports.append)
    assert [report["step"] for report in reports] == [2, 4]
    assert all(0 <= report["chosen_by"] <= 1 for report in reports)
    assert (outcome["step"], outcome["metric"]) == (6, "top1")

    class Stopped(BaseException):
        """What Tune raises in a trial that it ends."""

    def stop(report: dict[str, Any]) -> None:
        raise Stopped

    (_, second, *_) = trials(sweep)
    with pytest.raises(Stopped):
        run_trial(make_point(1, second, sweep, tmp_path), stop)
    (unfinished,) = [run for run in (tmp_path / "runs").iterdir() if not (run / "result.json").exists()]
    assert len((unfinished / "curve.jsonl").read_text().splitlines()) == 2


def test_the_frontier_of_a_search_is_what_would_be_chosen() -> None:
    results = pd.DataFrame(
        {
            "grids": "search",
            "status": ["done", "done", "stopped", "done"],
            "mechanism": ["maskdp", "maskdp", "maskdp", "sgd"],
            "target_epsilon": [2.0, 2.0, 2.0, None],
            "score": [0.9, 0.5, None, 0.8],
            "chosen_by": [0.4, 0.6, 0.9, 0.7],
        }
    ).convert_dtypes()
    assert plotted(results)["score"].tolist() == [0.5, 0.8]


def test_parallel_coordinates_have_an_axis_a_setting(tmp_path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        parallel_coordinates.Line(
            values={
                "optimizer.learning_rate": float(10 ** rng.uniform(-3, 1)),
                "privacy.mechanism": ["maskdp", "multiclip", "dpsgd"][number % 3],
                "privacy.clips": number % 4 + 1,
                "privacy.epsilon": None if number == 5 else 2.0,
            },
            score=float(rng.uniform(0.3, 0.9)),
            stopped=number % 5 == 0,
        )
        for number in range(12)
    ]
    for name in ("first", "again"):
        parallel_coordinates.draw(lines, tmp_path / name, measure="accuracy", caption="A caption.")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    svg = (tmp_path / "first.svg").read_text()
    assert all(text in svg for text in ("learning rate", "MaskDP", "none", "accuracy", "A caption."))


def test_heights_follow_the_values() -> None:
    rate = parallel_coordinates._Scale([0.001, 0.01, 1.0])
    assert [rate.height(value) for value in (0.001, 0.01, 1.0)] == pytest.approx([0, 1 / 3, 1])
    clips = parallel_coordinates._Scale([1, 2, 4])
    assert [clips.height(value) for value in (1, 2, 4)] == pytest.approx([0, 1 / 3, 1])
    assert parallel_coordinates._Scale(["a", None]).ticks() == [(0.0, "none"), (1.0, "a")]
    assert parallel_coordinates._Scale([2.0, 2.0]).height(2.0) == 0.5
