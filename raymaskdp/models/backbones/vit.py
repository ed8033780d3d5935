"""ViT, the plain transformer of image patches.

Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021.

Shapes: B clips or images, C colours, H rows, W columns, N heads, L tokens (the class token first), D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import (
    Backbone,
    Colours,
    init_transformer,
    mean_over_frames,
    normalize,
    reset_head,
)
from raymaskdp.models.weight_names import WeightNames

# Ours, timm's, torchvision's.
NAMES = (
    ("embed", "patch_embed.proj", "conv_proj"),
    ("class_token", "cls_token", "class_token"),
    ("position", "pos_embed", "encoder.pos_embedding"),
    ("blocks.*.attention_norm", "blocks.*.norm1", "encoder.layers.encoder_layer_*.ln_1"),
    (
        "blocks.*.query_key_value.weight",
        "blocks.*.attn.qkv.weight",
        "encoder.layers.encoder_layer_*.self_attention.in_proj_weight",
    ),
    (
        "blocks.*.query_key_value.bias",
        "blocks.*.attn.qkv.bias",
        "encoder.layers.encoder_layer_*.self_attention.in_proj_bias",
    ),
    ("blocks.*.output", "blocks.*.attn.proj", "encoder.layers.encoder_layer_*.self_attention.out_proj"),
    ("blocks.*.perceptron_norm", "blocks.*.norm2", "encoder.layers.encoder_layer_*.ln_2"),
    ("blocks.*.expand", "blocks.*.mlp.fc1", "encoder.layers.encoder_layer_*.mlp.0"),
    ("blocks.*.contract", "blocks.*.mlp.fc2", "encoder.layers.encoder_layer_*.mlp.3"),
    ("norm", "norm", "encoder.ln"),
)
TIMM = WeightNames(rows=tuple((ours, theirs) for ours, theirs, _ in NAMES), head=("head",))
TORCHVISION = WeightNames(rows=tuple((ours, theirs) for ours, _, theirs in NAMES), head=("heads.head",))


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Size of a `ViT`. The defaults are ViT-S/16.

    Attributes:
      width: D, length of a token's vector.
      depth: number of blocks.
      heads: attention heads; divides `width`.
      expansion: hidden width of a block's perceptron, in multiples of `width`.
      patch: side of a token in pixels; divides the image's sides.
      mean, std: of pixels from 0 to 1, by colour; those of the weights published with timm.
    """

    width: Annotated[int, check.POSITIVE] = 384
    depth: Annotated[int, check.POSITIVE] = 12
    heads: Annotated[int, check.POSITIVE] = 6
    expansion: Annotated[int, check.POSITIVE] = 4
    patch: Annotated[int, check.POSITIVE] = 16
    mean: Colours = (0.5, 0.5, 0.5)
    std: Colours = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        check.fields(self, "model")
        if self.width % self.heads:
            raise UserError(f"model.width ({self.width}) must be a multiple of model.heads ({self.heads}).")


class ViT(Backbone):
    """The class token's vector after all blocks, averaged over a clip's frames; an image is one frame."""

    layouts = (TIMM, TORCHVISION)
    branch_outputs = r"blocks\.\d+\.(output|contract)"
    projections = r"blocks\.\d+\.query_key_value"

    def __init__(self, config: ViTConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        """`clip` is (frames, height, width) of the input; raises `UserError` if patches do not fit."""
        super().__init__()
        _, height, width = clip
        if height % config.patch or width % config.patch:
            raise UserError(
                f"An image of {height} x {width} pixels cannot be cut into patches of {config.patch}; "
                "prepare other sizes, or change the option patch of the model."
            )
        self.colours = (config.mean, config.std)
        tokens = (height // config.patch) * (width // config.patch)
        self.embed = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.position = nn.Parameter(torch.empty(1, 1 + tokens, config.width))
        self.blocks = nn.ModuleList(ViTBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        init_transformer(self)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.head = reset_head(config.width, num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        return mean_over_frames(self._images, normalize(clips_BCTHW, *self.colours))

    def _images(self, images_BCHW: Tensor) -> Tensor:
        x_BLD = self.embed(images_BCHW).flatten(2).transpose(1, 2)
        x_BLD = torch.cat([self.class_token.expand(len(x_BLD), -1, -1), x_BLD], dim=1) + self.position
        for block in self.blocks:
            x_BLD = self.run(block, x_BLD)
        return self.norm(x_BLD)[:, 0]


class ViTBlock(nn.Module):
    """Self-attention and a perceptron, each normalised before and added to its input."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.expansion
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        thrice = self.query_key_value(self.attention_norm(x_BLD)).unflatten(2, (3, self.heads, -1))
        query, key, value = thrice.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, N, L, D / N]
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x_BLD = x_BLD + self.output(mixed.transpose(1, 2).flatten(2))
        return x_BLD + self.contract(functional.gelu(self.expand(self.perceptron_norm(x_BLD))))
