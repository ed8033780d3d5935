"""Small models that together hold every supported layer and use of a parameter, and the brute-force answer.

Each entry of ZOO maps a random seed to a model in float64 and the shape of one view's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.per_record.clipping import Clipping

CLASSES = 3


class Pooled(nn.Module):
    """A body, then the mean of everything but the batch and the last dimension, then scores."""

    def __init__(self, body: nn.Module, width: int, channels_first: bool = False) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, CLASSES)
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.channels_first:
            x = x.flatten(2).mean(2)
        elif x.dim() > 2:
            x = x.flatten(1, -2).mean(1)
        return self.head(x)


class Tokens(nn.Module):
    """Attention with a class token, positions, a relative table, layer scale and factored positions."""

    def __init__(self, width: int = 6, tokens: int = 4, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.classes = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, tokens + 1, width))
        self.row = nn.Parameter(torch.randn(2, 1, width))
        self.column = nn.Parameter(torch.randn(1, 2, width))
        self.table = nn.Parameter(torch.randn(9, heads))
        self.register_buffer("relative", torch.randint(0, 9, (tokens + 1, tokens + 1)))
        self.scale = nn.Parameter(torch.randn(width))
        self.temperature = nn.Parameter(torch.randn(()))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x + (self.row + self.column).flatten(0, 1)
        x = torch.cat([self.classes.expand(len(x), -1, -1), x], dim=1) + self.position
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.table[self.relative].permute(2, 0, 1)
        mixed = functional.scaled_dot_product_attention(
            q * self.temperature.exp(), k, v, attn_mask=bias[None]
        )
        x = x + self.scale * self.output(mixed.transpose(1, 2).flatten(2))
        return self.head(x[:, 0])


class AddedBias(nn.Module):
    """Scores added in place to a relative table, and a learned query that pools (attention pooling)."""

    def __init__(self, width: int = 4, tokens: int = 5) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.bias = nn.ParameterList([nn.Parameter(torch.randn(tokens, tokens))])
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.bias[0].exp().expand(x.shape[0], -1, -1).clone()
        scores += x @ self.to_key(x).mT
        x = scores.softmax(-1) @ x
        pooled = self.to_query(self.query.expand(x.shape[0], -1, -1)) @ x.mT
        return self.head((pooled.softmax(-1) @ x)[:, 0])


class Words(nn.Module):
    """An embedding with padding, tied to the output layer."""

    def __init__(self, rows: int = 7, width: int = 4) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, padding_idx=0)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, rows, bias=False)
        self.output.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        words = (x * 3).long().abs().clamp(max=6)
        return self.output(self.norm(self.table(words)).mean(1))


class Checkpointed(nn.Module):
    """Blocks whose activations are thrown away and made again in the backward pass."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(2)
        )
        self.scale = nn.Parameter(torch.randn(width))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + checkpoint(self._scaled, block, x, use_reentrant=False)
        return self.head(x.mean(1))

    def _scaled(self, block: nn.Module, x: Tensor) -> Tensor:
        return block(x) * self.scale


class Twice(nn.Module):
    """One layer used twice."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.layer(x).tanh()).tanh())


class Halved(nn.Module):
    """Two halves of every view side by side in the batch: a view has several rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 5)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            self.inner(x.unflatten(1, (2, 4)).flatten(0, 1)).tanh().unflatten(0, (-1, 2)).flatten(1)
        )


def _frozen_start() -> nn.Module:
    model = Pooled(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 5)), 5)
    for layer in (model.body[0], model.body[3]):
        layer.requires_grad_(False)
    return model


