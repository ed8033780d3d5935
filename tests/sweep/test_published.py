"""Numbers of publications stand beside the measured ones, in the table and in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.files import write_json
from raymaskdp.models import ModelConfig
from raymaskdp.report.trainings import read_sweep
from raymaskdp.sweep import SweepConfig
from raymaskdp.sweep.config import Published, PublishedScore, trials
from raymaskdp.sweep.results import table_of, write_up
from raymaskdp.sweep.trial import make_point, run_trial
from raymaskdp.train import ClipConfig, ComputeConfig, PrivacyConfig, TrainConfig


def sweep_of(store: Path, scores: list[tuple[float, dict]]) -> SweepConfig:
    return SweepConfig(
        out=store.parent / "sweep",
        train=TrainConfig(
            data=store,
            steps=2,
            model=ModelConfig(options={"width": 8, "depth": 1, "heads": 1, "tubelet": [2, 8, 8]}),
            clips=ClipConfig(frames=4, stride=2, draws=2),
            privacy=PrivacyConfig(epsilon=5.0, delta=1e-2, expected_batch=6),
            compute=ComputeConfig(workers=0, progress=False, tensorboard=False),
        ),
        grids={
            "frontier": {"privacy.mechanism": ("multiclip",), "privacy.epsilon": (5.0, 8.0)},
            "not private": {"privacy.mechanism": ("sgd",), "privacy.epsilon": (None,)},
        },
        seeds=(0,),
        published=Published(
            source="Somebody, table 1",
            scores=tuple(PublishedScore(score=score, settings=settings) for score, settings in scores),
        ),
    )


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([(0.5, {"privacy.epsilon": 7.0})], "No trial of the sweep has the published settings"),
        ([(0.5, {"privacy.epsilno": 5.0})], r"Unknown setting 'privacy\.epsilno'"),
        ([(0.5, {"privacy.epsilon": 5.0}), (0.6, {"privacy.mechanism": "multiclip"})], "of the same trial"),
    ],
)
def test_scores_have_to_be_of_trials(clip_store, scores, message) -> None:
    with pytest.raises(UserError, match=message):
        sweep_of(clip_store, scores)
    with pytest.raises(UserError, match="must be"):
        sweep_of(clip_store, [(80.86, {"privacy.epsilon": 5.0})])


def test_the_report_prints_them_beside_the_measured(clip_store, tmp_path) -> None:
    torch.set_num_threads(1)
    scores = [(0.8086, {"privacy.epsilon": 5.0}), (0.9, {"privacy.mechanism": "sgd"})]
    sweep = replace(sweep_of(clip_store, scores), out=tmp_path / "sweep")
    assert configuration.build(SweepConfig, configuration.to_dict(sweep), where="here") == sweep
    planned = trials(sweep)
    outcomes = {
        number: run_trial(make_point(number, trial, sweep, sweep.out)) for number, trial in enumerate(planned)
    }
    results = table_of(sweep, planned, outcomes)
    result = write_up(sweep, sweep.out, planned, results, classes=3)
    about = {"digest": "", "published": "Somebody, table 1", "result": configuration.to_dict(result)}
    write_json(sweep.out / "sweep.json", about)
    table = pd.read_parquet(result.results)
    assert table.set_index("target_epsilon")["published"].to_dict()[5.0] == 0.8086
    shown = read_sweep(sweep.out, root=tmp_path)
    assert "Somebody, table 1" in shown.sentence
    names = [column.name for column in shown.columns]
    assert names[-4:] == ["accuracy", "95 % interval", "seeds", "published"]
    assert "data" not in names  # there is one
    published = {row[names.index("ε")]: row[-1] for row in shown.rows}
    assert published == {"5": "80.9%", "8": "", "∞": "90.0%"}
