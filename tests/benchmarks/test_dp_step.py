"""The benchmark of a training step does what it says, on cases that take seconds."""

from __future__ import annotations

import json
import threading
import time

import pytest
import torch

from raymaskdp import config
from raymaskdp.benchmarks import dp_step, paired
from raymaskdp.benchmarks.dp_step import RIVALS, benchmark_dp_step, make_step
from raymaskdp.benchmarks.settings.training import DpStepConfig
from raymaskdp.errors import UserError
from raymaskdp.privacy import PrivacyPlan


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
    assert [row.rival for row in result.rows] == ["sgd", "engine", "engine-ahead"]
    assert [row.views for row in result.rows] == [2, 2, 2]
    assert [row.noise is None for row in result.rows] == [True, False, False]
    assert 0 < result.rows[1].noise < 1
    assert 0 <= result.rows[2].noise < 1
    assert f"{result.rows[1].noise:.1%}" in result.table()
    for row in result.rows:
        assert row.refused is None
        assert row.seconds > 0
        assert row.over_sgd > 0
        assert row.peak_mib > 0
    assert result.table().count("\n") == 4
    assert result.left_out == ()
    json.dumps(config.to_dict(result), allow_nan=False)


def test_noise_is_timed_by_itself_and_drawn_ahead_by_other_threads(monkeypatch) -> None:
    torch.set_num_threads(1)
    draw = PrivacyPlan.whole_noise
    threads = set()

    def slow(self, key, step, shapes):
        threads.add(threading.current_thread().name.partition("_")[0])
        time.sleep(0.05 if len(shapes) > 1 else 0)  # ahead, each parameter is drawn by itself
        return draw(self, key, step, shapes)

    def spent(rival: str) -> float:
        threads.clear()
        step = make_step(spec(rival, scheme="all", records=4))
        step()
        began = time.perf_counter()
        noise = step()
        assert noise < time.perf_counter() - began
        return noise

    monkeypatch.setattr(PrivacyPlan, "whole_noise", slow)
    assert spent("engine") > 0.05
    assert threads == {"MainThread"}
    assert spent("engine-ahead") >= 0
    assert threads == {"noise"}


def test_what_there_is_no_time_for_is_said(monkeypatch) -> None:
    measured = paired.Measurement(seconds=(1.0,), parts=(0.25,), peak_bytes=1)
    clock = iter([0.0, 1.0, 2.0, 100.0, 100.0])
    monkeypatch.setattr(dp_step.time, "monotonic", lambda: next(clock))
    untils = []

    def measure(make, rivals, *, until, **settings):
        untils.append(until)
        return dict.fromkeys(rivals, measured)

    monkeypatch.setattr(paired, "measure", measure)
    result = benchmark_dp_step(DpStepConfig(models=("vit-196",), clips=(1, 8), minutes=1))
    assert result.left_out == ("vit-196 all K=8", "vit-196 all K=8 masked")
    assert "No time was left for: vit-196 all K=8; vit-196 all K=8 masked." in str(result)
    assert len(untils) == 2
    assert untils[0] < untils[1] < 60
    assert {row.noise for row in result.rows if row.rival.startswith("engine")} == {0.25}


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
