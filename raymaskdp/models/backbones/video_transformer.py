"""A small video transformer: from tubelets of pixels to one feature vector per clip.

Everything acts on one clip at a time (LayerNorm, no BatchNorm), so a clip's gradient is its own,
which per-record clipping needs. Shapes: B clips, C colours, T frames, H rows, W columns, L tokens,
D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import Backbone, reset_head


@dataclass(frozen=True, kw_only=True)
class VideoTransformerConfig:
    """Size of a `VideoTransformer`.

    Attributes:
      width: D, length of a token's vector.
      depth: number of blocks.
      heads: attention heads; divides `width`.
      expansion: hidden width of a block's perceptron, in multiples of `width`.
      tubelet: frames, rows and columns of one token; each divides the clip's extent.
      motion: use each pixel's difference from its mean over the clip. This removes static content,
        which makes learning from few videos of static cameras far quicker.
    """

    width: Annotated[int, check.POSITIVE] = 64
    depth: Annotated[int, check.POSITIVE] = 3
    heads: Annotated[int, check.POSITIVE] = 4
    expansion: Annotated[int, check.POSITIVE] = 2
    tubelet: tuple[int, int, int] = (2, 8, 8)
    motion: bool = False

    def __post_init__(self) -> None:
        check.fields(self, "model")
        for extent in self.tubelet:
            check.positive("model.tubelet", extent)
        if self.width % self.heads:
            raise UserError(f"model.width ({self.width}) must be a multiple of model.heads ({self.heads}).")


class VideoTransformer(Backbone):
    """Pre-norm transformer over the tubelets of a clip (Dosovitskiy 2021; Arnab 2021), mean-pooled.

    `clips_BCTHW` holds colours in [-1, 1]; 0 is the fill of a public view.
    """

    branch_outputs = r"blocks\.\d+\.(output|contract)"
    projections = r"blocks\.\d+\.(query|key|value)"

    def __init__(
        self, config: VideoTransformerConfig, *, clip: tuple[int, int, int], num_classes: int
    ) -> None:
        """`clip` is (frames, height, width) of the input; raises `UserError` if tubelets do not fit."""
        super().__init__()
        for extent, token, name in zip(clip, config.tubelet, ("frames", "height", "width"), strict=True):
            if extent % token:
                raise UserError(
                    f"A clip's {name} ({extent}) must be a multiple of the tubelet's ({token}); "
                    "change the option tubelet of the model."
                )
        self.tubelet = config.tubelet
        self.motion = config.motion
        num_tokens = 1
        for extent, token in zip(clip, config.tubelet, strict=True):
            num_tokens *= extent // token
        pixels = 3 * config.tubelet[0] * config.tubelet[1] * config.tubelet[2]
        self.embed = nn.Linear(pixels, config.width)
        self.position = nn.Parameter(torch.empty(1, num_tokens, config.width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(VideoTransformerBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = reset_head(config.width, num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        if self.motion:
            clips_BCTHW = clips_BCTHW - clips_BCTHW.mean(dim=2, keepdim=True)
        x_BLD = self.embed(tubelets(clips_BCTHW, self.tubelet)) + self.position
        for block in self.blocks:
            x_BLD = self.run(block, x_BLD)
        return self.norm(x_BLD).mean(dim=1)


class VideoTransformerBlock(nn.Module):
    """Self-attention and a perceptron, each normalised before and added to its input."""

    def __init__(self, config: VideoTransformerConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.expansion
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BLD = self.attention_norm(x_BLD)
        query, key, value = (self._heads(layer(y_BLD)) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x_BLD = x_BLD + self.output(mixed.transpose(1, 2).flatten(2))
        return x_BLD + self.contract(functional.gelu(self.expand(self.perceptron_norm(x_BLD))))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)


def tubelets(clips_BCTHW: Tensor, tubelet: tuple[int, int, int]) -> Tensor:
    """Cut clips into flattened tubelets, shape [B, L, C·t·h·w], in order of time, row, column."""
    batch, colours, frames, height, width = clips_BCTHW.shape
    t, h, w = tubelet
    cut = clips_BCTHW.reshape(batch, colours, frames // t, t, height // h, h, width // w, w)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, -1, colours * t * h * w)
