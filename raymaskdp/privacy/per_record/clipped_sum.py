"""A sum of clipped per-record gradients: made by the engine, before the plan adds noise."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from raymaskdp.errors import UserError


@dataclass
class ClippedSum:
    """Σ_i ĝ_i by parameter name, float64; adds up over micro-batches and workers.

    `gradients` and `num_bad` are private until noise is added: not for logs or artefacts.

    Attributes:
      gradients: the sum for every trainable parameter, shaped like it, and with adaptive clipping the scaled
        count of clipped records, under `adaptive.COUNT`.
      num_bad: how many records contributed zero because their gradients were not finite.
    """

    gradients: dict[str, Tensor] = field(repr=False)
    num_bad: int = field(default=0, repr=False)

    def __add__(self, other: ClippedSum) -> ClippedSum:
        if self.gradients.keys() != other.gradients.keys():
            raise UserError("Clipped sums of different models cannot be added.")
        total = {name: value + other.gradients[name] for name, value in self.gradients.items()}
        return ClippedSum(total, self.num_bad + other.num_bad)