def _biases_only() -> nn.Module:
    model = Pooled(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 1)),
        3,
        True,
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    return model


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear 2-D": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES, bias=False)),
        (4,),
    ),
    "linear 3-D": (lambda: Pooled(nn.Sequential(nn.Linear(4, 6), nn.GELU()), 6), (5, 4)),
    "linear 4-D": (lambda: Pooled(nn.Sequential(nn.Linear(4, 6), nn.GELU()), 6), (2, 3, 4)),
    "linear 5-D": (lambda: Pooled(nn.Sequential(nn.Linear(4, 20), nn.GELU()), 20), (2, 1, 2, 4)),
    "wide linear": (lambda: Pooled(nn.Sequential(nn.Linear(40, 30), nn.Tanh()), 30), (2, 40)),
    "layer norm": (
        lambda: Pooled(nn.Sequential(nn.LayerNorm((3, 4)), nn.Linear(4, 4), nn.LayerNorm(4, bias=False)), 4),
        (3, 4),
    ),
    "group norm": (
        lambda: Pooled(nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.GroupNorm(1, 4)), 4, True),
        (4, 3, 2),
    ),
    "conv 1-D": (
        lambda: Pooled(
            nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True)), 4, True
        ),
        (2, 7),
    ),
    "conv 2-D": (
        lambda: Pooled(
            nn.Sequential(
                nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
                nn.Conv2d(4, 4, 2, padding="same", groups=2),
                nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular", bias=False),
            ),
            4,
            True,
        ),
        (2, 5, 6),
    ),
    "conv 3-D": (
        lambda: Pooled(
            nn.Sequential(
                nn.Conv3d(2, 4, (1, 2, 2), stride=(1, 2, 2)), nn.Conv3d(4, 4, 3, padding=1, groups=4)
            ),
            4,
            True,
        ),
        (2, 3, 4, 4),
    ),
    "tokens": (Tokens, (4, 6)),
    "added bias": (AddedBias, (5, 4)),
    "tied embedding": (Words, (6,)),
    "checkpointed": (Checkpointed, (3, 5)),
    "one layer twice": (Twice, (4,)),
    "several rows a view": (Halved, (8,)),
    "frozen start": (_frozen_start, (3, 4)),
    "biases only": (_biases_only, (2, 5, 5)),
}


def build(name: str, seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A model of the zoo in float64, and the shape of one view."""
    torch.manual_seed(seed)
    make, shape = ZOO[name]
    return make().double(), shape


def losses_of(model: nn.Module, views: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every view."""
    return functional.cross_entropy(model(views), labels, reduction="none")


def brute_force(
    model: nn.Module, views_NV: Tensor, labels_NV: Tensor, weights_NV: Tensor, clipping: Clipping | None
) -> dict[str, Tensor]:
    """Σ_i ĝ_i with one autograd pass a record."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [0] * len(trainable) if clipping is None else clipping.groups(list(trainable))
    total = {name: torch.zeros_like(p) for name, p in trainable.items()}
    for views, labels, weights in zip(views_NV, labels_NV, weights_NV, strict=True):
        loss = (losses_of(model, views, labels) * weights).sum()
        grads = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        grads = [
            torch.zeros_like(p) if g is None else g for p, g in zip(trainable.values(), grads, strict=True)
        ]
        factors = _factors(clipping, _group_norms(grads, groups))
        for name, grad, group in zip(trainable, grads, groups, strict=True):
            total[name] += factors[group] * grad
    return total


def _group_norms(grads: Sequence[Tensor], groups: Sequence[int]) -> list[float]:
    squares = [0.0] * (max(groups) + 1)
    for grad, group in zip(grads, groups, strict=True):
        squares[group] += float(grad.square().sum())
    return [math.sqrt(square) for square in squares]


def _factors(clipping: Clipping | None, norms: list[float]) -> list[float]:
    if clipping is None:
        return [1.0] * len(norms)
    bound = clipping.bound
    if clipping.name == "automatic":
        return [bound / (norm + 0.01) for norm in norms]
    share = bound / math.sqrt(len(norms)) if clipping.name == "per-layer" else bound
    return [min(1.0, share / norm) if norm else 1.0 for norm in norms]


def plan_of(
    mechanism: str, *, clips: int = 1, clipping_norm: float = 1.0, clipping: str = "flat"
) -> PrivacyPlan:
    """A plan for testing gradients; the rest of it does not matter."""
    return PrivacyPlan(
        mechanism=mechanism,  # type: ignore[arg-type]
        num_records=100,
        expected_batch=10,
        clips=clips,
        steps=10,
        delta=1e-5,
        noise_multiplier=0.0 if mechanism == "sgd" else 1.0,
        clipping_norm=clipping_norm,
        clipping=clipping,  # type: ignore[arg-type]
    )
