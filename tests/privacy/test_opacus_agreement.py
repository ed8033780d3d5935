"""The same clipped sums as Opacus, where both apply."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from opacus import GradSampleModule
from support.zoo import Pooled, losses_of, plan_of
from torch import Tensor, nn

from raymaskdp.privacy import GradientEngine

CLIPPING_NORM = 0.5


def models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "transformer-like": (
            Pooled(nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8)), 8),
            (5, 6),
        ),
        "convolutional": (
            Pooled(
                nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.ReLU()), 4, True
            ),
            (2, 8, 8),
        ),
    }


def opacus_sum(model: nn.Module, views_NV: Tensor, labels_NV: Tensor, weights_V: Tensor) -> dict[str, Tensor]:
    """Σ_i ĝ_i from Opacus's hooks: one forward pass a view, per-sample gradients added up by hand."""
    total: dict[str, Tensor] = {}
    for view, weight in enumerate(weights_V):
        wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook")
            losses_of(wrapped, views_NV[:, view], labels_NV[:, view]).sum().backward()
        for name, parameter in wrapped._module.named_parameters():
            total[name] = total.get(name, 0) + weight * parameter.grad_sample
    norms = torch.stack([value.flatten(1).square().sum(1) for value in total.values()]).sum(0).sqrt()
    factors = (CLIPPING_NORM / norms).clamp(max=1.0)
    return {name: torch.einsum("n,n...->...", factors, value) for name, value in total.items()}


@pytest.mark.parametrize("name", ["transformer-like", "convolutional"])
@pytest.mark.parametrize(("mechanism", "clips"), [("dpsgd", 1), ("multiclip", 3), ("maskdp", 2)])
def test_clipped_sums_agree_with_opacus(name, mechanism, clips):
    model, shape = models()[name]
    model = model.double()
    plan = plan_of(mechanism, clips=clips, clipping_norm=CLIPPING_NORM)
    inputs = torch.randn(5, plan.num_views, *shape, dtype=torch.float64)
    labels = torch.randint(0, 3, (5, plan.num_views))
    engine = GradientEngine(model, plan)
    with engine.record(num_records=5):
        found = engine.clipped_sum(losses_of(model, inputs.flatten(0, 1), labels.flatten()))
    expected = opacus_sum(model, inputs, labels, torch.tensor(plan.view_weights, dtype=torch.float64))
    size = torch.cat([value.flatten() for value in expected.values()]).norm()
    for key, value in expected.items():
        assert float((found.gradients[key] - value).norm() / size) < 1e-6, key
