from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.samples import write_anonymized

from raymaskdp.models import ModelConfig
from raymaskdp.train import (
    ClipConfig,
    ComputeConfig,
    OptimizerConfig,
    PrepareConfig,
    PrivacyConfig,
    TrainConfig,
    prepare,
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def anonymized(tmp_path_factory) -> Path:
    return write_anonymized(tmp_path_factory.mktemp("data") / "anonymized", train=18, test=9)


@pytest.fixture(scope="session")
def store_path(anonymized) -> Path:
    prepare(anonymized, anonymized.parent / "clips", PrepareConfig(width=32, height=24))
    return anonymized.parent / "clips"


@pytest.fixture
def base(store_path, tmp_path) -> TrainConfig:
    """A run of a second."""
    return TrainConfig(
        data=store_path,
        out=tmp_path / "runs",
        steps=6,
        clips=ClipConfig(frames=4, stride=2, draws=4, shift=1),
        model=ModelConfig(options={"width": 16, "depth": 1, "heads": 2, "tubelet": [2, 8, 8]}),
        privacy=PrivacyConfig(noise_multiplier=1.0, expected_batch=6, clips=2, delta=1e-2),
        optimizer=OptimizerConfig(learning_rate=0.2),
        compute=ComputeConfig(
            workers=0, micro_batch=4, checkpoint_every=2, progress=False, tensorboard=False
        ),
    )
