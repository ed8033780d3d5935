"""What a training step holds where its memory is fullest: at the end of the forward pass."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
from support.changes import changed
from torch import Tensor

from raymaskdp.train import loop, train

WIDTH = 31
"""Odd, and more than there are records: a lot's features, two clips a record, never look like a weight."""


def live() -> list[Tensor]:
    """All live tensors, gradients of parameters included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated attributes that are looked at
        tensors = [value for value in gc.get_objects() if isinstance(value, Tensor)]
        return tensors + [value.grad for value in tensors if value.is_leaf and value.grad is not None]


def held(shapes: set[torch.Size], others: list[Tensor]) -> dict[torch.dtype, int]:
    """Bytes of all live tensors with such shapes that are not `others`, by number type."""
    known = {value.data_ptr() for value in others}
    places = {
        value.data_ptr(): (value.dtype, value.numel() * value.element_size())
        for value in live()
        if value.shape in shapes and value.data_ptr() not in known
    }
    found: dict[torch.dtype, int] = {}
    for kind, size in places.values():
        found[kind] = found.get(kind, 0) + size
    return found


@pytest.mark.parametrize("micro_batch", [100, 4])
def test_a_forward_pass_finds_at_most_the_weights_and_one_sum(base, monkeypatch, micro_batch) -> None:
    """No noise, no former sum, no former release; a sum only where there are several micro-batches."""
    losses_of, seen = loop.losses_of, []
    others = live()  # of other tests in this process

    def watched(model, *arguments):
        losses = losses_of(model, *arguments)
        large = {value.shape for value in model.parameters() if value.requires_grad and value.dim() > 1}
        weights = sum(value.numel() for value in model.parameters() if value.shape in large)
        gc.collect()
        seen.append({kind: size / weights for kind, size in held(large, others).items()})
        return losses

    monkeypatch.setattr(loop, "losses_of", watched)
    train(
        changed(
            base,
            privacy__mechanism="multiclip",
            model__options={"width": WIDTH, "depth": 1, "heads": 1, "tubelet": [2, 8, 8]},
            optimizer__momentum=0.0,
            compute__micro_batch=micro_batch,
            steps=4,
        )
    )
    assert len(seen) >= 4
    for found in seen:
        assert found[torch.float32] == 4
        assert found.get(torch.float64, 0) == 0
        assert found.get(torch.int64, 0) in ((0,) if micro_batch == 100 else (0, 8))
    assert any(torch.int64 in found for found in seen) == (micro_batch == 4)
