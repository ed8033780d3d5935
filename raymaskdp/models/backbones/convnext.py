"""ConvNeXt, a convolutional network without BatchNorm. Liu et al., *A ConvNet for the 2020s*, CVPR 2022.

Shapes: B clips or images, C colours, H rows, W columns, D channels, which come last between layers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Colours,
    init_transformer,
    mean_over_frames,
    normalize,
    reset_head,
)
from raymaskdp.models.weight_names import WeightNames

STAGES = range(4)

# Ours, torchvision's, timm's.
NAMES = (
    ("stem", "features.0.0", "stem.0"),
    ("stem_norm", "features.0.1", "stem.1"),
    *((f"shrink.{s - 1}.norm", f"features.{2 * s}.0", f"stages.{s}.downsample.0") for s in STAGES[1:]),
    *((f"shrink.{s - 1}.halve", f"features.{2 * s}.1", f"stages.{s}.downsample.1") for s in STAGES[1:]),
    *(
        (f"stages.{s}.*.{ours}", f"features.{2 * s + 1}.*.{torchvision}", f"stages.{s}.blocks.*.{timm}")
        for s in STAGES
        for ours, torchvision, timm in (
            ("around", "block.0", "conv_dw"),
            ("norm", "block.2", "norm"),
            ("expand", "block.3", "mlp.fc1"),
            ("contract", "block.5", "mlp.fc2"),
            ("scale", "layer_scale", "gamma"),
        )
    ),
    ("norm", "classifier.0", "head.norm"),
)
TORCHVISION = WeightNames(rows=tuple((ours, theirs) for ours, theirs, _ in NAMES), head=("classifier.2",))
TIMM = WeightNames(rows=tuple((ours, theirs) for ours, _, theirs in NAMES), head=("head.fc",))


@dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig:
    """Size of a `ConvNeXt`. The defaults are ConvNeXt-T.

    Attributes:
      widths: channels of the four stages.
      depths: blocks of the four stages.
      scale: initial factor of a block's branch.
      mean, std: of pixels from 0 to 1, by colour; those of ImageNet.
    """

    widths: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    scale: float = 1e-6
    mean: Colours = IMAGENET_MEAN
    std: Colours = IMAGENET_STD

    def __post_init__(self) -> None:
        for extent in (*self.widths, *self.depths, self.scale):
            check.positive("model.widths, depths and scale", extent)
        if not len(self.widths) == len(self.depths) == len(STAGES):
            raise UserError(f"model.widths and model.depths must have {len(STAGES)} numbers each.")


class ConvNeXt(Backbone):
    """The mean over an image, normalised, averaged over a clip's frames; an image is one frame."""

    layouts = (TORCHVISION, TIMM)
    branch_outputs = r"stages\.\d+\.\d+\.contract"

    def __init__(self, config: ConvNeXtConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        """`clip` is (frames, height, width) of the input; raises `UserError` below 32 pixels a side."""
        super().__init__()
        if min(clip[1:]) < 32:
            raise UserError(
                f"convnext-t halves images five times, so {clip[1]} x {clip[2]} pixels are too few."
            )
        self.colours = (config.mean, config.std)
        widths = config.widths
        self.stem = nn.Conv2d(3, widths[0], 4, stride=4)
        self.stem_norm = nn.LayerNorm(widths[0], eps=1e-6)
        self.shrink = nn.ModuleList(Shrink(*pair) for pair in itertools.pairwise(widths))
        self.stages = nn.ModuleList(
            nn.ModuleList(ConvNeXtBlock(width, config.scale) for _ in range(depth))
            for width, depth in zip(widths, config.depths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        init_transformer(self)
        self.head = reset_head(widths[-1], num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        return mean_over_frames(self._images, normalize(clips_BCTHW, *self.colours))

    def _images(self, images_BCHW: Tensor) -> Tensor:
        x_BHWD = self.stem_norm(self.stem(images_BCHW).permute(0, 2, 3, 1))
        for number, blocks in enumerate(self.stages):
            if number:
                x_BHWD = self.shrink[number - 1](x_BHWD)
            for block in blocks:  # type: ignore[attr-defined]
                x_BHWD = self.run(block, x_BHWD)
        return self.norm(x_BHWD.mean((1, 2)))


class Shrink(nn.Module):
    """Half the rows and columns, more channels."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.halve = nn.Conv2d(width, out_width, 2, stride=2)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        return channels_last(self.halve, self.norm(x_BHWD))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, a normalisation and a perceptron, scaled and added to the input."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        y_BHWD = self.norm(channels_last(self.around, x_BHWD))
        return x_BHWD + self.scale * self.contract(functional.gelu(self.expand(y_BHWD)))


def channels_last(convolution: nn.Module, x_BHWD: Tensor) -> Tensor:
    """A convolution of images whose channels come last."""
    return convolution(x_BHWD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
