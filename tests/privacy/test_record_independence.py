"""Models that mix records in ways that gradients do not show are refused by name."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.privacy import GradientEngine, PrivacyPlan
from raymaskdp.privacy.per_record.record_independence import seed_generators

PLAN = PrivacyPlan(
    mechanism="multiclip",
    num_records=20,
    expected_batch=5.0,
    clips=2,
    steps=1,
    delta=1e-5,
    noise_multiplier=1.0,
)


class Model(nn.Module):
    """Features that may depend on the batch, frozen or detached, and a head that learns."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.stem = features
        self.head = nn.Linear(6, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.stem(rows))


class DetachedStatistics(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows - rows.detach().mean(0)


class ByRank(nn.Module):
    """Lets through the half of the batch that comes first, as experts with a capacity do."""

    def forward(self, rows: Tensor) -> Tensor:
        first = rows.detach().sum(1).argsort(descending=True)[: len(rows) // 2]
        chosen = torch.zeros(len(rows), 1).index_fill_(0, first, 1.0)
        return rows * (1 + chosen)


class FrozenBatchNorm(nn.Module):
    """Not a layer, so nothing to look up by its type."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6).requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        return functional.batch_norm(self.linear(rows), None, None, training=True)


class Standardising(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            scale = rows.std()
        return rows / scale


class Averaging(nn.Module):
    """No record's output depends on another, in this step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, rows: Tensor) -> Tensor:
        out = rows - self.mean
        self.mean += 1e-3 * (rows.detach().mean(0) - self.mean)
        return out


class Counting(nn.Module):
    """A buffer that moves, but tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, rows: Tensor) -> Tensor:
        self.passes += 1
        return rows


def sum_of(model: nn.Module, records: int, plan: PrivacyPlan = PLAN) -> None:
    rows = torch.randn(2 * records, 6, generator=torch.Generator().manual_seed(records))
    engine = GradientEngine(model, plan)
    with engine.record(num_records=records):
        engine.clipped_sum(
            functional.cross_entropy(model(rows), torch.zeros(2 * records).long(), reduction="none")
        )


@pytest.mark.parametrize("records", [2, 5, 16])
@pytest.mark.parametrize("kind", [DetachedStatistics, ByRank, FrozenBatchNorm, Standardising])
def test_mixing_without_gradients_is_refused_by_name(kind: type[nn.Module], records: int) -> None:
    with pytest.raises(UserError, match=rf"at the module 'stem' \({kind.__name__}\) one record's result"):
        sum_of(Model(kind()), records)


@pytest.mark.parametrize("records", [1, 4])
def test_a_buffer_that_averages_is_refused_by_name(records: int) -> None:
    model = Model(Averaging())
    with pytest.raises(UserError, match=r"buffer 'stem\.mean' of the model changes with the records"):
        sum_of(model, records)
    assert torch.equal(model.stem.mean, torch.zeros(6))


@pytest.mark.parametrize("kind", [Counting, lambda: nn.Dropout(0.5), lambda: nn.LayerNorm(6), nn.Tanh])
def test_what_keeps_records_apart_passes(kind) -> None:
    sum_of(Model(kind()), 5)


def test_trying_leaves_buffers_and_generators_alone() -> None:
    model = Model(Counting())
    torch.manual_seed(3)
    sum_of(model, 5)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert model.stem.passes == 1
    assert torch.equal(drawn, torch.rand(1))


def test_mixing_is_found_in_a_batch_that_is_larger_than_those_before() -> None:
    class Late(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows if len(rows) < 8 else rows - rows.detach().mean(0)

    model = Model(Late())
    engine = GradientEngine(model, PLAN)

    def run(records: int) -> None:
        rows = torch.randn(2 * records, 6)
        with engine.record(num_records=records):
            engine.clipped_sum(model(rows).sum(1))

    run(3)
    run(2)
    with pytest.raises(UserError, match="stem"):
        run(5)


def test_calling_parts_of_the_model_is_refused() -> None:
    model = Model(nn.Tanh())
    engine = GradientEngine(model, PLAN)
    with (
        engine.record(num_records=2),
        pytest.raises(UserError, match="call the model that the engine"),
    ):
        engine.clipped_sum(model.head(torch.randn(4, 6)).sum(1))


class OnlyWithGradients(nn.Module):
    """Another path where gradients are enabled, as in a step."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows / rows.detach().abs().amax(0) if torch.is_grad_enabled() else rows


def test_mixing_on_the_path_with_gradients_is_refused() -> None:
    with pytest.raises(UserError, match="at the module 'stem'"):
        sum_of(Model(OnlyWithGradients()), 5)


class Drawing(nn.Module):
    """Random numbers from elsewhere than torch's global generator."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, rows: Tensor) -> Tensor:
        return rows + 1e-6 * self.draw()


def test_random_numbers_that_nothing_seeds_are_refused() -> None:
    own = torch.Generator()
    with pytest.raises(UserError, match="gives other results for the same inputs and seeds"):
        sum_of(Model(Drawing(lambda: torch.rand((), generator=own))), 5)


@pytest.mark.parametrize("draw", [np.random.rand, random.random])
def test_random_numbers_of_numpy_and_python_are_seeded_and_left_as_they_were(draw) -> None:
    def drawn(passes: int) -> float:
        seed_generators(3)
        for _ in range(passes):
            draw()
        return draw()

    seed_generators(3)
    sum_of(Model(Drawing(draw)), 5)
    assert draw() == drawn(1)  # that of the step itself; trying drew others


def test_a_model_that_draws_random_numbers_is_refused_where_records_may_be_missing() -> None:
    missing = replace(PLAN, adjacency="add-remove")
    for plan, model in ((missing, Model(nn.Tanh())), (PLAN, Model(nn.Dropout(0.5)))):
        sum_of(model, 5, plan)
    with pytest.raises(UserError, match="draws random numbers in its forward pass"):
        sum_of(Model(nn.Dropout(0.5)), 5, missing)
