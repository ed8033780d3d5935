"""The choices that define a guarantee: mechanism, adjacency, unit and clipping.

They are apart from the code that they are for, because settings must be readable without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from raymaskdp import check
from raymaskdp.errors import UserError

Mechanism = Literal["sgd", "dpsgd", "multiclip", "maskdp", "maskdp-full"]
Adjacency = Literal["zero-out", "add-remove", "replace"]
Unit = Literal["video", "subject"]
ClippingName = Literal["flat", "automatic", "per-layer", "adaptive"]

MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)
MASKED: tuple[Mechanism, ...] = ("maskdp", "maskdp-full")

MOST_RECORDS = 8192
"""Records of a sum, at most; `per_record.gradients` says how exact sums of so many are."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveNorm:
    """How C adapts, for clipping=adaptive. All of it is public.

    Attributes:
      quantile: target share of a lot's records with a norm up to C.
      rate: speed at which log C changes.
      count_share: share of the privacy that the count gets, of 1/σ². The noise of the gradients is larger
        by 1/√(1 − count_share) than without a count.
      least, most: smallest and largest C.
    """

    quantile: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 0.5
    rate: Annotated[float, check.POSITIVE] = 0.2
    count_share: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 0.01
    least: Annotated[float, check.POSITIVE] = 1e-3
    most: Annotated[float, check.POSITIVE] = 1e3

    def __post_init__(self) -> None:
        check.fields(self, "privacy.adaptive")
        if self.least > self.most:
            raise UserError(
                f"privacy.adaptive.least ({self.least:g}) must not exceed privacy.adaptive.most "
                f"({self.most:g})."
            )
