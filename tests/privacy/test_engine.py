"""The engine's clipped sums against brute-force autograd in float64."""

from __future__ import annotations

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.zoo import ZOO, brute_force, build, losses_of, plan_of
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.privacy import GradientEngine
from raymaskdp.privacy.per_record.gradients import Outer


def batch(shape: tuple[int, ...], records: int, views: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(records, views, *shape, dtype=torch.float64, generator=generator)
    return inputs, torch.randint(0, 3, (records, views), generator=generator)


def engine_sum(model: nn.Module, engine: GradientEngine, inputs: Tensor, labels: Tensor, **kwargs: Tensor):
    with engine.record(num_records=len(inputs), views=inputs.shape[1]):
        losses = losses_of(model, inputs.flatten(0, 1), labels.flatten())
        return engine.clipped_sum(losses, **kwargs)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(value.abs().max()) for value in expected.values()) + 1e-12
    for name, value in expected.items():
        assert float((found[name] - value).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("name", ZOO)
@settings(max_examples=8, deadline=None)
@given(
    mechanism=st.sampled_from(["sgd", "dpsgd", "multiclip", "maskdp", "maskdp-full"]),
    clipping=st.sampled_from(["flat", "automatic", "per-layer"]),
    clipping_norm=st.sampled_from([1e-3, 0.3, 1e3]),
    records=st.integers(1, 4),
    clips=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
def test_clipped_sums_equal_brute_force(name, mechanism, clipping, clipping_norm, records, clips, seed):
    clips = 1 if mechanism == "dpsgd" else clips
    plan = plan_of(mechanism, clips=clips, clipping_norm=clipping_norm, clipping=clipping)
    model, shape = build(name, seed)
    inputs, labels = batch(shape, records, plan.num_views, seed)
    found = engine_sum(model, GradientEngine(model, plan), inputs, labels)
    weights = torch.tensor(plan.view_weights, dtype=torch.float64).expand(records, -1)
    assert_same(found.gradients, brute_force(model, inputs, labels, weights, plan.make_clipping()))
    assert found.num_bad == 0


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**20))
def test_weights_of_clips_are_those_given(data, seed):
    records, clips = 3, 3
    raw = data.draw(
        st.lists(st.lists(st.floats(0, 1), min_size=clips, max_size=clips), min_size=3, max_size=3)
    )
    weights = torch.tensor(raw, dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1.0)
    plan = plan_of("maskdp", clips=clips, clipping_norm=0.2)
    model, shape = build("tokens", seed)
    inputs, labels = batch(shape, records, 2 * clips, seed)
    found = engine_sum(model, GradientEngine(model, plan), inputs, labels, clip_weights_NK=weights)
    signed = torch.cat([weights, -weights], 1)
    assert_same(found.gradients, brute_force(model, inputs, labels, signed, plan.make_clipping()))


def test_micro_batches_add_up_and_an_empty_share_adds_nothing():
    plan = plan_of("multiclip", clips=2, clipping_norm=0.1)
    model, shape = build("tokens", 0)
    inputs, labels = batch(shape, 5, 2, 0)
    engine = GradientEngine(model, plan)
    whole = engine_sum(model, engine, inputs, labels)
    parts = engine.zero_sum()
    for piece in (slice(0, 1), slice(1, 3), slice(3, 5)):
        parts += engine_sum(model, engine, inputs[piece], labels[piece])
    assert_same(parts.gradients, whole.gradients)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("name", ["tokens", "conv 2-D", "wide linear", "layer norm"])
def test_bad_records_contribute_zero_and_leave_the_others_alone(name, bad):
    plan = plan_of("multiclip", clips=2, clipping_norm=0.5)
    model, shape = build(name, 1)
    inputs, labels = batch(shape, 4, 2, 1)
    broken = inputs.clone()
    broken[1, 0].view(-1)[0] = bad
    engine = GradientEngine(model, plan)
    found = engine_sum(model, engine, broken, labels)
    good = [0, 2, 3]
    expected = engine_sum(model, engine, inputs[good], labels[good])
    if found.num_bad:
        assert_same(found.gradients, expected.gradients)
    else:  # 1e300 may pass a normalisation unharmed; the sum must then be finite and bounded all the same
        total = sum(float(value.square().sum()) for value in found.gradients.values())
        assert total**0.5 <= 4 * 0.5 * (1 + 1e-5)
    assert all(value.isfinite().all() for value in found.gradients.values())
    assert found.num_bad == 1 or bad == 1e300


def test_a_batch_of_bad_records_alone_gives_zero():
    model, shape = build("tokens", 0)
    inputs, labels = batch(shape, 2, 1, 0)
    found = engine_sum(model, GradientEngine(model, plan_of("dpsgd")), inputs * torch.nan, labels)
    assert found.num_bad == 2
    assert all((value == 0).all() for value in found.gradients.values())


