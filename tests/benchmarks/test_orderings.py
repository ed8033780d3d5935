"""`benchmark orderings`: fair draws, real trainings that are run once, and few false decisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from raymaskdp import models
from raymaskdp.benchmarks.orderings import command, trials
from raymaskdp.benchmarks.orderings.arms import DPSGD, MASKDP, MULTICLIP, Arm, mechanism_arms
from raymaskdp.benchmarks.orderings.data import OrderingsData
from raymaskdp.benchmarks.orderings.draws import CHOICE, TEST, divisions
from raymaskdp.benchmarks.orderings.features import accuracy_of
from raymaskdp.benchmarks.orderings.parallel import each_done
from raymaskdp.benchmarks.orderings.result import OrderingsResult, result_of
from raymaskdp.benchmarks.orderings.significance import holm, paired_difference
from raymaskdp.benchmarks.orderings.trials import run_trials
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train import ClipStore, evaluate, prepare, train
from raymaskdp.train.config import ClipConfig
from raymaskdp.train.run.setup import initial_model, open_inputs

SMALL = OrderingsConfig(
    people=6,
    rooms=1,
    frames=8,
    test_people=2,
    draws=2,
    seeds=2,
    epsilons=(1.0,),
    rates=(0.1, 1.0),
    choice_seeds=1,
    steps=3,
    batch=4,
    clips=2,
    delta=0.01,
    workers=0,
)


def small_demo() -> DemoConfig:
    """The demo with two actions, little videos and a network that is trained for three steps."""
    demo = DemoConfig.load()
    model = ModelConfig(
        name="video-transformer",
        options={"width": 16, "depth": 1, "heads": 2, "tubelet": [4, 8, 8], "motion": True},
    )
    clips = ClipConfig(frames=8, stride=1, draws=4, shift=2, flip=True)
    film = {"actions": ("wave", "squat"), "rooms": 1, "cameras": 1}
    like = dataclasses.replace(demo.sweep.train, model=model, clips=clips)
    batch = dataclasses.replace(demo.pretrain.privacy, expected_batch=4)
    return dataclasses.replace(
        demo,
        public=dataclasses.replace(demo.public, people=2, frames=8, test_share=0.0, **film),
        private=dataclasses.replace(demo.private, **film),
        pretrain=dataclasses.replace(demo.pretrain, steps=3, model=model, clips=clips, privacy=batch),
        sweep=dataclasses.replace(demo.sweep, train=like),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OrderingsData:
    """Clips of plain videos, in which everything is sensitive, and a backbone of random weights."""
    folder = tmp_path_factory.mktemp("orderings")
    film = dataclasses.replace(
        small_demo().private, people=6, frames=8, fps=4.0, width=96, height=64, test_share=0.0
    )
    synthesize(folder / "videos", film)
    prepare(folder / "videos", folder / "clips")
    found = OrderingsData(clips=folder / "clips", backbone=folder / "backbone.safetensors")
    config = dataclasses.replace(mechanism_arms(SMALL, small_demo(), found)[0].train, init=None)
    models.save_weights(found.backbone, initial_model(config, ClipStore.open(found.clips)))
    return found


@pytest.fixture(scope="module")
def arms(data: OrderingsData) -> tuple[Arm, ...]:
    return mechanism_arms(SMALL, small_demo(), data)


@pytest.fixture(scope="module")
def finished(arms: tuple[Arm, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all trials were run without interruption."""
    out = tmp_path_factory.mktemp("finished")
    run_trials(out, arms, SMALL)
    return out


def test_nobody_of_a_draws_test_is_in_its_training_or_in_its_choice(data: OrderingsData) -> None:
    store = ClipStore.open(data.clips)
    subject = {video.video_id: video.subject for video in store.videos}
    found = divisions(store, dataclasses.replace(SMALL, draws=5))
    tested = {one.draw: {subject[name] for name in one.test} for one in found if one.part == TEST}
    assert len({frozenset(people) for people in tested.values()}) > 1
    for one in found:
        learned, measured = ({subject[name] for name in names} for names in (one.train, one.test))
        assert not learned & measured
        assert not learned & tested[one.draw]
        assert measured == tested[one.draw] if one.part == TEST else not measured & tested[one.draw]
    assert {len(one.train) for one in found if one.part == TEST} == {8}
    assert {len(one.train) for one in found if one.part == CHOICE} == {6}


