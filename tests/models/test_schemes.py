"""How much each scheme trains, against the paper's tables; and what adapters and LoRA put in."""

from __future__ import annotations

import pytest
import torch
from support.backbones import SMALL, clips, small
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.models import (
    ModelConfig,
    apply_scheme,
    build_model,
    load_weights,
    save_weights,
)

torch.set_num_threads(1)
CLIPS_OF = {"mvit-b-16x4": (16, 224, 224)}


def trained(name: str, scheme: str, num_classes: int, **widths: int) -> int:
    """Trained numbers of the published size; without memory for them."""
    with torch.device("meta"):
        clip = CLIPS_OF.get(name, (1, 224, 224))
        net = build_model(ModelConfig(name=name), clip=clip, num_classes=num_classes, seed=0)
        return apply_scheme(net, scheme, **widths)


@pytest.mark.parametrize(
    ("name", "classes", "scheme", "count", "paper"),
    [  # Luo et al. 2023, tables 2, 4 and 6: "110K" for 110 885 is cut off, not rounded
        ("mvit-b-16x4", 101, "full", 36_380_741, "36.4M"),
        ("mvit-b-16x4", 101, "linear", 77_669, "77.7K"),
        ("mvit-b-16x4", 101, "selective", 110_885, "110K"),
        ("mvit-b-16x4", 101, "adapter", 1_776_325, "1.8M"),
        ("vit-s-16", 100, "full", 21_704_164, "21.7M"),
        ("vit-s-16", 100, "linear", 38_500, "38.5K"),
        ("vit-s-16", 100, "selective", 57_700, "57.7K"),
        ("convnext-t", 100, "full", 27_897_028, "27.9M"),
        ("convnext-t", 100, "linear", 76_900, "76.9K"),
        ("convnext-t", 100, "selective", 93_220, "93.2K"),
        ("resnet-50-gn", 100, "full", 23_712_932, "23.7M"),
        ("resnet-50-gn", 100, "linear", 204_900, "204K"),
        ("resnet-50-gn", 100, "selective", 258_020, "258K"),
    ],
)
def test_trained_counts_are_the_papers(name, classes, scheme, count, paper) -> None:
    found = trained(name, scheme, classes)
    assert found == count
    unit = {"K": 1e3, "M": 1e6}[paper[-1]]
    last_digit = 10.0 ** -len(paper[:-1].partition(".")[2]) * unit
    assert abs(found - float(paper[:-1]) * unit) < last_digit


@pytest.mark.parametrize("scheme", ["adapter", "lora"])
@pytest.mark.parametrize("name", ["video-transformer", "mvit-b-16x4", "vit-s-16", "convnext-t"])
def test_what_is_put_in_changes_nothing_at_first(name, scheme) -> None:
    if (name, scheme) == ("convnext-t", "lora"):
        pytest.skip("ConvNeXt has no attention")
    net, x = small(name), clips(2, SMALL[name][1])
    before = net(x)
    apply_scheme(net, scheme, adapter_width=3, lora_rank=2)
    assert torch.equal(net(x), before)
    learning = [path for path, value in net.named_parameters() if value.requires_grad]
    assert all(path.startswith("head.") or f".{scheme}." in path for path in learning)
    for path, value in net.named_parameters():
        if value.requires_grad and not path.startswith("head."):
            nn.init.normal_(value)
    assert not torch.allclose(net(x), before)


def test_adapters_follow_attention_and_perceptron_of_every_block() -> None:
    net = small("mvit-b-16x4")
    apply_scheme(net, "adapter", adapter_width=3)
    found = {name.removesuffix(".adapter") for name, _ in net.named_modules() if name.endswith(".adapter")}
    assert found == {f"blocks.{n}.{place}" for n in range(5) for place in ("attention.output", "contract")}


def test_what_was_put_in_is_saved_and_drawn_from_the_seed(tmp_path) -> None:
    first, second = small("vit-s-16"), small("vit-s-16")
    state = torch.get_rng_state()
    apply_scheme(first, "adapter", adapter_width=3, seed=1)
    apply_scheme(second, "adapter", adapter_width=3, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    down = "blocks.0.output.adapter.0.weight"
    assert not torch.equal(first.get_parameter(down), second.get_parameter(down))
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(tmp_path / "w.safetensors", second)
    assert torch.equal(first.get_parameter(down), second.get_parameter(down))
    with pytest.raises(UserError, match="they are of another model"):
        load_weights(tmp_path / "w.safetensors", small("vit-s-16"))


def test_models_without_places_are_named() -> None:
    with pytest.raises(UserError, match="ResNet names no layers for adapters"):
        apply_scheme(small("resnet-50-gn"), "adapter")
    with pytest.raises(UserError, match="ConvNeXt names no layers for LoRA"):
        apply_scheme(small("convnext-t"), "lora")


def test_frozen_parameters_take_no_part_in_the_backward_pass() -> None:
    net, x = small("mvit-b-16x4"), clips(2, (4, 16, 20))
    apply_scheme(net, "linear")
    assert not net.features(x).requires_grad  # no graph at all behind the head
    apply_scheme(net, "selective")
    net(x).sum().backward()
    for path, value in net.named_parameters():
        assert (value.grad is not None) == ("norm" in path or path.startswith("head.")), path
