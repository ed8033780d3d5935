"""A sweep on Ray Tune, its driver killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.util import placement_group_table
from support.stores import write_videos

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.privacy import read_ledger
from raymaskdp.sweep import Range, Search, Stopping, SweepConfig, sweep
from raymaskdp.train import (
    ClipConfig,
    ClipStore,
    ComputeConfig,
    OptimizerConfig,
    PrivacyConfig,
    TrainConfig,
)

SCRIPT = """
import sys
from raymaskdp import config
from raymaskdp.sweep import SweepConfig, sweep
sweep(config.load(SweepConfig, sys.argv[1]))
"""


def small_sweep(clip_store: Path, out: Path, **settings: Any) -> SweepConfig:
    return SweepConfig(
        out=out,
        train=TrainConfig(
            data=clip_store,
            validation=0.25,
            steps=8,
            scheme="linear",
            clips=ClipConfig(frames=4, stride=2, draws=4),
            model=ModelConfig(options={"width": 16, "depth": 1, "heads": 2, "tubelet": [2, 8, 8]}),
            privacy=PrivacyConfig(epsilon=1.0, expected_batch=6, clips=2, delta=1e-2),
            optimizer=OptimizerConfig(learning_rate=0.5),
            compute=ComputeConfig(progress=False, tensorboard=False),
        ),
        seeds=(0, 1),
        **settings,
    )


def with_unreadable_tests(clip_store: Path, copy: Path) -> Path:
    """A store that can be trained on, and raises when it is measured on."""
    shutil.copytree(clip_store, copy)
    for video in ClipStore.open(copy).split("test"):
        (copy / "clips" / f"{video.video_id}.frames.npy").unlink()
    return copy


@pytest.mark.slow
@pytest.mark.cluster
def test_a_sweep_survives_its_driver_and_its_bad_trials(ray_session, clip_store, tmp_path) -> None:
    bad = str(with_unreadable_tests(clip_store, tmp_path / "bad"))
    settings = small_sweep(
        clip_store,
        tmp_path / "sweep",
        grids={
            "frontier": {"privacy.mechanism": ("maskdp", "dpsgd"), "privacy.epsilon": (0.5, 1.0)},
            "not private": {"privacy.mechanism": ("sgd",), "privacy.epsilon": (None,)},
            "broken": {"data": (bad,), "steps": (3,)},
        },
        stopping=Stopping(every=2, grace=4, keep=4),
    )
    (tmp_path / "sweep.yaml").write_text(configuration.to_yaml(settings))
    # Kill the driver, and with it its cluster, once some trials are through.
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "sweep.yaml")],
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    finished = tmp_path / "sweep" / "runs"
    while len(list(finished.glob("*/evaluation.json"))) < 2:
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/result.json")}
    assert not (tmp_path / "sweep" / "results.parquet").exists()

    result = sweep(settings)
    assert (result.trials, result.failed) == (12, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # finished trials are not redone
    assert {group["state"] for group in placement_group_table().values()} == {"REMOVED"}
    results = pd.read_parquet(result.results)
    failed = results[results["status"] == "failed"]
    assert set(failed["grids"]) == {"broken"}
    assert failed["error"].str.contains("No such file").all()
    early = results[results["status"] == "stopped"]  # nearly always some; none if no trial falls behind
    assert result.stopped == len(early)
    assert early["reached"].between(4, 7).all()
    assert early["score"].isna().all()  # of test videos nothing was measured
    done = results[results["status"] == "done"]
    assert (done["reached"] == 8).all()
    assert done[["score", "chosen_by"]].stack().between(0, 1).all()
    private = done[done["mechanism"] != "sgd"]
    assert (private["epsilon"] <= private["target_epsilon"]).all()
    assert (private["epsilon"] > 0.97 * private["target_epsilon"]).all()
    assert done[done["mechanism"] == "sgd"]["epsilon"].isna().all()
    for row in done.itertuples():
        ledger = read_ledger(Path(row.run) / "ledger.jsonl")
        assert ledger.steps_spent == ledger.plan.steps == 8
    for name in ("frontier.png", "frontier.svg", "parallel.png", "parallel.svg", "results.csv"):
        assert (tmp_path / "sweep" / name).stat().st_size > 0
    at_base = private[private["target_epsilon"] == 1.0]
    if len(at_base):  # all of them may have been stopped
        best = configuration.load(TrainConfig, result.best)
        assert (best.privacy.epsilon, result.chosen_on) == (1.0, "validation")
        means = at_base.groupby("mechanism")["chosen_by"].mean()
        assert result.best_score == means.max() == means[best.privacy.mechanism]
        assert result.best_run in set(at_base["run"])
        assert (result.selection_cost.runs, result.selection_cost.not_private) == (
            10,
            2,
        )  # of all ε, and those that failed
        assert "no ε covers their models, nor the table" in str(result)
        assert result.selection_cost.one_run < result.selection_cost.best_of_random
    assert "finished before" in str(sweep(settings))
    with pytest.raises(UserError, match="has another sweep"):
        sweep(configuration.load(SweepConfig, tmp_path / "sweep.yaml", ["seeds=[5]"]))


SPACE = {
    "optimizer.learning_rate": Range(low=0.05, high=2.0, log=True),
    "privacy.clips": Range(low=1, high=3, whole=True),
    "privacy.mechanism": ("maskdp", "multiclip"),
}


@pytest.mark.slow
@pytest.mark.cluster
def test_optuna_learns_on_what_is_held_out(ray_session, clip_store, tmp_path) -> None:
    space = {**SPACE, "init": (None, None, "missing.safetensors")}
    search = Search(method="optuna", trials=5, space=space)
    result = sweep(small_sweep(clip_store, tmp_path / "sweep", search=search))
    results = pd.read_parquet(result.results)
    assert result.trials == len(results) == 5
    drawn = [json.loads(text) for text in results["settings"]]
    for row, settings in zip(results.itertuples(), drawn, strict=True):
        assert settings.keys() == space.keys()
        assert row.status == ("failed" if settings["init"] else "done")
        assert row.learning_rate == pytest.approx(settings["optimizer.learning_rate"])
        assert row.clips == settings["privacy.clips"] in (1, 2, 3)
        assert row.seed in (0, 1)
    assert len({settings["optimizer.learning_rate"] for settings in drawn}) == 5
    done = results[results["status"] == "done"]
    assert done["run"].is_unique
    assert result.best_score == done.groupby("settings")["chosen_by"].mean().max()
    assert (result.selection_cost.tuning, result.selection_cost.runs) == ("none", 5)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_sweep_that_pays_draws_once_and_charges_for_the_best(ray_session, clip_store, tmp_path) -> None:
    space = {"privacy.clips": (1, 2)}  # some draws are equal, and are trainings of their own all the same
    apart = tmp_path / "apart"  # no person is in both splits, as accounted choices require
    shutil.copytree(clip_store, apart)
    videos = pd.read_parquet(apart / "videos.parquet")
    videos["subject"] = videos["split"] + videos["subject"]
    write_videos(apart, videos)
    settings = small_sweep(
        apart,
        tmp_path / "sweep",
        tuning="papernot-steinke",
        search=Search(trials=3, space=space),
    )
    drawn = [{"privacy.clips": clips, "seed": 0} for clips in (1, 1, 2)]
    (settings.out / "private").mkdir(parents=True)
    (settings.out / "private/draws.json").write_text(json.dumps(drawn))
    result = sweep(settings)
    results = pd.read_parquet(result.results)
    assert results["clips"].tolist() == [1, 1, 2]
    keys = {(Path(run) / "private/key").read_bytes() for run in results["run"]}
    assert len(keys) == 3
    assert result.best_score == results["chosen_by"].max()
    assert result.selection_cost.runs == 3  # on average, which is what may be said
    assert result.selection_cost.one_run < result.selection_cost.best_of_random
    assert "only the best run is published" in str(result)
    assert "all 3 runs" not in str(result)
