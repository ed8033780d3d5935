"""Small modules inserted into a pretrained model: adapters (Houlsby 2019), and LoRA (Hu 2022).

Both wrap a linear layer and change nothing at first, because their last layer starts at zero. What is
trained has the names `adapter` and `lora`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from raymaskdp.errors import UserError


class Adapted(nn.Module):
    """A linear layer, then a two-layer bottleneck MLP with a residual connection."""

    def __init__(self, layer: nn.Linear, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = nn.Sequential(
            nn.Linear(layer.out_features, width), nn.GELU(), nn.Linear(width, layer.out_features)
        )
        nn.init.zeros_(self.adapter.get_parameter("2.weight"))
        nn.init.zeros_(self.adapter.get_parameter("2.bias"))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y + self.adapter(y)


class LowRank(nn.Module):
    """A linear layer plus a product of two narrow matrices."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.lora = nn.Sequential(
            nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=False)
        )
        nn.init.zeros_(self.lora.get_parameter("1.weight"))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.lora(x)


def insert(
    model: nn.Module, pattern: str, wrap: Callable[[nn.Linear], nn.Module], *, what: str, seed: int
) -> None:
    """Wrap every linear layer whose name matches; raises `UserError` if there is none.

    New weights are drawn from `seed`; the global random state is left as it was.
    """
    found = [
        (name, module)
        for name, module in model.named_modules()
        if pattern and re.fullmatch(pattern, name) and isinstance(module, nn.Linear)
    ]
    if not found:
        raise UserError(
            f"The model {type(model).__name__} names no layers for {what}; use another scheme "
            "(docs/models.md says what a model must name)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in found:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, wrap(module))
