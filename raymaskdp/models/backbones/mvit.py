"""MViT, a transformer with fewer and wider tokens in each stage.

Fan et al., *Multiscale Vision Transformers*, ICCV 2021. Queries, keys and values are pooled by depthwise
convolutions: pooled queries make the grid of tokens coarser, pooled keys and values make attention cheap.

Shapes: B clips, C colours, T frames, H rows, W columns, N heads, L tokens (the class token first), D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import Backbone, Colours, init_transformer, normalize, reset_head
from raymaskdp.models.weight_names import WeightNames

Grid = tuple[int, int, int]
"""Tokens along time, rows and columns."""

# Ours, torchvision's, PyTorchVideo's.
NAMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("embed", "conv_proj", ("patch_embed.patch_model",)),
    ("class_token", "pos_encoding.class_token", ("cls_positional_encoding.cls_token",)),
    ("class_position", "pos_encoding.class_pos", ("cls_positional_encoding.pos_embed_class",)),
    ("space_position", "pos_encoding.spatial_pos", ("cls_positional_encoding.pos_embed_spatial",)),
    ("time_position", "pos_encoding.temporal_pos", ("cls_positional_encoding.pos_embed_temporal",)),
    ("blocks.*.attention_norm", "blocks.*.norm1", ("blocks.*.norm1",)),
    (
        "blocks.*.attention.query_key_value",
        "blocks.*.attn.qkv",
        ("blocks.*.attn.q", "blocks.*.attn.k", "blocks.*.attn.v"),
    ),
    ("blocks.*.attention.pool_query.convolution", "blocks.*.attn.pool_q.pool", ("blocks.*.attn.pool_q",)),
    ("blocks.*.attention.pool_query.norm", "blocks.*.attn.pool_q.norm_act.0", ("blocks.*.attn.norm_q",)),
    ("blocks.*.attention.pool_key.convolution", "blocks.*.attn.pool_k.pool", ("blocks.*.attn.pool_k",)),
    ("blocks.*.attention.pool_key.norm", "blocks.*.attn.pool_k.norm_act.0", ("blocks.*.attn.norm_k",)),
    ("blocks.*.attention.pool_value.convolution", "blocks.*.attn.pool_v.pool", ("blocks.*.attn.pool_v",)),
    ("blocks.*.attention.pool_value.norm", "blocks.*.attn.pool_v.norm_act.0", ("blocks.*.attn.norm_v",)),
    ("blocks.*.attention.output", "blocks.*.attn.project.0", ("blocks.*.attn.proj",)),
    ("blocks.*.perceptron_norm", "blocks.*.norm2", ("blocks.*.norm2",)),
    ("blocks.*.expand", "blocks.*.mlp.0", ("blocks.*.mlp.fc1",)),
    ("blocks.*.contract", "blocks.*.mlp.3", ("blocks.*.mlp.fc2",)),
    ("blocks.*.widen", "blocks.*.project", ("blocks.*.proj",)),
    ("norm", "norm", ("norm_embed",)),
)
TORCHVISION = WeightNames(rows=tuple((ours, theirs) for ours, theirs, _ in NAMES), head=("head.1",))
PYTORCHVIDEO = WeightNames(
    rows=tuple((ours, theirs) for ours, _, several in NAMES for theirs in several), head=("head.proj",)
)


@dataclass(frozen=True, kw_only=True)
class MViTConfig:
    """Size of an `MViT`. The defaults are MViT-B 16×4, for clips of 16 frames of 224 × 224 pixels.

    Attributes:
      width: D of the first block.
      heads: attention heads of the first block; divides `width`.
      depth: number of blocks.
      stages: the blocks that halve the grid's rows and columns; there heads double, and the block
        before doubles the width.
      expansion: hidden width of a block's perceptron, in multiples of its width.
      key_stride: distance of keys in rows and columns of the first stage; half of it in the next.
      mean, std: of pixels from 0 to 1, by colour; those of the published Kinetics weights.
    """

    width: Annotated[int, check.POSITIVE] = 96
    heads: Annotated[int, check.POSITIVE] = 1
    depth: Annotated[int, check.POSITIVE] = 16
    stages: tuple[int, ...] = (1, 3, 14)
    expansion: Annotated[int, check.POSITIVE] = 4
    key_stride: Annotated[int, check.POSITIVE] = 8
    mean: Colours = (0.45, 0.45, 0.45)
    std: Colours = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        check.fields(self, "model")
        if self.width % self.heads:
            raise UserError(f"model.width ({self.width}) must be a multiple of model.heads ({self.heads}).")
        if any(not 0 < stage < self.depth for stage in self.stages):
            raise UserError(f"model.stages {list(self.stages)} must be between 1 and {self.depth - 1}.")


@dataclass(frozen=True)
class BlockShape:
    """One block's place in the pyramid: widths in and out, heads, and strides of rows and columns."""

    width: int
    out_width: int
    heads: int
    query_stride: int
    key_stride: int


