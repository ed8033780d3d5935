"""The benchmark of schemes runs, and shows that kept features are what makes `linear` fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raymaskdp.benchmarks.schemes import KEPT, benchmark_schemes
from raymaskdp.benchmarks.settings.training import SchemesConfig
from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig
from raymaskdp.train import ClipConfig, ComputeConfig, PrepareConfig, PrivacyConfig, TrainConfig, prepare
from raymaskdp.video.writer import VideoWriter


@pytest.fixture
def train_config(tmp_path) -> TrainConfig:
    """A run over eight videos of noise."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        path = tmp_path / f"v{number}.mp4"
        with VideoWriter(path, width=64, height=64, fps=12) as video:
            for _ in range(10):
                video.write(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
        rows.append({"path": str(path), "label": "ab"[number % 2], "split": "train"})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    store = prepare(tmp_path / "manifest.csv", tmp_path / "clips", PrepareConfig(width=64, height=64)).store
    return TrainConfig(
        data=Path(store),
        model=ModelConfig(options={"tubelet": [2, 8, 8], "depth": 2}),
        clips=ClipConfig(frames=8, stride=1, draws=2),
        privacy=PrivacyConfig(noise_multiplier=1.0, expected_batch=4, delta=1e-2),
        compute=ComputeConfig(workers=0),
    )


@pytest.mark.slow
def test_kept_features_save_nearly_everything(train_config) -> None:
    found = benchmark_schemes(SchemesConfig(train=train_config, schemes=("linear",), records=4, rounds=2))
    linear, kept = found.rows
    assert (linear.scheme, kept.scheme) == ("linear", KEPT)
    assert linear.trained == kept.trained == 2 * 64 + 2
    assert kept.over_first < 0.2
    assert found.times_faster == pytest.approx(1 / kept.over_first, rel=0.5)
    assert found.features_seconds > 0
    assert f"| {KEPT} | 130 |" in str(found)


def test_schemes_that_there_are_not_are_named(train_config) -> None:
    with pytest.raises(UserError, match="schemes must be one of"):
        SchemesConfig(train=train_config, schemes=("sideways",))