def test_autocast_to_bfloat16_keeps_sums_in_float64_and_close():
    plan = plan_of("maskdp", clips=2, clipping_norm=0.5)
    model, shape = build("tokens", 3)
    model = model.float()
    inputs, labels = batch(shape, 4, 4, 3)
    inputs = inputs.float()
    engine = GradientEngine(model, plan)
    exact = engine_sum(model, engine, inputs, labels)
    with engine.record(num_records=4), torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, inputs.flatten(0, 1), labels.flatten())
        inside = engine.clipped_sum(losses.float())
    with engine.record(num_records=4):
        with torch.autocast("cpu", torch.bfloat16):
            losses = losses_of(model, inputs.flatten(0, 1), labels.flatten())
        rough = engine.clipped_sum(losses.float())
    for name, value in rough.gradients.items():  # the call itself is not under autocast, wherever it stands
        assert torch.equal(value, inside.gradients[name]), name
    for name, value in exact.gradients.items():
        assert rough.gradients[name].dtype == torch.float64
        assert float((rough.gradients[name] - value).norm()) <= 0.1 * (float(value.norm()) + 0.05), name


def test_nothing_is_left_on_the_model_and_ordinary_training_still_works():
    model, shape = build("checkpointed", 0)
    inputs, labels = batch(shape, 3, 1, 0)
    before = dict(model.named_parameters())
    keys = {id(module): set(vars(module)) for module in model.modules()}
    engine = GradientEngine(model, plan_of("dpsgd"))
    engine_sum(model, engine, inputs, labels)
    with pytest.raises(IndexError), engine.record(num_records=3):
        model(inputs.flatten(0, 1))[99]
    for name, parameter in model.named_parameters():
        assert parameter is before[name]
        assert parameter.grad is None
        assert parameter.requires_grad
    for module in model.modules():
        assert set(vars(module)) == keys[id(module)]
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    losses_of(model, inputs.flatten(0, 1), labels.flatten()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_error_inside_a_layer_puts_its_parameters_back():
    model, _ = build("linear 3-D", 0)
    engine = GradientEngine(model, plan_of("dpsgd"))
    with pytest.raises(RuntimeError), engine.record(num_records=2):
        model(torch.zeros(2, 5, 3, dtype=torch.float64))  # the wrong width
    assert all(isinstance(parameter, nn.Parameter) for parameter in model.parameters())
    assert len(list(model.parameters())) == 4


def test_a_recording_frees_its_activations_without_the_garbage_collector():
    model, shape = build("tokens", 0)
    inputs, labels = batch(shape, 3, 1, 0)
    engine = GradientEngine(model, plan_of("dpsgd"))
    engine_sum(model, engine, inputs, labels)
    gc.collect()
    gc.disable()
    try:
        alive = sum(1 for thing in gc.get_objects() if isinstance(thing, Tensor))
        for _ in range(5):
            engine_sum(model, engine, inputs, labels)
        assert sum(1 for thing in gc.get_objects() if isinstance(thing, Tensor)) <= alive + 5
    finally:
        gc.enable()


def test_both_forms_of_a_linear_gradient_agree():
    generator = torch.Generator().manual_seed(0)
    factors = Outer(torch.randn(3, 4, 5, generator=generator), torch.randn(3, 4, 6, generator=generator))
    full = factors.dense()
    # That of the factors covers how their sum is rounded, and is never below.
    exact = (factors.outputs_NTP.double().mT @ factors.inputs_NTD.double()).flatten(1).square().sum(1)
    assert (factors.squared_norms() >= exact).all()
    torch.testing.assert_close(factors.squared_norms(), exact, rtol=1e-5, atol=0.0)
    weights = torch.tensor([0.5, 0.0, 2.0])
    expected = torch.einsum("n,npd->pd", weights, full).double()
    torch.testing.assert_close(factors.weighted_sum(weights), expected, rtol=1e-5, atol=1e-5)


def test_sums_of_factors_equal_brute_force_in_single_precision():
    """Models in float64 hold no factors, so the tests above do not see them."""
    plan = plan_of("dpsgd", clipping_norm=0.5)
    model, shape = build("tokens", 5)
    model, (inputs, labels) = model.float(), batch(shape, 5, 1, 5)
    engine = GradientEngine(model, plan)
    found = engine_sum(model, engine, inputs.float(), labels)
    weights = torch.ones(5, 1, dtype=torch.float64)
    expected = brute_force(model.double(), inputs, labels, weights, plan.make_clipping())
    for name, value in expected.items():
        torch.testing.assert_close(found.gradients[name], value, rtol=1e-3, atol=1e-5)


def test_a_frozen_subtree_is_not_watched():
    model, shape = build("frozen start", 0)
    engine = GradientEngine(model, plan_of("dpsgd"))
    watched = {layer.name for layer in engine._layers}
    assert watched == {"body.2", "head"}
    inputs, labels = batch(shape, 2, 1, 0)
    with engine.record(num_records=2):
        features = model.body[1](model.body[0](inputs.flatten(0, 1)))
        assert not features.requires_grad
        engine.clipped_sum(
            functional.cross_entropy(model(inputs.flatten(0, 1)), labels.flatten(), reduction="none")
        )
