"""How far one record moves the clipped sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.zoo import build, losses_of, plan_of
from torch import Tensor, nn

from raymaskdp.privacy import GradientEngine, changed_clips

RECORDS, CLIPS = 3, 2


def records_of(shape: tuple[int, ...], seed: int, loudness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Clips [N, K, …], their public views (some values filled with 0), and labels [N, K], in float32."""
    generator = torch.Generator().manual_seed(seed)
    clips = loudness * torch.randn(RECORDS, CLIPS, *shape, generator=generator)
    sensitive = torch.rand(clips.shape, generator=generator) < 0.7
    return (
        clips,
        clips.masked_fill(sensitive, 0.0),
        torch.randint(0, 3, (RECORDS, CLIPS), generator=generator),
    )


def residual_sum(
    model: nn.Module, engine: GradientEngine, clips: Tensor, public: Tensor, labels: Tensor
) -> Tensor:
    views = torch.cat([clips, public], 1).flatten(0, 1)
    weights = changed_clips(clips, public) / CLIPS
    with engine.record(num_records=RECORDS):
        losses = losses_of(model, views, torch.cat([labels, labels], 1).flatten())
        found = engine.clipped_sum(losses, weights)
    return torch.cat([value.flatten() for value in found.gradients.values()]).double()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["linear 2-D", "tokens", "conv 2-D", "group norm", "layer norm", "checkpointed"]),
    clipping=st.sampled_from(["flat", "automatic", "per-layer"]),
    bound=st.sampled_from([1e-3, 0.1, 10.0]),
    loudness=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 2**20),
)
def test_filling_one_records_sensitive_tokens_moves_the_sum_by_at_most_c(
    name, clipping, bound, loudness, seed
):
    plan = plan_of("maskdp", clips=CLIPS, clipping_norm=bound, clipping=clipping)
    model, shape = build(name, seed)
    model = model.float()
    clips, public, labels = records_of(shape, seed, loudness)
    engine = GradientEngine(model, plan)
    here = residual_sum(model, engine, clips, public, labels)
    filled = clips.clone()
    filled[1] = public[1]
    there = residual_sum(model, engine, filled, public, labels)
    assert plan.sensitivity == bound
    assert float((here - there).norm()) <= bound * (1 + 1e-5)


def test_a_record_without_sensitive_tokens_has_a_residual_of_exactly_zero():
    model, shape = build("tokens", 0)
    model = model.float()
    _, public, labels = records_of(shape, 0, 30.0)
    engine = GradientEngine(model, plan_of("maskdp", clips=CLIPS))
    assert (residual_sum(model, engine, public, public, labels) == 0).all()


@pytest.mark.parametrize("mechanism", ["dpsgd", "multiclip", "maskdp", "maskdp-full"])
@pytest.mark.parametrize("clipping", ["flat", "automatic", "per-layer"])
def test_any_one_record_contributes_at_most_the_bound(mechanism, clipping):
    clips = 1 if mechanism == "dpsgd" else CLIPS
    plan = plan_of(mechanism, clips=clips, clipping_norm=0.2, clipping=clipping)
    model, shape = build("tokens", 5)
    model = model.float()
    engine = GradientEngine(model, plan)
    for seed in range(8):
        inputs = 20 * torch.randn(1, plan.num_views, *shape, generator=torch.Generator().manual_seed(seed))
        with engine.record(num_records=1):
            losses = losses_of(model, inputs.flatten(0, 1), torch.zeros(plan.num_views, dtype=torch.long))
            found = engine.clipped_sum(losses)
        norm = torch.cat([value.flatten() for value in found.gradients.values()]).double().norm()
        assert float(norm) <= 0.2 * (1 + 1e-5)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_one_records_poison_moves_the_sum_by_at_most_c(poison):
    model, shape = build("tokens", 0)
    model = model.float()
    clips, public, labels = records_of(shape, 0, 1.0)
    engine = GradientEngine(model, plan_of("maskdp", clips=CLIPS, clipping_norm=0.3))
    here = residual_sum(model, engine, clips, public, labels)
    poisoned = clips.clone()
    poisoned[1, 0] = poison
    there = residual_sum(model, engine, poisoned, public, labels)
    assert there.isfinite().all()
    assert float((here - there).norm()) <= 2 * 0.3 * (1 + 1e-5)


def test_the_bound_is_not_vacuous():
    """A record's clip that is clipped on its own would contribute more than C."""
    model, shape = build("linear 2-D", 0)
    bound = 1e-3
    plan = plan_of("multiclip", clips=4, clipping_norm=bound)
    view = torch.randn(1, 1, *shape, dtype=torch.float64).expand(1, 4, *shape)
    engine = GradientEngine(model, plan)
    with engine.record(num_records=1):
        found = engine.clipped_sum(losses_of(model, view.flatten(0, 1), torch.zeros(4, dtype=torch.long)))
    with engine.record(num_records=4, views=1):
        weights = torch.ones(4, 1)
        per_clip = engine.clipped_sum(
            losses_of(model, view.flatten(0, 1), torch.zeros(4, dtype=torch.long)), weights
        )
    norms = [torch.cat([v.flatten() for v in s.gradients.values()]).norm().item() for s in (found, per_clip)]
    assert norms[0] == pytest.approx(bound)
    assert norms[1] == pytest.approx(4 * bound)