def test_features_of_a_draw_are_those_that_train_computes(finished: Path, arms: tuple[Arm, ...]) -> None:
    place = finished / "draws" / "clips" / "01-test"
    given, recomputed = [], []
    for found in (given, recomputed):
        config = dataclasses.replace(arms[0].train, data=place)
        store = ClipStore.open(place)
        inputs, _ = open_inputs(config, store, initial_model(config, store))
        found += [value for _, value in sorted(vars(inputs.bank).items())]
        for path in (place / "features").glob("*.safetensors"):
            if not path.name.endswith(".tests.safetensors"):
                path.unlink()
    assert all(torch.equal(*pair) for pair in zip(given, recomputed, strict=True))


def test_the_accuracy_is_that_of_evaluate(finished: Path, arms: tuple[Arm, ...], tmp_path: Path) -> None:
    for rate in (0.1, 3.0):
        config = arms[-1].at(None, rate)
        config = dataclasses.replace(config, data=finished / "draws" / "clips" / "00-test", out=tmp_path)
        run = Path(train(config).run)
        measured = evaluate(run)
        assert accuracy_of(config, run) == (measured.score, measured.videos)


def test_trials_after_a_kill_are_those_that_were_missing(
    finished: Path, arms: tuple[Arm, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pd.read_parquet(finished / "trials.parquet")
    assert len(whole) == 2 * (3 + 1) * (2 + 2)
    trained = killed_at(monkeypatch, 11)
    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, arms, SMALL)
    assert len(pd.read_parquet(tmp_path / "trials.parquet")) == 10
    run_trials(tmp_path, arms, SMALL)
    resumed = pd.read_parquet(tmp_path / "trials.parquet")
    assert len(trained) == len(whole) + 1
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), whole.drop(columns="seconds"))
    assert not (tmp_path / "runs").exists()
    run_trials(tmp_path, arms, SMALL)
    assert len(trained) == len(whole) + 1


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[Path]:
    """Interrupt the training of this number, counted from 1; returns the list of all trainings."""
    trained: list[Path] = []

    def train_or_die(config: Any, **options: Any) -> Any:
        trained.append(config.out)
        if len(trained) == number:
            raise KeyboardInterrupt
        return train(config, **options)

    monkeypatch.setattr(trials, "train", train_or_die)
    return trained


def test_work_in_two_processes_is_done_once_and_an_error_ends_it() -> None:
    assert sorted(each_done(math.sqrt, [0.0, 1.0, 4.0, 9.0], 2)) == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="domain"):
        list(each_done(math.sqrt, [-1.0, 4.0], 2))


def test_private_trials_cost_their_epsilon_and_choose_a_rate(finished: Path) -> None:
    table = pd.read_parquet(finished / "trials.parquet")
    private = table[table["epsilon"] == 1.0]
    assert private["spent"].between(0.95, 1.0).all()
    assert np.isinf(table[table["arm"] == "not private"]["spent"]).all()
    chosen = table[table["part"] == CHOICE].sort_values("rate")
    for keys, of_cell in chosen.groupby(["arm", "epsilon", "draw"]):
        best = of_cell.loc[of_cell["accuracy"].idxmax(), "rate"]
        final = table[(table["part"] == TEST)].set_index(["arm", "epsilon", "draw"]).loc[[keys], "rate"]
        assert (final == best).all()


def test_other_settings_are_refused_and_other_workers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_data", killed)
    with pytest.raises(KeyboardInterrupt):
        command.benchmark_orderings(tmp_path, SMALL)
    with pytest.raises(UserError, match="other settings"):
        command.benchmark_orderings(tmp_path, dataclasses.replace(SMALL, seeds=3))
    with pytest.raises(KeyboardInterrupt):
        command.benchmark_orderings(tmp_path, dataclasses.replace(SMALL, workers=2))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="test_people"):
        OrderingsConfig(people=8, test_people=7)
    with pytest.raises(UserError, match="rates"):
        OrderingsConfig(rates=(0.1, 0.1))


def test_without_shared_people_it_is_scipys_paired_test() -> None:
    first, second = np.random.default_rng(1).normal(size=(2, 7))
    found = paired_difference(first - second, test_to_train=0.0)
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, interval.low, interval.high))


