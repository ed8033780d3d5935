"""The benchmark of a training step does what it says, on cases that take seconds."""

from __future__ import annotations

import json

import pytest
import torch

from raymaskdp import config
from raymaskdp.benchmarks import dp_step, paired
from raymaskdp.benchmarks.dp_step import RIVALS, DpStepConfig, benchmark_dp_step, make_step
from raymaskdp.errors import UserError


def spec(rival: str, **changes) -> dict:
    case = {
        "model": "vit-196",
        "scheme": "norms+head",
        "clips": 1,
        "records": 2,
        "masked": False,
        "device": "cpu",
        "rival": rival,
    }
    return case | changes


@pytest.mark.parametrize("rival", RIVALS)
def test_every_rival_trains_what_the_scheme_says_and_nothing_else(rival, monkeypatch):
    torch.set_num_threads(1)
    made = []
    make_model = dp_step._model
    monkeypatch.setattr(dp_step, "_model", lambda *case: made.append(make_model(*case)) or made[-1])
    step = make_step(spec(rival))
    before = {name: value.clone() for name, value in made[0].state_dict().items()}
    step()
    for name, value in made[0].state_dict().items():
        assert torch.equal(value, before[name]) != ("norm" in name or "head" in name), name


def test_a_measurement_pairs_its_rounds():
    slow = paired.Measurement(seconds=(2.0, 4.0, 60.0))
    fast = paired.Measurement(seconds=(1.0, 2.0, 3.0))
    assert slow.ratio_to(fast) == 2.0
    assert slow.median_seconds() == 4.0


@pytest.mark.slow
def test_a_case_is_measured_in_fresh_processes():
    result = benchmark_dp_step(
        DpStepConfig(
            models=("vit-196",), schemes=("head",), clips=(2,), masked=False, views=2, rounds=2, threads=1
        )
    )
    assert [row.rival for row in result.rows] == ["sgd", "engine"]
    assert [row.views for row in result.rows] == [2, 2]
    for row in result.rows:
        assert row.refused is None
        assert row.seconds > 0
        assert row.over_sgd > 0
        assert row.peak_mib > 0
    assert result.table().count("\n") == 3
    json.dumps(config.to_dict(result), allow_nan=False)


def test_a_rival_that_refuses_says_why():
    replies: list[dict] = []
    order = {"make": "raymaskdp.benchmarks.dp_step:make_step", "spec": spec("engine", scheme="head", clips=0)}
    paired._serve(iter([json.dumps(order)]), replies.append)
    assert "clips" in replies[0]["refused"]


@pytest.mark.parametrize(
    "changes", [{"models": ("vit",)}, {"schemes": ("some",)}, {"clips": (9,)}, {"rounds": 0}]
)
def test_unknown_cases_are_refused(changes):
    with pytest.raises(UserError):
        DpStepConfig(**changes)