def block_shapes(config: MViTConfig) -> list[BlockShape]:
    """The shapes of all blocks of the pyramid."""
    shapes = []
    for block in range(config.depth):
        doubled = 2 ** sum(stage <= block for stage in config.stages)
        doubled_next = 2 ** sum(stage <= block + 1 for stage in config.stages)
        shapes.append(
            BlockShape(
                width=config.width * doubled,
                out_width=config.width * (doubled_next if block + 1 < config.depth else doubled),
                heads=config.heads * doubled,
                query_stride=2 if block in config.stages else 1,
                key_stride=max(config.key_stride // doubled, 1),
            )
        )
    return shapes


class MViT(Backbone):
    """The class token's vector after all blocks; architecture of torchvision's `mvit_v1_b`.

    `clips_BCTHW` holds colours in [-1, 1]; 0 is the fill of a public view.
    """

    layouts = (TORCHVISION, PYTORCHVIDEO)
    branch_outputs = r"blocks\.\d+\.(attention\.output|contract)"
    projections = r"blocks\.\d+\.attention\.query_key_value"

    def __init__(self, config: MViTConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        """`clip` is (frames, height, width) of the input."""
        super().__init__()
        self.colours = (config.mean, config.std)
        shapes = block_shapes(config)
        self.embed = nn.Conv3d(3, config.width, (3, 7, 7), stride=(2, 4, 4), padding=(1, 3, 3))
        time, rows, columns = -(-clip[0] // 2), -(-clip[1] // 4), -(-clip[2] // 4)
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.class_position = nn.Parameter(torch.empty(1, 1, config.width))
        self.space_position = nn.Parameter(torch.empty(1, rows * columns, config.width))
        self.time_position = nn.Parameter(torch.empty(1, time, config.width))
        self.blocks = nn.ModuleList(MViTBlock(shape, config.expansion) for shape in shapes)
        self.norm = nn.LayerNorm(shapes[-1].out_width, eps=1e-6)
        init_transformer(self)
        for raw in (self.class_token, self.class_position, self.space_position, self.time_position):
            nn.init.trunc_normal_(raw, std=0.02)
        self.head = reset_head(shapes[-1].out_width, num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        x = self.embed(normalize(clips_BCTHW, *self.colours))
        grid: Grid = (x.shape[2], x.shape[3], x.shape[4])
        x_BLD = x.flatten(2).transpose(1, 2)
        x_BLD = torch.cat([self.class_token.expand(len(x_BLD), -1, -1), x_BLD], dim=1)
        places = (self.time_position.transpose(0, 1) + self.space_position).flatten(0, 1)[None]
        x_BLD = x_BLD + torch.cat([self.class_position, places], dim=1)
        for block in self.blocks:
            assert isinstance(block, MViTBlock)
            x_BLD = self.run(block, x_BLD, grid)
            grid = coarser(grid, block.query_stride)
        return self.norm(x_BLD)[:, 0]


class MViTBlock(nn.Module):
    """Pooling attention and a perceptron, each normalised before and added to its (pooled) input."""

    def __init__(self, shape: BlockShape, expansion: int) -> None:
        super().__init__()
        self.query_stride = shape.query_stride
        self.attention_norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.attention = PoolingAttention(shape)
        self.perceptron_norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.expand = nn.Linear(shape.width, shape.width * expansion)
        self.contract = nn.Linear(shape.width * expansion, shape.out_width)
        self.widen = nn.Linear(shape.width, shape.out_width) if shape.width != shape.out_width else None

    def forward(self, x_BLD: Tensor, grid: Grid) -> Tensor:
        mixed_BLD = self.attention(self.attention_norm(x_BLD), grid)
        if self.query_stride > 1:
            x_BLD = on_grid(self._largest, x_BLD[:, None], grid)[:, 0]
        x_BLD = x_BLD + mixed_BLD
        y_BLD = self.perceptron_norm(x_BLD)
        skipped_BLD = x_BLD if self.widen is None else self.widen(y_BLD)
        return skipped_BLD + self.contract(functional.gelu(self.expand(y_BLD)))

    def _largest(self, x: Tensor) -> Tensor:
        stride = self.query_stride
        return functional.max_pool3d(x, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1))


class PoolingAttention(nn.Module):
    """Self-attention over pooled queries, keys and values."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.heads = shape.heads
        head_width = shape.width // shape.heads
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width)
        self.pool_query = Pool(head_width, shape.query_stride) if shape.query_stride > 1 else None
        self.pool_key = Pool(head_width, shape.key_stride)
        self.pool_value = Pool(head_width, shape.key_stride)
        self.output = nn.Linear(shape.width, shape.width)

    def forward(self, x_BLD: Tensor, grid: Grid) -> Tensor:
        thrice = self.query_key_value(x_BLD).unflatten(2, (3, self.heads, -1))
        query, key, value = thrice.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, N, L, D / N]
        if self.pool_query is not None:
            query = self.pool_query(query, grid)
        key, value = self.pool_key(key, grid), self.pool_value(value, grid)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Pool(nn.Module):
    """A depthwise convolution over the grid, the same for every head, and a normalisation."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(
            width, width, 3, stride=(1, stride, stride), padding=1, groups=width, bias=False
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x_BNLD: Tensor, grid: Grid) -> Tensor:
        return self.norm(on_grid(self.convolution, x_BNLD, grid))


def on_grid(layer: Callable[[Tensor], Tensor], x_BNLD: Tensor, grid: Grid) -> Tensor:
    """`layer` on the tokens as a grid, [B·N, D, time, rows, columns]; the class token is unchanged."""
    batch, heads = x_BNLD.shape[:2]
    class_token, others = x_BNLD.split([1, x_BNLD.shape[2] - 1], dim=2)
    pooled = layer(others.flatten(0, 1).transpose(1, 2).unflatten(2, grid))
    return torch.cat([class_token, pooled.flatten(2).transpose(1, 2).unflatten(0, (batch, heads))], dim=2)


def coarser(grid: Grid, stride: int) -> Grid:
    """The grid after pooling rows and columns with a stride."""
    time, rows, columns = grid
    return time, -(-rows // stride), -(-columns // stride)
