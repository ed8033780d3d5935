"""What cannot be done exactly is an error that names the module or parameter."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from support.zoo import build, losses_of, plan_of
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from raymaskdp.errors import UserError
from raymaskdp.privacy import GradientEngine


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def weight_norm() -> nn.Module:
    return torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.BatchNorm1d(4), "GroupNorm"),
        (lambda: nn.BatchNorm1d(4).requires_grad_(False), "GroupNorm"),
        (lambda: nn.SyncBatchNorm(4), "GroupNorm"),
        (lambda: nn.InstanceNorm1d(4, track_running_stats=True), "GroupNorm"),
        (lambda: nn.InstanceNorm1d(4, affine=True), "not supported"),
        (lambda: nn.MultiheadAttention(4, 2), "nn.Linear"),
        (lambda: nn.LSTM(4, 4), "not supported"),
        (lambda: nn.ConvTranspose2d(4, 4, 2), "not supported"),
        (lambda: nn.Bilinear(4, 4, 2), "not supported"),
        (lambda: nn.PReLU(), "nn.ReLU"),
        (lambda: Scaled(4, 3), "changes the forward"),
        (weight_norm, "not supported"),
        (lambda: nn.Embedding(5, 4, max_norm=1.0), "max_norm"),
    ],
)
def test_unsupported_modules_are_named_when_the_engine_is_made(make: Callable[[], nn.Module], says: str):
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 4))
    model.add_module("odd_one", make())
    with pytest.raises(UserError, match="odd_one") as caught:
        GradientEngine(model, plan_of("dpsgd"))
    assert says in str(caught.value)


def test_a_frozen_unsupported_module_is_fine():
    model = nn.Sequential(nn.Bilinear(4, 4, 2).requires_grad_(False), nn.Linear(2, 3))
    GradientEngine(model, plan_of("dpsgd"))


class Functional(nn.Module):
    """Uses a layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.linear(self.inner(x), self.inner.weight))


class RawMatrix(nn.Module):
    """A raw parameter met by an operation that is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 3))
        self.shift = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.shift(torch.einsum("bi,ij->bj", x, self.matrix))


class FirstRowOnly(nn.Module):
    """A position of the first view given to all views."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.position.expand(len(x), -1)[0])


class BatchMean(nn.Module):
    """Mixes records by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return self.head(x - x.mean(0))


class TimeFirst(nn.Module):
    """Puts another dimension before the batch."""

    def __init__(self, tokens: int = 2) -> None:
        super().__init__()
        self.tokens = tokens
        self.inner = nn.Linear(4 // tokens, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x.unflatten(1, (self.tokens, -1)).transpose(0, 1)).mean(0))


class Borrowed(nn.Module):
    """Two rows a record, of which a record uses one; only the first record's is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.inner(x.unflatten(1, (2, 2)).flatten(0, 1))
        return self.head(rows[: len(x)])


class ZeroHead(BatchMean):
    """Mixes records behind a head that starts at zero, so that all gradients before it are zero."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.head.weight)


class NoGrad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.inner(x)
        return self.head(x)


class Reentrant(NoGrad):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.inner, x.requires_grad_(), use_reentrant=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Functional, "inner.weight"),
        (RawMatrix, "matrix.*einsum"),
        (BatchMean, "apart in the forward pass: at the code before the module 'head'"),
        (Borrowed, "apart in the forward pass: at the code before the module 'head'"),
        (ZeroHead, "inner.*mixes"),
        (TimeFirst, "inner.*must be the batch"),
        (lambda: TimeFirst(tokens=4), "apart.*inner.*batch_first"),
        (NoGrad, "inner.*no_grad"),
        (Reentrant, "inner.*use_reentrant=False"),
    ],
)
def test_wrong_uses_are_named_when_they_happen(make: Callable[[], nn.Module], says: str):
    torch.manual_seed(0)
    model = make()
    engine = GradientEngine(model, plan_of("dpsgd"))
    with pytest.raises(UserError, match=says), engine.record(num_records=4):
        engine.clipped_sum(losses_of(model, torch.randn(4, 4), torch.tensor([0, 1, 2, 0])))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_mixing_is_found_although_a_record_is_bad():
    torch.manual_seed(0)
    engine = GradientEngine(model := TimeFirst(tokens=4), plan_of("dpsgd"))
    inputs = torch.randn(4, 4)
    inputs[3] = torch.nan
    with pytest.raises(UserError, match="stay apart"), engine.record(num_records=4):
        engine.clipped_sum(losses_of(model, inputs, torch.tensor([0, 1, 2, 0])))


class FromTheFifthOn(nn.Module):
    """Keeps small batches apart, and looks at its neighbours in large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return self.head(x - x.mean(0) if len(x) > 4 else x)


