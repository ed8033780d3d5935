"""A clipped record is no longer than the clipping norm, at the sizes that models have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raymaskdp.privacy import GradientEngine, PrivacyPlan
from raymaskdp.privacy.per_record.gradients import Dense, Outer


def plan_with(mechanism: str) -> PrivacyPlan:
    return PrivacyPlan(
        mechanism=mechanism, num_records=10, expected_batch=1.0, steps=1, delta=1e-5, noise_multiplier=1.0
    )


def length(values: torch.Tensor) -> float:
    """By NumPy, in float64, a row at a time."""
    rows = values.flatten(1).numpy() if values.dim() > 1 else values[None].numpy()
    return float(np.sqrt(sum(np.sum(np.square(row.astype(np.float64))) for row in rows)))


def clipped_alone(layer: nn.Linear, mechanism: str, inputs: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
    """What the engine makes of one record, whose gradient is far longer than the clipping norm."""
    engine = GradientEngine(layer, plan_with(mechanism))
    with engine.record(num_records=1):
        losses = (layer(inputs) * pull).flatten(1).sum(1)
        return engine.clipped_sum(losses).gradients["weight"]


def empty_linear(size: int) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(size, size, bias=False)
    layer = layer.to_empty(device="cpu")
    nn.init.zeros_(layer.weight)
    return layer


@pytest.mark.parametrize("mechanism", ["maskdp", "dpsgd"])  # written out, and held as factors
@pytest.mark.parametrize("size", [1536, 4096, 8192])
@pytest.mark.parametrize("values", ["equal", "normal"])
def test_a_clipped_record_is_no_longer_than_the_bound(size: int, mechanism: str, values: str) -> None:
    generator = torch.Generator().manual_seed(size)

    def draw() -> torch.Tensor:
        drawn = torch.ones(1, size) if values == "equal" else torch.randn(1, size, generator=generator)
        return torch.cat([drawn, torch.zeros(1, size)]) if mechanism == "maskdp" else drawn

    found = length(clipped_alone(empty_linear(size), mechanism, draw(), draw()))
    assert found <= 1 + 1e-6
    assert found > 1 - 1e-5  # and it is not clipped for nothing


def test_many_equal_numbers_have_the_length_that_they_have() -> None:
    """2.36 million equal ones, as one record among others."""
    values = torch.full((3, 1536 * 1536), 0.1)
    values[1] *= 3
    exact = [1536 * float(torch.tensor(0.1)) * scale for scale in (1, 3, 1)]
    assert Dense(values).squared_norms().sqrt().numpy() == pytest.approx(exact, rel=1e-7)


def test_factors_whose_terms_cancel_are_no_longer_than_their_norm_says() -> None:
    """Rounding leaves more of them than there is; the norm must cover what is left."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        g, x = (torch.randn(1, 8, 64, generator=generator) for _ in range(2))
        g, x = torch.cat([g, -g], 1), torch.cat([x, x * (1 + 1e-7)], 1)
        order = torch.randperm(16, generator=generator)
        factors = Outer(g[:, order], x[:, order])
        made = factors.weighted_sum(torch.ones(1))
        assert length(made) <= float(factors.squared_norms().sqrt()) * (1 + 1e-6)
