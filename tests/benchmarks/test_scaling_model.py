"""The model of scaling finds what synthetic timings were made from, and adds up like a ring."""

from __future__ import annotations

import numpy as np
import pytest

from raymaskdp.benchmarks.scaling_model import StepModel
from raymaskdp.errors import UserError

LINK = {"exchanged_bytes": 1e9, "bytes_per_second": 1e10, "latency_seconds": 1e-3}


def test_synthetic_timings_are_taken_apart_again() -> None:
    """Poisson lots, a hundredth of noise, and every tenth step slow for reasons of its own."""
    rng = np.random.default_rng(0)
    clips = rng.poisson(48, 200) * 6
    seconds = (0.05 + 0.004 * clips) * rng.normal(1, 0.01, 200)
    seconds[::10] += rng.exponential(1.0, 20)
    model = StepModel.fitted(clips, seconds, **LINK)
    assert model.clip_seconds == pytest.approx(0.004, rel=0.03)
    assert model.fixed_seconds == pytest.approx(0.05, abs=0.03)  # of about 1.2 seconds a step
    assert model.seconds(1, 288) == pytest.approx(0.05 + 0.004 * 288, rel=0.03)


def test_no_part_of_a_step_is_negative() -> None:
    model = StepModel.fitted([10, 20, 30], [0.09, 0.2, 0.31], **LINK)  # less than nothing is fixed
    assert (model.fixed_seconds, model.clip_seconds) == (0, pytest.approx(0.01))
    model = StepModel.fitted([10, 20, 30], [0.3, 0.2, 0.1], **LINK)
    assert (model.fixed_seconds, model.clip_seconds) == (pytest.approx(0.2), 0)
    model = StepModel.fitted([10, 10], [0.1, 0.1], **LINK)
    assert (model.fixed_seconds, model.clip_seconds) == (0, pytest.approx(0.01))
    with pytest.raises(UserError, match="at least two"):
        StepModel.fitted([10], [0.1], **LINK)


def test_workers_add_up_in_a_ring() -> None:
    model = StepModel(fixed_seconds=0.1, clip_seconds=0.01, **LINK)
    assert model.weak(1, 40) == model.strong(1, 40) == 1
    # Two workers: two messages of half of it each. Many: twice all of it, and the messages' latencies.
    assert model.weak(2, 40) == pytest.approx(0.5 / (0.5 + 2 * (1e-3 + 0.05)))
    assert model.weak(64, 40) == pytest.approx(0.5 / (0.5 + 126e-3 + 2 * 0.1 * 63 / 64))
    # What is fixed stays, however many share the clips.
    assert model.strong(4, 40) == pytest.approx(0.5 / (0.1 + 0.1 + 6 * (1e-3 + 0.025)))
    free = StepModel(
        fixed_seconds=0, clip_seconds=0.01, **{**LINK, "exchanged_bytes": 0, "latency_seconds": 0}
    )
    assert free.strong(64, 640) == pytest.approx(64)
