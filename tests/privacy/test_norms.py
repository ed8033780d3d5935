"""A clipped record is no longer than the clipping norm, at the sizes that models have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.privacy import GradientEngine, PrivacyPlan
from raymaskdp.privacy.choices import MOST_RECORDS
from raymaskdp.privacy.per_record.gradients import Dense, Outer, Rows


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


PAID = 1 + 2**-11
"""What the price allows of one record beside its clipped gradient: half of `noise.MARGIN`."""


def moved(layer: nn.Module, inputs_NTD: torch.Tensor, pull_NTP: torch.Tensor, record: int) -> float:
    """How far a record moves the sum of its micro-batch: with it, less with it blank."""
    engine, sums = GradientEngine(layer, plan_with("dpsgd")), []
    blank = inputs_NTD.clone()
    blank[record] = 0
    for inputs in (inputs_NTD, blank):
        with engine.record(num_records=len(inputs)):
            losses = (layer(inputs) * pull_NTP).flatten(1).sum(1)
            sums.append(next(iter(engine.clipped_sum(losses).gradients.values())))
    return length(sums[0] - sums[1])


@pytest.mark.parametrize(("size", "records", "positions"), [(256, 64, 7), (256, 64, 20), (768, 16, 30)])
def test_terms_that_cancel_do_not_change_how_other_records_are_rounded(
    size: int, records: int, positions: int
) -> None:
    """Held as factors. In float32 the record moved the sum by 1.4 C to 2.2 C: small parts of the others are
    lost wherever they meet its first term, before the last one takes that away.
    """
    large = 2.0**17 + 64
    while large * 2 * positions * 2.0**-23 > 0.98:
        large = large / 2 + 16
    last = 2.0 ** (np.floor(np.log2(large)) - 23)
    pull = torch.zeros(records, positions, size)
    pull[..., 0] = 1
    found = []
    for record in range(records):
        inputs = torch.zeros(records, positions, size)
        inputs[..., 0] = min(last * 0.499, 1 / positions)
        inputs[record] = 0
        inputs[record, 0, 0], inputs[record, -1, 0] = large, -large
        inputs[record, 1, 0] = -0.95 * (1 - large * 2 * positions * 2.0**-23)
        found.append(moved(empty_linear(size), inputs, pull, record))
    assert max(found) <= PAID
    assert max(found) > 0.01


class Scaled(nn.Module):
    """A bias alone, whose gradient is the pull."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)
        self.layer.weight.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs * 0) * inputs[..., :1]


@pytest.mark.parametrize("records", [512, 3000, MOST_RECORDS])
def test_a_record_that_lifts_a_sum_above_a_power_of_two_moves_it_no_further(records: int) -> None:
    """Written out. In float32, halves of the last place of the sum are lost above it and counted below it."""
    lifted = 2 ** (int(np.log2(records)) - 1)
    inputs = torch.full((records, 1, 4), -lifted * 2.0**-24)
    inputs[:lifted] = 1.0
    inputs[lifted - 1], inputs[lifted] = 0.5, 1.0
    pull = torch.zeros(records, 1, 8)
    pull[..., 0] = 1
    assert 0.9 < moved(Scaled(), inputs, pull, 0) <= PAID


def test_sums_over_records_are_those_of_float64_in_all_forms() -> None:
    generator = torch.Generator().manual_seed(1)
    g, x = torch.randn(40, 5, 6, generator=generator), torch.randn(40, 5, 7, generator=generator) * 1e4
    factors = torch.rand(40, generator=generator, dtype=torch.float64)
    factors[3], g[3] = 0, torch.nan
    each = g.double().mT @ x.double()
    expected = (each * factors[:, None, None])[factors > 0].sum(0)
    for form in (Outer(g, x), Dense(each)):
        found = form.weighted_sum(factors)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-9)
    records, rows = torch.arange(40).repeat_interleave(2), torch.randint(0, 9, (80,), generator=generator)
    values = torch.randn(80, 3, generator=generator)
    values[6:8] = torch.nan
    found = Rows(records, rows, values, 40, 9).weighted_sum(factors)
    kept = factors[records] > 0
    wanted = torch.zeros(9, 3, dtype=torch.float64)
    wanted.index_add_(0, rows[kept], values[kept].double() * factors[records[kept], None])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_more_records_than_the_price_allows_for_are_refused() -> None:
    engine = GradientEngine(empty_linear(2), plan_with("dpsgd"))
    with (
        pytest.raises(UserError, match=r"at most 8192 records.* record them in parts"),
        engine.record(num_records=MOST_RECORDS + 1),
    ):
        pass
