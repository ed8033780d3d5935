"""How one record's gradient is bounded, and the resulting bound.

A clipping maps the norms of a record's gradient, by groups of parameters, to the factors that its
groups are multiplied with. Its `bound` is the largest norm of a record's clipped gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from torch import Tensor

from raymaskdp import check

# Shape suffixes: N records, G groups of parameters.


class Clipping(Protocol):
    """Interface of a clipping for the engine and the plan."""

    @property
    def name(self) -> str:
        """Its name in plans and ledgers."""

    @property
    def bound(self) -> float:
        """The largest L2 norm of one record's contribution to a sum, over all numbers of the sum."""

    def groups(self, names: Sequence[str]) -> list[int]:
        """For every trainable parameter the number, from 0, of the group that it is clipped with."""

    def factors(self, norms_NG: Tensor) -> Tensor:
        """Factors [N, G] for the L2 norms [N, G] (finite, ≥ 0, float32 or better)."""


@dataclass(frozen=True, kw_only=True)
class FlatClipping:
    """ĝ = g · min(1, C / ‖g‖) (Abadi et al. 2016)."""

    clipping_norm: Annotated[float, check.POSITIVE]
    name = "flat"

    def __post_init__(self) -> None:
        check.fields(self)

    @property
    def bound(self) -> float:
        return self.clipping_norm

    def groups(self, names: Sequence[str]) -> list[int]:
        return [0] * len(names)

    def factors(self, norms_NG: Tensor) -> Tensor:
        return at_most(norms_NG, self.clipping_norm)


@dataclass(frozen=True, kw_only=True)
class AutomaticClipping:
    """ĝ = g · C / (‖g‖ + γ), which needs no tuning of C (AUTO-S; Bu et al. 2023, "Automatic Clipping").

    γ > 0 keeps a record with a small gradient small: with γ = 0 rounding errors would be scaled up to C.
    """

    clipping_norm: Annotated[float, check.POSITIVE]
    gamma: Annotated[float, check.POSITIVE] = 0.01
    name = "automatic"

    def __post_init__(self) -> None:
        check.fields(self)

    @property
    def bound(self) -> float:
        return self.clipping_norm

    def groups(self, names: Sequence[str]) -> list[int]:
        return [0] * len(names)

    def factors(self, norms_NG: Tensor) -> Tensor:
        return self.clipping_norm / (norms_NG + self.gamma)


@dataclass(frozen=True, kw_only=True)
class PerLayerClipping:
    """Every module's parameters clipped on their own to C / √G, so that the whole stays within C.

    (McMahan et al. 2018, "A general approach", with equal shares of the bound.)
    """

    clipping_norm: Annotated[float, check.POSITIVE]
    name = "per-layer"

    def __post_init__(self) -> None:
        check.fields(self)

    @property
    def bound(self) -> float:
        return self.clipping_norm

    def groups(self, names: Sequence[str]) -> list[int]:
        layers: dict[str, int] = {}
        return [layers.setdefault(name.rpartition(".")[0], len(layers)) for name in names]

    def factors(self, norms_NG: Tensor) -> Tensor:
        return at_most(norms_NG, self.clipping_norm / math.sqrt(norms_NG.shape[1]))


CLIPPINGS = {kind.name: kind for kind in (FlatClipping, AutomaticClipping, PerLayerClipping)}


def at_most(norms: Tensor, bound: float) -> Tensor:
    """Factors that limit all norms to `bound`."""
    return torch.clamp(bound / norms, max=1.0)  # bound / 0 is inf, which becomes 1
