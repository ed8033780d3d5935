"""A sweep on Ray Tune, its driver killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.privacy import read_ledger
from raymaskdp.sweep import SweepConfig, sweep
from raymaskdp.train import ClipConfig, ComputeConfig, OptimizerConfig, PrivacyConfig, TrainConfig

SCRIPT = """
import sys
from raymaskdp import config
from raymaskdp.sweep import SweepConfig, sweep
sweep(config.load(SweepConfig, sys.argv[1]))
"""


def small_sweep(clip_store: Path, out: Path) -> SweepConfig:
    return SweepConfig(
        out=out,
        train=TrainConfig(
            data=clip_store,
            steps=8,
            scheme="linear",
            clips=ClipConfig(frames=4, stride=2, draws=4),
            model=ModelConfig(options={"width": 16, "depth": 1, "heads": 2, "tubelet": [2, 8, 8]}),
            privacy=PrivacyConfig(epsilon=1.0, expected_batch=6, clips=2, delta=1e-2),
            optimizer=OptimizerConfig(learning_rate=0.5),
            compute=ComputeConfig(progress=False),
        ),
        grids={
            "frontier": {"privacy.mechanism": ("maskdp", "dpsgd"), "privacy.epsilon": (0.5, 1.0)},
            "not private": {"privacy.mechanism": ("sgd",), "privacy.epsilon": (None,)},
            "scheme": {"scheme": ("linear", "selective")},
            "broken": {"init": ("missing.safetensors",)},
        },
        seeds=(0, 1),
    )


@pytest.mark.slow
@pytest.mark.cluster
def test_a_sweep_survives_its_driver_and_its_bad_trials(clip_store, tmp_path) -> None:
    settings = small_sweep(clip_store, tmp_path / "sweep")
    (tmp_path / "sweep.yaml").write_text(configuration.to_yaml(settings))
    # Kill the driver, and with it its cluster, once some trials are through.
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "sweep.yaml")],
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    finished = tmp_path / "sweep" / "runs"
    while len(list(finished.glob("*/evaluation.json"))) < 3:
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/result.json")}
    assert not (tmp_path / "sweep" / "results.parquet").exists()

    result = sweep(settings)
    assert (result.trials, result.failed) == (14, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # finished trials are not redone
    results = pd.read_parquet(result.results)
    failed = results[results["status"] == "failed"]
    assert set(failed["grids"]) == {"broken"}
    assert failed["error"].str.contains("Cannot read the weights").all()
    done = results[results["status"] == "done"]
    assert done["score"].between(0, 1).all()
    private = done[done["mechanism"] != "sgd"]
    assert (private["epsilon"] <= private["target_epsilon"]).all()
    assert (private["epsilon"] > 0.97 * private["target_epsilon"]).all()
    assert done[done["mechanism"] == "sgd"]["epsilon"].isna().all()
    trainable = done.groupby("scheme")["trainable"].first()
    assert trainable["linear"] < trainable["selective"]
    for row in done.itertuples():
        ledger = read_ledger(Path(row.run) / "ledger.jsonl")
        assert ledger.steps_spent == ledger.plan.steps == 8
    for name in ("frontier.png", "frontier.svg", "results.csv", "best.yaml"):
        assert (tmp_path / "sweep" / name).stat().st_size > 0
    best = configuration.load(TrainConfig, result.best)
    assert best.privacy.epsilon == 1.0
    assert best.privacy.mechanism != "sgd"
    assert result.bill.one_run < result.bill.best_of_random
    assert "finished before" in str(sweep(settings))
    with pytest.raises(UserError, match="holds another sweep"):
        sweep(configuration.load(SweepConfig, tmp_path / "sweep.yaml", ["seeds=[5]"]))