def test_mixing_is_found_when_a_batch_is_larger_than_all_before():
    torch.manual_seed(0)
    engine = GradientEngine(model := FromTheFifthOn(), plan_of("dpsgd"))
    for records in (2, 4, 3):
        with engine.record(num_records=records):
            engine.clipped_sum(losses_of(model, torch.randn(records, 4), torch.zeros(records).long()))
    with pytest.raises(UserError, match="stay apart"), engine.record(num_records=5):
        engine.clipped_sum(losses_of(model, torch.randn(5, 4), torch.zeros(5).long()))


class OneLooksAtAnother(nn.Module):
    def __init__(self, one: int, other: int) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.one, self.other = one, other

    def forward(self, x: Tensor) -> Tensor:
        rows = list(self.inner(x))
        rows[self.one] = rows[self.one] + rows[self.other]
        return self.head(torch.stack(rows))


@pytest.mark.parametrize("records", [2, 3, 6, 7, 11])
def test_mixing_is_found_between_any_two_records(records: int):
    torch.manual_seed(0)
    for one, other in itertools.permutations(range(records), 2):
        engine = GradientEngine(model := OneLooksAtAnother(one, other), plan_of("dpsgd"))
        with pytest.raises(UserError, match="stay apart"), engine.record(num_records=records):
            engine.clipped_sum(losses_of(model, torch.randn(records, 4), torch.zeros(records).long()))


def test_picking_one_copy_of_an_expanded_parameter_is_still_exact():
    torch.manual_seed(0)
    model = FirstRowOnly()
    engine = GradientEngine(model, plan_of("dpsgd", clipping_norm=1e6))
    inputs, labels = torch.randn(4, 4), torch.tensor([0, 1, 2, 0])
    with engine.record(num_records=4):
        found = engine.clipped_sum(losses_of(model, inputs, labels))
    expected = torch.autograd.grad(losses_of(model, inputs, labels).sum(), model.position)[0]
    torch.testing.assert_close(found.gradients["position"].float(), expected)


def test_losses_that_were_averaged_are_refused():
    model, shape = build("linear 2-D", 0)
    engine = GradientEngine(model, plan_of("multiclip", clips=2))
    with pytest.raises(UserError, match="reduction='none'"), engine.record(num_records=3):
        engine.clipped_sum(model(torch.randn(6, *shape, dtype=torch.float64)).mean())


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(UserError, match="no trainable parameter"):
        GradientEngine(nn.Linear(2, 2).requires_grad_(False), plan_of("dpsgd"))


def test_unfreezing_after_the_engine_was_made_is_refused():
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 3))
    engine = GradientEngine(model, plan_of("dpsgd"))
    model[0].requires_grad_(True)
    with pytest.raises(UserError, match=r"0\.weight"), engine.record(num_records=1):
        pass


@pytest.mark.parametrize(
    "weights", [[[-0.5, 0.5]] * 2, [[0.9, 0.9]] * 2, [[float("nan"), 0.5]] * 2, [[1.0]] * 2]
)
def test_clip_weights_that_would_break_the_bound_are_refused(weights):
    model, shape = build("linear 2-D", 0)
    engine = GradientEngine(model, plan_of("multiclip", clips=2))
    inputs, labels = torch.randn(4, *shape, dtype=torch.float64), torch.zeros(4, dtype=torch.long)
    with pytest.raises(UserError, match="clip_weights_NK"), engine.record(num_records=2):
        engine.clipped_sum(losses_of(model, inputs, labels), torch.tensor(weights))
