"""The benchmark of scaling counts what it says it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from raymaskdp.benchmarks.settings.training import TrainScalingConfig
from raymaskdp.benchmarks.train_scaling import KEY, StopWatch, benchmark_train_scaling, bytes_exchanged
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.train import ClipConfig, PrepareConfig, PrivacyConfig, TrainConfig, prepare
from raymaskdp.train.run.job import Worker
from raymaskdp.train.run.setup import set_up
from raymaskdp.video.writer import VideoWriter


@pytest.fixture
def train_config(tmp_path) -> TrainConfig:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        path = tmp_path / f"v{number}.mp4"
        with VideoWriter(path, width=32, height=32, fps=12) as video:
            for _ in range(10):
                video.write(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
        rows.append({"path": str(path), "label": "ab"[number % 2], "split": "train"})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    store = prepare(tmp_path / "manifest.csv", tmp_path / "clips", PrepareConfig(width=32, height=32)).store
    return TrainConfig(
        data=Path(store),
        model=ModelConfig(options={"width": 8, "depth": 1, "heads": 1, "tubelet": [2, 8, 8]}),
        clips=ClipConfig(frames=4, stride=1, draws=2),
        privacy=PrivacyConfig(noise_multiplier=1.0, expected_batch=3, delta=1e-2),
    )


def test_speed_waiting_and_memory_of_a_run_in_process(train_config) -> None:
    config = TrainScalingConfig(train=train_config, workers=(0,), steps=12, warmup=3)
    result = benchmark_train_scaling(config)
    (row,) = result.rows
    assert row.over_first == 1
    assert row.clips_per_second > 0
    assert 0 <= row.wait_share < 1
    assert row.exchange_share == 0
    assert abs(row.memory_growth_mib) < 64
    assert result.weak_scaling[1] == result.strong_scaling[1] == 1
    assert "| workers, modelled | 1 | 2 | 4 |" in str(result)


def test_the_stop_watch_counts_clips_and_exchanges(train_config) -> None:
    plan = set_up(train_config).job.plan
    watch = StopWatch(Worker(0, 2, lambda tensor: None))
    for _ in range(10):
        watch.all_reduce(Tensor([1.0]))
        watch.on_step(None)  # type: ignore[arg-type]
    found = watch.measured(plan, warmup=4, waited=1.0)
    assert len(found.step_seconds) == len(found.step_clips) == 6
    assert found.waited == pytest.approx(0.6)
    private = sum(len(plan.lot(KEY, step)) for step in range(4, 10))
    public = sum(len(plan.public_lot(KEY, step)) for step in range(4, 10))
    assert (
        sum(found.step_clips) == private * 2 * 2 + public * 2
    )  # K clips and their public views; K public views
    assert 0 < found.exchanged < found.seconds


def test_what_is_exchanged_are_two_sums_over_what_learns(train_config) -> None:
    whole = bytes_exchanged(train_config)
    model = 8 * sum((2 * 8 * 8 * 3 * 8, 8))  # the tubelets' projection alone
    assert whole > model
    assert whole % 8 == 0
    with pytest.raises(UserError, match="different numbers"):
        TrainScalingConfig(train=train_config, workers=(1, 1))
