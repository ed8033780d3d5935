"""Image models against torchvision's, in its layout and in timm's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from support.backbones import SMALL, clips, small
from support.references import torchvision_models
from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig, build_model, load_backbone
from raymaskdp.models.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, normalize

torch.set_num_threads(1)
IMAGE = (1, 64, 64)
HALF = ((0.5,) * 3,) * 2
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)


def torchvision_vit() -> tuple[nn.Module, nn.Module]:
    net = torchvision_models().VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=6, hidden_dim=384, mlp_dim=1536, num_classes=5
    )
    return net, net.heads.head


def torchvision_convnext() -> tuple[nn.Module, nn.Module]:
    net = torchvision_models().convnext_tiny(num_classes=5)
    return net, net.classifier[2]


def torchvision_resnet() -> tuple[nn.Module, nn.Module]:
    net = torchvision_models().resnet50(num_classes=5, norm_layer=partial(nn.GroupNorm, 32))
    return net, net.fc


@pytest.mark.parametrize(
    ("name", "options", "reference", "colours"),
    [
        ("vit-s-16", {"depth": 2}, torchvision_vit, HALF),
        ("convnext-t", {}, torchvision_convnext, IMAGENET),
        ("resnet-50-gn", {}, torchvision_resnet, IMAGENET),
    ],
)
def test_outputs_equal_torchvisions_with_its_weights(name, options, reference, colours, tmp_path) -> None:
    theirs, their_head = reference()
    for value in theirs.parameters():
        nn.init.normal_(value, mean=1.0 if value.dim() == 1 else 0.0, std=0.03)
    torch.save(theirs.eval().state_dict(), tmp_path / "w.pth")
    ours = build_model(ModelConfig(name=name, options=options), clip=IMAGE, num_classes=5, seed=0)
    load_backbone(tmp_path / "w.pth", ours)
    ours.head.load_state_dict(their_head.state_dict())
    x = clips(2, IMAGE)
    with torch.no_grad():
        expected = theirs(normalize(x, *colours)[:, :, 0])
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


# timm's names, written out by hand from our layers.
TIMM_VIT = {
    "embed": "patch_embed.proj", "class_token": "cls_token", "position": "pos_embed", "norm": "norm",
    **{
        f"blocks.{n}.{ours}": f"blocks.{n}.{theirs}"
        for n in range(2)
        for ours, theirs in {
            "attention_norm": "norm1", "query_key_value": "attn.qkv", "output": "attn.proj",
            "perceptron_norm": "norm2", "expand": "mlp.fc1", "contract": "mlp.fc2",
        }.items()
    },
}  # fmt: skip
TIMM_CONVNEXT = {
    "stem": "stem.0", "stem_norm": "stem.1", "norm": "head.norm",
    **{f"shrink.{s}.norm": f"stages.{s + 1}.downsample.0" for s in range(3)},
    **{f"shrink.{s}.halve": f"stages.{s + 1}.downsample.1" for s in range(3)},
    **{
        f"stages.{s}.{b}.{ours}": f"stages.{s}.blocks.{b}.{theirs}"
        for s in range(4)
        for b in range(2)
        for ours, theirs in {
            "around": "conv_dw", "norm": "norm", "expand": "mlp.fc1", "contract": "mlp.fc2", "scale": "gamma",
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "names", "head"),
    [("vit-s-16", TIMM_VIT, "head"), ("convnext-t", TIMM_CONVNEXT, "head.fc")],
)
def test_timms_layouts_load(name, names, head, tmp_path) -> None:
    first, second = small(name, seed=1), small(name, seed=2)
    theirs = {f"{head}.weight": torch.zeros(1000, 8), f"{head}.bias": torch.zeros(1000)}
    for path, value in first.state_dict().items():
        module, _, leaf = path.rpartition(".")
        if module != "head":
            theirs[names[path] if path in names else f"{names[module]}.{leaf}"] = value
    torch.save(theirs, tmp_path / "w.pth")
    load_backbone(tmp_path / "w.pth", second)
    x = clips(2, SMALL[name][1])
    assert torch.equal(first.features(x), second.features(x))


@pytest.mark.parametrize("name", ["vit-s-16", "convnext-t", "resnet-50-gn"])
def test_a_clips_features_are_the_mean_of_its_frames(name) -> None:
    net = small(name)
    x = clips(2, SMALL[name][1])
    frames = [net.features(x[:, :, t : t + 1]) for t in range(x.shape[2])]
    torch.testing.assert_close(net.features(x), torch.stack(frames).mean(0))


def test_colours_are_those_of_pretrained_networks() -> None:
    pixels = torch.tensor([0.0, 128.0, 255.0]).view(1, 1, 1, 1, 3).expand(1, 3, 1, 1, 3)
    stored = (pixels - 128) / 128
    expected = (pixels / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1, 1)) / torch.tensor(
        IMAGENET_STD
    ).view(3, 1, 1, 1)
    torch.testing.assert_close(normalize(stored, *IMAGENET), expected)


@pytest.mark.parametrize(
    ("name", "options", "clip", "says"),
    [
        ("vit-s-16", {}, (1, 60, 64), "60 x 64 pixels cannot be cut into patches of 16"),
        ("vit-s-16", {"heads": 5}, IMAGE, "multiple of model.heads"),
        ("convnext-t", {}, (1, 24, 64), "24 x 64 pixels are too few"),
        ("convnext-t", {"widths": [8, 8]}, IMAGE, "must have 4 numbers each"),
        ("resnet-50-gn", {"groups": 48}, IMAGE, "multiple of model.groups"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, options, clip, says) -> None:
    with pytest.raises(UserError, match=says):
        build_model(ModelConfig(name=name, options=options), clip=clip, num_classes=2, seed=0)
