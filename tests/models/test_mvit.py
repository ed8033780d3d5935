"""MViT against torchvision's, and its weights in three layouts."""

from __future__ import annotations

import itertools

import pytest
import torch
from support.backbones import clips, small
from support.references import torchvision_models, waves
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.models import ModelConfig, build_model, load_backbone
from raymaskdp.models.backbones.backbone import normalize
from raymaskdp.models.backbones.mvit import MViT, MViTConfig, block_shapes

torch.set_num_threads(1)
CLIP = (4, 32, 48)
KINETICS = ((0.45,) * 3, (0.225,) * 3)


def torchvision_mvit(config: MViTConfig, clip: tuple[int, int, int], num_classes: int) -> nn.Module:
    video = torchvision_models().video.mvit
    blocks = [
        video.MSBlockConfig(
            num_heads=shape.heads,
            input_channels=shape.width,
            output_channels=shape.out_width,
            kernel_q=[3, 3, 3] if shape.query_stride > 1 else [],
            kernel_kv=[3, 3, 3],
            stride_q=[1, shape.query_stride, shape.query_stride] if shape.query_stride > 1 else [],
            stride_kv=[1, shape.key_stride, shape.key_stride],
        )
        for shape in block_shapes(config)
    ]
    return video.MViT(
        spatial_size=clip[1:], temporal_size=clip[0], block_setting=blocks, residual_pool=False,
        residual_with_cls_embed=False, rel_pos_embed=False, proj_after_attn=False, num_classes=num_classes,
    ).eval()  # fmt: skip


def test_outputs_equal_torchvisions_with_its_weights(tmp_path) -> None:
    theirs = torchvision_mvit(MViTConfig(), CLIP, 5)
    for value in theirs.parameters():  # theirs start with zero biases and unit norms, which hides errors
        nn.init.normal_(value, std=0.05)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = build_model(ModelConfig(name="mvit-b-16x4"), clip=CLIP, num_classes=5, seed=0)
    load_backbone(tmp_path / "weights.pth", ours)
    ours.head.load_state_dict(theirs.head[1].state_dict())
    x = clips(2, CLIP)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(normalize(x, *KINETICS)), rtol=1e-4, atol=1e-5)


def test_the_published_size_is_torchvisions() -> None:
    with torch.device("meta"):
        ours = MViT(MViTConfig(), clip=(16, 224, 224), num_classes=400)
        assert sum(value.numel() for value in ours.parameters()) == 36_610_672  # of its weights' description
        theirs = torchvision_models().video.mvit_v1_b()
    counts = [sorted(value.numel() for value in net.parameters()) for net in (ours, theirs)]
    assert counts[0] == counts[1]


TORCHVISION_SAYS = [
    0.410339095649,
    0.825108556239,
    1.391500104940,
    1.527621257892,
    1.205340040316,
    1.919870144180,
]
"""Features of torchvision 0.28's MViT of `small` size with `waves` for weights, where it is not installed."""


def test_outputs_equal_what_torchvision_said() -> None:
    ours = small("mvit-b-16x4").double()
    waves(ours)
    with torch.no_grad():
        found = ours.features(clips(1, (4, 16, 20)).double())[0, :6]
    torch.testing.assert_close(
        found, torch.tensor(TORCHVISION_SAYS, dtype=torch.float64), rtol=1e-6, atol=1e-8
    )


def pytorchvideo_names(net: MViT) -> dict[str, Tensor]:
    """Our weights as PyTorchVideo's checkpoints hold them: its names and shapes, written out by hand."""
    own = net.state_dict()
    theirs = {
        "patch_embed.patch_model.weight": own["embed.weight"],
        "patch_embed.patch_model.bias": own["embed.bias"],
        "cls_positional_encoding.cls_token": own["class_token"],
        "cls_positional_encoding.pos_embed_spatial": own["space_position"],
        "cls_positional_encoding.pos_embed_temporal": own["time_position"],
        "cls_positional_encoding.pos_embed_class": own["class_position"],
        "norm_embed.weight": own["norm.weight"],
        "norm_embed.bias": own["norm.bias"],
        "head.proj.weight": torch.zeros(400, own["norm.weight"].numel()),
        "head.proj.bias": torch.zeros(400),
    }
    for number, block in enumerate(net.blocks):
        attention, to = block.attention, f"blocks.{number}"
        for leaf in ("weight", "bias"):
            thirds = getattr(attention.query_key_value, leaf).detach().chunk(3)
            for letter, third in zip("qkv", thirds, strict=True):
                theirs[f"{to}.attn.{letter}.{leaf}"] = third
            for name, layer in {
                "norm1": block.attention_norm, "norm2": block.perceptron_norm, "attn.proj": attention.output,
                "mlp.fc1": block.expand, "mlp.fc2": block.contract, "proj": block.widen,
            }.items():  # fmt: skip
                if layer is not None:
                    theirs[f"{to}.{name}.{leaf}"] = getattr(layer, leaf).detach()
            for letter, pool in zip(
                "qkv", (attention.pool_query, attention.pool_key, attention.pool_value), strict=True
            ):
                if pool is not None:
                    theirs[f"{to}.attn.norm_{letter}.{leaf}"] = getattr(pool.norm, leaf).detach()
                    theirs[f"{to}.attn.pool_{letter}.weight"] = pool.convolution.weight.detach()
    return theirs


def test_pytorchvideos_checkpoints_load(tmp_path) -> None:
    first, second = small("mvit-b-16x4", seed=1), small("mvit-b-16x4", seed=2)
    torch.save({"model_state": pytorchvideo_names(first)}, tmp_path / "MVIT_B_16x4.pyth")
    load_backbone(tmp_path / "MVIT_B_16x4.pyth", second)
    x = clips(2, (4, 16, 20))
    assert torch.equal(first.features(x), second.features(x))


def test_weights_for_other_clips_are_refused(tmp_path) -> None:
    torch.save(pytorchvideo_names(small("mvit-b-16x4")), tmp_path / "w.pth")
    options = {"width": 6, "depth": 5, "stages": [1, 3], "key_stride": 2}
    other = build_model(
        ModelConfig(name="mvit-b-16x4", options=options), clip=(8, 16, 20), num_classes=3, seed=0
    )
    with pytest.raises(UserError, match=r"time_position.*clip settings"):
        load_backbone(tmp_path / "w.pth", other)


def test_a_pyramid_halves_the_grid_and_doubles_width_and_heads() -> None:
    shapes = block_shapes(MViTConfig())
    assert [shape.width for shape in shapes] == [96, 192, 192] + 11 * [384] + 2 * [768]
    assert [shape.heads for shape in shapes] == [1, 2, 2] + 11 * [4] + 2 * [8]
    assert [shape.key_stride for shape in shapes] == [8, 4, 4] + 11 * [2] + 2 * [1]
    assert [number for number, shape in enumerate(shapes) if shape.query_stride == 2] == [1, 3, 14]
    assert all(one.out_width == following.width for one, following in itertools.pairwise(shapes))


def test_stages_outside_the_depth_are_refused() -> None:
    with pytest.raises(UserError, match="stages"):
        ModelConfig(name="mvit-b-16x4", options={"depth": 3})