def test_the_interval_is_as_wide_as_nadeau_and_bengio_say() -> None:
    values = np.array([1.0, 3.0, 2.0, 6.0])
    found = paired_difference(values, test_to_train=0.5)
    half = stats.t.ppf(0.975, 3) * math.sqrt((1 / 4 + 0.5) * values.var(ddof=1))
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3.0 - half, 3.0 + half))
    assert (found.p < 0.05) == (found.low > 0)


def test_equal_differences_in_few_draws_decide_nothing() -> None:
    found = paired_difference([1.4, 1.4], test_to_train=0.5)
    assert (found.mean, found.p) == (1.4, 1.0)
    assert found.low < 0 < found.high


def test_holm_as_in_r() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.05, 0.01, 0.03, 0.02, 0.04]) == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])


def test_equal_arms_are_rarely_told_apart_and_naive_tests_would_tell_them_apart_often() -> None:
    naive = decided = 0
    for pool in range(100):
        table = simulated(np.random.default_rng([7, pool]), lambda arm, epsilon: 0.0)
        decided += any(one.better for one in result_of(table, "").comparisons)
        first, second = (table[(table["arm"] == arm) & (table["epsilon"] == 0.5)] for arm in (MASKDP, DPSGD))
        naive += stats.ttest_rel(first["accuracy"], second["accuracy"]).pvalue < 0.05
    assert decided <= 8
    assert naive >= 30


def test_a_difference_of_five_points_is_found_where_it_is_and_nowhere_else() -> None:
    found = []
    for pool in range(20):
        rng = np.random.default_rng([8, pool])
        table = simulated(rng, lambda arm, epsilon: 0.05 * (arm == MASKDP and epsilon == 0.5))
        found += [
            (one.better, one.first, one.second, one.epsilon)
            for one in result_of(table, "").comparisons
            if one.better
        ]
    planted = {(MASKDP, MASKDP, DPSGD, 0.5), (MASKDP, MASKDP, MULTICLIP, 0.5)}
    assert sum(one in planted for one in found) >= 30
    assert sum(one not in planted for one in found) <= 2


def simulated(rng: np.random.Generator, better: Callable[[str, float], float]) -> pd.DataFrame:
    """Trials of a pool of 184 people, of whom each draw tests 54, with true differences `better`.

    An arm's accuracy differs from person to person, with the people that it learns from, and by seed.
    """
    draws = [rng.permutation(184) for _ in range(10)]
    rows = []
    for epsilon in (0.1, 0.25, 0.5, 1.0, 2.0, 8.0):
        for arm in (MASKDP, MULTICLIP, DPSGD):
            tested, learned = rng.normal(0.0, 0.06, 184), rng.normal(0.0, 0.03, 184)
            for draw, order in enumerate(draws):
                mean = 0.6 + tested[order[:54]].mean() + learned[order[54:]].mean() + better(arm, epsilon)
                rows += [
                    {"arm": arm, "part": TEST, "epsilon": epsilon, "draw": draw, "seed": seed, "rate": 0.1,
                     "accuracy": mean + rng.normal(0.0, 0.02), "test_videos": 432, "train_videos": 1000}
                    for seed in range(10)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_table_says_what_is_decided_and_what_is_not() -> None:
    table = simulated(np.random.default_rng(9), lambda arm, epsilon: 0.2 * (arm == MASKDP and epsilon == 0.5))
    text = str(result_of(table, "trials.parquet"))
    assert "Decided: MaskDP over DP-SGD at ε = 0.5; MaskDP over Multi-Clip at ε = 0.5." in text
    assert "Multi-Clip and DP-SGD at ε = 0.5" in text.partition("Not decided")[2]
    assert "1000 training and 432 test videos" in text


@pytest.mark.slow
def test_the_whole_command_in_small_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(SMALL, people=4, test_people=1, seeds=1, rates=(0.1,))
    result = command.benchmark_orderings(tmp_path, tiny, small_demo())
    assert isinstance(result, OrderingsResult)
    assert (result.draws, result.seeds, result.train_videos, result.test_videos) == (2, 1, 6, (2, 2))
    assert [one.arm for one in result.arms] == ["MaskDP", "Multi-Clip", "DP-SGD", "not private"]
    assert len(result.comparisons) == 3
    trained = killed_at(monkeypatch, 1)
    again = command.benchmark_orderings(tmp_path, tiny, small_demo())
    assert again == result
    assert not trained
