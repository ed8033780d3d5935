"""Every backbone under the privacy engine: exact gradients, record by record, in float64."""

from __future__ import annotations

import pytest
import torch
from support.backbones import HUB_CLIP, SMALL, clips, hub_folder, hub_model, small
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.models import SCHEMES, apply_scheme, checkpoint_activations
from raymaskdp.privacy import GradientEngine, PrivacyPlan

RECORDS, CLIPS = 3, 2
LABELS = torch.tensor([0, 2, 1])
NORM = 1e-4  # clips all records, so that a wrong norm shows


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def losses_of(net: nn.Module, views_LCTHW: Tensor, records: Tensor) -> Tensor:
    labels = LABELS[records].repeat_interleave(len(views_LCTHW) // len(records))
    return functional.cross_entropy(net(views_LCTHW), labels, reduction="none")


def record_by_record(net: nn.Module, views_NVCTHW: Tensor, signs_V: Tensor) -> dict[str, Tensor]:
    """Σ of clipped gradients, one ordinary backward pass a record."""
    learning = {name: value for name, value in net.named_parameters() if value.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in learning.items()}
    for record, views in enumerate(views_NVCTHW):
        loss = (losses_of(net, views, torch.tensor([record])) * signs_V).sum()
        grads = torch.autograd.grad(loss, list(learning.values()))
        length = torch.cat([grad.flatten() for grad in grads]).norm()
        assert length > NORM
        for name, grad in zip(learning, grads, strict=True):
            total[name] += grad * (NORM / length)
    return total


def assert_exact(net: nn.Module, clip: tuple[int, int, int]) -> None:
    """The engine's clipped sum of residuals (K clips minus their public views) against autograd."""
    plan = PrivacyPlan(
        mechanism="maskdp", num_records=100, expected_batch=10, clips=CLIPS, steps=10, delta=1e-5,
        noise_multiplier=1.0, clipping_norm=NORM,
    )  # fmt: skip
    net = net.double()
    views = clips(RECORDS * 2 * CLIPS, clip).double().unflatten(0, (RECORDS, 2 * CLIPS))
    signs = torch.tensor(plan.view_weights, dtype=torch.float64)
    engine = GradientEngine(net, plan)
    with engine.record(num_records=RECORDS):
        found = engine.clipped_sum(losses_of(net, views.flatten(0, 1), torch.arange(RECORDS)))
    expected = record_by_record(net, views, signs)
    assert found.num_bad == 0
    assert found.gradients.keys() == expected.keys()
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        assert value.any(), f"{name} gets no gradient, so nothing is tested of it"
        error = float((found.gradients[name] - value).abs().max())
        assert error <= 1e-7 * float(value.abs().max()) + 1e-13 * scale, name


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_all_parameters_of_a_backbone(name, checkpointed) -> None:
    net = small(name)
    apply_scheme(net, "full")
    if checkpointed:
        checkpoint_activations(net)
    assert_exact(net, SMALL[name][1])


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"full", "scratch"}))
@pytest.mark.parametrize("name", ["mvit-b-16x4", "vit-s-16"])
def test_all_schemes(name, scheme) -> None:
    net = small(name)
    apply_scheme(net, scheme, adapter_width=3, lora_rank=2)
    for path, value in net.named_parameters():  # what starts at zero would hide errors in what is behind it
        if value.requires_grad and not value.any():
            nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(len(path)))
    checkpoint_activations(net)
    assert_exact(net, SMALL[name][1])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("kind", ["VideoMAE", "Vivit"])
def test_classifiers_of_transformers(kind, checkpointed, tmp_path) -> None:
    pytest.importorskip("transformers", exc_type=ImportError)
    net = hub_model(hub_folder(tmp_path, kind))
    apply_scheme(net, "full")
    if checkpointed:
        checkpoint_activations(net)
    assert_exact(net, HUB_CLIP)


def test_timesformer_is_exact_where_its_class_token_stays_frozen(tmp_path) -> None:
    """It takes the class tokens of all clips from the first rows, which belong to the first records."""
    pytest.importorskip("transformers", exc_type=ImportError)
    net = hub_model(hub_folder(tmp_path, "Timesformer"))
    apply_scheme(net, "selective")
    assert_exact(net, HUB_CLIP)
    apply_scheme(net, "full")
    with pytest.raises(UserError, match=r"Records do not stay apart at the use of parameter.*timesformer"):
        assert_exact(net, HUB_CLIP)
