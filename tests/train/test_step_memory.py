"""What a training step holds where its memory is fullest: at the end of the forward pass."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
from support.changes import changed
from torch import Tensor

from raymaskdp.train import loop, train


def held(shapes: set[torch.Size]) -> dict[torch.dtype, int]:
    """Bytes of all live tensors with such shapes, by number type; gradients of parameters included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated attributes that are looked at
        tensors = [value for value in gc.get_objects() if isinstance(value, Tensor)]
        tensors += [value.grad for value in tensors if value.is_leaf and value.grad is not None]
    places = {
        value.data_ptr(): (value.dtype, value.numel() * value.element_size())
        for value in tensors
        if value.shape in shapes
    }
    found: dict[torch.dtype, int] = {}
    for kind, size in places.values():
        found[kind] = found.get(kind, 0) + size
    return found


@pytest.mark.parametrize("micro_batch", [100, 4])
def test_a_forward_pass_finds_at_most_the_weights_and_one_sum(base, monkeypatch, micro_batch) -> None:
    """No noise, no former sum, no former release; a sum only where there are several micro-batches."""
    losses_of, seen = loop.losses_of, []

    def watched(model, *arguments):
        losses = losses_of(model, *arguments)
        # Of more numbers than a batch has labels.
        large = {value.shape for value in model.parameters() if value.requires_grad and value.dim() > 1}
        weights = sum(value.numel() for value in model.parameters() if value.shape in large)
        gc.collect()
        seen.append({kind: size / weights for kind, size in held(large).items()})
        return losses

    monkeypatch.setattr(loop, "losses_of", watched)
    train(
        changed(
            base,
            privacy__mechanism="multiclip",
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
