"""The comparison with Opacus is one of equals."""

from __future__ import annotations

import pytest
import torch

from raymaskdp.benchmarks import digits_opacus
from raymaskdp.benchmarks.digits_opacus import benchmark_digits_opacus
from raymaskdp.benchmarks.settings.training import DigitsOpacusConfig

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_both_learn_alike() -> None:
    torch.set_num_threads(1)
    result = benchmark_digits_opacus(DigitsOpacusConfig(epsilons=(8.0,), seeds=2, epochs=5))
    assert [row.model for row in result.rows] == list(digits_opacus.MODELS)
    for row in result.rows:
        assert abs(row.ours.mean - row.opacus.mean) < 0.15
        assert row.ours.mean > 0.6
        assert row.ours_seconds > 0
    assert str(result).count("\n") == 3
