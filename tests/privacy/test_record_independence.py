"""Models that mix records in ways that gradients do not show are refused by name."""

from __future__ import annotations

import random
from collections import UserDict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.privacy import GradientEngine, PrivacyPlan
from raymaskdp.privacy.per_record import record_independence
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
    """A buffer that counts micro-batches, and so the sizes of lots."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, rows: Tensor) -> Tensor:
        self.passes += 1
        return rows


class Noting(nn.Module):
    """A frozen parameter takes up what passes; no result depends on it, but it is published."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.zeros(6), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        self.seen.data += rows.detach().mean(0)
        return rows


class ExtraState(nn.Module):
    """The same in what `state_dict` has beside parameters and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(6)

    def forward(self, rows: Tensor) -> Tensor:
        self.seen = self.seen + rows.detach().mean(0)
        return rows

    def get_extra_state(self) -> Tensor:
        return self.seen

    def set_extra_state(self, state: Tensor) -> None:
        self.seen = state


class Bank(nn.Module):
    """A memory of earlier batches that is used when it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.bank: deque[Tensor] = deque(maxlen=64)

    def forward(self, rows: Tensor) -> Tensor:
        self.bank.append(rows.detach().mean(0))
        return rows + torch.stack(list(self.bank)).mean(0) if len(self.bank) == 64 else rows


class InSmallBatches(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows - rows.detach().mean(0) if len(rows) < 8 else rows


class Sometimes(nn.Module):
    """Mixes two records, as augmentations do, in a third of the passes."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, rows: Tensor) -> Tensor:
        return 0.9 * rows + 0.1 * rows.roll(2, 0) if self.draw() < 0.3 else rows


class InTraining(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return functional.batch_norm(rows, None, None, training=True) if self.training else rows


class Places(nn.Module):
    """Adds a number that depends on the place in the batch."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows + torch.arange(len(rows))[:, None]


class Sizes(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows * len(rows)


class WithoutNaN(torch.autograd.Function):
    """The identity, whose backward pass mixes what is finite."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        finite = torch.nan_to_num(gradients[0])
        return finite + finite.mean(0)


def scaled(rows: Tensor) -> Tensor:
    """Scales gradients by those of the whole batch, unless one is not finite."""
    rows = rows.clone()
    rows.register_hook(lambda g: g / g.abs().amax() if g.isfinite().all() else torch.zeros_like(g))
    return rows


class MixedBackwards(nn.Module):
    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.head, self.mix = nn.Linear(6, 6), nn.Linear(6, 3), mix

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.mix(self.inner(rows)))


def sum_of(model: nn.Module, records: int, plan: PrivacyPlan = PLAN) -> None:
    record(GradientEngine(model, plan), model, records)


def record(engine: GradientEngine, model: nn.Module, records: int) -> None:
    rows = torch.randn(2 * records, 6, generator=torch.Generator().manual_seed(records))
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
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Averaging, r"buffer 'stem\.mean' of the model changes"),
        (Counting, r"buffer 'stem\.passes' of the model changes"),
        (Noting, r"parameter 'stem\.seen' of the model changes"),
        (ExtraState, r"'stem\._extra_state' of the model changes"),
    ],
)
def test_what_changes_and_is_published_is_refused_by_name(kind, says: str, records: int) -> None:
    model = Model(kind())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=says):
        sum_of(model, records)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_replaced_inputs_have_the_layout_of_the_inputs() -> None:
    """Convolutions choose kernels by it, which round in other ways."""
    inputs = torch.randn(4, 3, 2, 6, 6).to(memory_format=torch.channels_last_3d)
    ((replaced,), _) = record_independence._replaced(
        (inputs,), {}, torch.tensor([True, False]), "like", seed=0
    )
    assert replaced.stride() == inputs.stride()
    assert torch.equal(replaced[2:], inputs[2:])
    assert not torch.equal(replaced[:2], inputs[:2])


def test_an_attribute_that_keeps_a_batch_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"attribute 'bank' of the module 'stem' \(Bank\) keeps values"):
        sum_of(Model(Bank()), 5)


def test_mixing_in_a_batch_that_is_smaller_than_those_before_is_refused() -> None:
    model = Model(InSmallBatches())
    engine = GradientEngine(model, PLAN)
    record(engine, model, 5)
    with pytest.raises(UserError, match="Records do not stay apart in the forward pass"):
        record(engine, model, 3)


def test_mixing_in_another_mode_is_refused() -> None:
    model = Model(InTraining()).eval()
    engine = GradientEngine(model, PLAN)
    record(engine, model, 5)
    model.train()
    with pytest.raises(UserError, match="Records do not stay apart in the forward pass"):
        record(engine, model, 5)


@pytest.mark.parametrize("draw", [lambda: float(torch.rand(())), np.random.random, random.random])
def test_mixing_that_random_numbers_decide_is_refused(draw: Callable[[], float]) -> None:
    with pytest.raises(UserError, match="Records do not stay apart in the forward pass"):
        sum_of(Model(Sometimes(draw)), 5)


@pytest.mark.parametrize("mix", [WithoutNaN.apply, scaled])
def test_mixing_backwards_that_drops_nan_is_refused(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match="at the module 'inner': in the backward pass the gradients of one"):
        sum_of(MixedBackwards(mix), 5)


@pytest.mark.parametrize("kind", [Places, Sizes])
def test_a_place_or_a_number_of_records_counts_only_where_one_may_be_missing(kind) -> None:
    sum_of(Model(kind()), 5)
    with pytest.raises(UserError, match="another result at another place in its batch"):
        sum_of(Model(kind()), 5, replace(PLAN, adjacency="add-remove"))
    sum_of(Model(nn.LayerNorm(6)), 5, replace(PLAN, adjacency="add-remove"))


class Boxed(nn.Module):
    """Its output, or its input, is in an object, in which records cannot be seen."""

    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        self.head, self.inside = nn.Linear(6, 3), inside

    def forward(self, rows: Any) -> Any:
        rows = rows["rows"] if self.inside else rows
        scores = self.head(rows - rows.detach().mean(0))
        return scores if self.inside else UserDict(scores=scores)


@pytest.mark.parametrize(("inside", "says"), [(True, "is called with"), (False, "returns")])
def test_what_cannot_be_looked_into_is_refused(inside: bool, says: str) -> None:
    model, rows = Boxed(inside=inside), torch.randn(10, 6)
    engine = GradientEngine(model, PLAN)
    with (
        pytest.raises(UserError, match=f"{says} an object of the type UserDict"),
        engine.record(num_records=5),
    ):
        model(UserDict(rows=rows) if inside else rows)


@pytest.mark.parametrize("kind", [lambda: nn.Dropout(0.5), lambda: nn.LayerNorm(6), nn.Tanh])
def test_what_keeps_records_apart_passes(kind) -> None:
    sum_of(Model(kind()), 5)


def test_trying_leaves_buffers_and_generators_alone() -> None:
    model = Model(nn.Tanh())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    sum_of(model, 5)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


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
