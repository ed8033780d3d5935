"""ResNet with GroupNorm, which unlike BatchNorm depends on one image only.

He et al., *Deep Residual Learning*, CVPR 2016, with the stride on the 3 × 3 convolution; Wu and He, *Group
Normalization*, ECCV 2018. Shapes: B clips or images, C colours, H rows, W columns, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Colours,
    mean_over_frames,
    normalize,
    reset_head,
)
from raymaskdp.models.weight_names import WeightNames

# Our names, and those of torchvision and timm.
NAMES = (
    ("stem", "conv1"),
    ("stem_norm", "bn1"),
    *(
        (f"stages.{stage}.*.{ours}", f"layer{stage + 1}.*.{theirs}")
        for stage in range(4)
        for ours, theirs in (
            ("reduce", "conv1"),
            ("reduce_norm", "bn1"),
            ("around", "conv2"),
            ("around_norm", "bn2"),
            ("widen", "conv3"),
            ("widen_norm", "bn3"),
            ("skip", "downsample.0"),
            ("skip_norm", "downsample.1"),
        )
    ),
)
TORCHVISION = WeightNames(rows=NAMES, head=("fc",))


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Size of a `ResNet`. The defaults are ResNet-50 with GroupNorm.

    Attributes:
      width: channels of the stem; a stage has 4, 8, 16, 32 times as many.
      depths: blocks of the stages.
      groups: groups of channels of every GroupNorm; divides `width`.
      mean, std: of pixels from 0 to 1, by colour; those of ImageNet.
    """

    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    groups: int = 32
    mean: Colours = IMAGENET_MEAN
    std: Colours = IMAGENET_STD

    def __post_init__(self) -> None:
        for extent in (self.width, self.groups, *self.depths):
            check.positive("model.width, groups and depths", extent)
        if self.width % self.groups:
            raise UserError(f"model.width ({self.width}) must be a multiple of model.groups ({self.groups}).")


class ResNet(Backbone):
    """The mean over an image, averaged over a clip's frames; an image is one frame."""

    layouts = (TORCHVISION,)

    def __init__(self, config: ResNetConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        """`clip` is (frames, height, width) of the input; any size is possible."""
        super().__init__()
        self.colours = (config.mean, config.std)
        self.stem = nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        self.stem_norm = nn.GroupNorm(config.groups, config.width)
        self.stages = nn.ModuleList()
        width = config.width
        for stage, depth in enumerate(config.depths):
            inner = config.width * 2**stage
            blocks = nn.ModuleList()
            for number in range(depth):
                blocks.append(ResNetBlock(width, inner, 2 if stage and not number else 1, config.groups))
                width = 4 * inner
            self.stages.append(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.head = reset_head(width, num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        return mean_over_frames(self._images, normalize(clips_BCTHW, *self.colours))

    def _images(self, images_BCHW: Tensor) -> Tensor:
        x_BDHW = functional.relu(self.stem_norm(self.stem(images_BCHW)))
        x_BDHW = functional.max_pool2d(x_BDHW, 3, stride=2, padding=1)
        for blocks in self.stages:
            for block in blocks:  # type: ignore[attr-defined]
                x_BDHW = self.run(block, x_BDHW)
        return x_BDHW.mean((2, 3))


class ResNetBlock(nn.Module):
    """A bottleneck block: fewer channels, a 3 × 3 convolution, more channels, and a residual."""

    def __init__(self, width: int, inner: int, stride: int, groups: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, inner, 1, bias=False)
        self.reduce_norm = nn.GroupNorm(groups, inner)
        self.around = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.around_norm = nn.GroupNorm(groups, inner)
        self.widen = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.widen_norm = nn.GroupNorm(groups, 4 * inner)
        self.skip: nn.Conv2d | None = None
        if stride > 1 or width != 4 * inner:
            self.skip = nn.Conv2d(width, 4 * inner, 1, stride=stride, bias=False)
            self.skip_norm = nn.GroupNorm(groups, 4 * inner)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        y_BDHW = functional.relu(self.reduce_norm(self.reduce(x_BDHW)))
        y_BDHW = functional.relu(self.around_norm(self.around(y_BDHW)))
        y_BDHW = self.widen_norm(self.widen(y_BDHW))
        skipped_BDHW = x_BDHW if self.skip is None else self.skip_norm(self.skip(x_BDHW))
        return functional.relu(y_BDHW + skipped_BDHW)
