"""A clipping norm that follows a quantile of the records' norms, estimated from noisy counts only.

(Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially Private Learning with Adaptive Clipping".)

    â_t     = Σ over the lot of (whether the record is longer than C_t, less a centre), + noise
    C_{t+1} = C_t · exp(−rate · (share that is not longer − quantile)),  within public limits

The count is one more number of the clipped sum, under `COUNT`: it is scaled so that the noise of every other
number also fits it. So sum and count are one Gaussian release at the plan's σ, on one grid, in whole
numbers. C_{t+1} is a function of what was released, and costs nothing.

Shape suffixes: N records, G groups of parameters.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from raymaskdp import check
from raymaskdp.privacy.choices import AdaptiveNorm
from raymaskdp.privacy.per_record.clipping import at_most

COUNT = ".clipped records"
"""Name of the count among the numbers of a sum; no parameter can have it, for no module has an empty name."""

LARGEST_CHANGE = 100.0
"""Of log C in a step, so that a count with very large noise causes no overflow."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveClipping:
    """Flat clipping at the current norm, and the count of the records with larger norms.

    Attributes:
      clipping_norm: C_t.
      centre: what is taken off every record's 0 or 1. One half, so that a record moves the count by at most
        that, unless one that contributes nothing to the sum may stand for another that does (the residual,
        zero-out): then 0, and a record moves the count by up to 1.
      absent: whether a record may be absent from one of two adjacent data sets. Then one that contributes
        nothing to the sum contributes nothing to the count. One that is not finite never does.
    """

    clipping_norm: Annotated[float, check.POSITIVE]
    adaptive: AdaptiveNorm
    centre: float
    absent: bool
    name = "adaptive"

    def __post_init__(self) -> None:
        check.fields(self)

    @property
    def bound(self) -> float:
        """Of sum and count together: C / √(1 − count_share)."""
        return self.clipping_norm / math.sqrt(1 - self.adaptive.count_share)

    @property
    def moved(self) -> float:
        """Largest change of the count by one record, in records."""
        return max(self.centre, 1 - self.centre)

    @property
    def scale(self) -> float:
        """Factor of the count: a record then changes it by at most √(bound² − C²)."""
        share = self.adaptive.count_share
        return self.clipping_norm * math.sqrt(share / (1 - share)) / self.moved

    def groups(self, names: Sequence[str]) -> list[int]:
        return [0] * len(names)

    def factors(self, norms_NG: Tensor) -> Tensor:
        return at_most(norms_NG, self.clipping_norm)

    def count(self, norms_NG: Tensor, good_N: Tensor) -> Tensor:
        """The count over some records, scaled, float64, a single number."""
        norms_N = norms_NG[:, 0]
        counted_N = good_N & (norms_N > 0) if self.absent else good_N
        longer = int(((norms_N > self.clipping_norm) & counted_N).sum())
        return torch.tensor(
            (longer - self.centre * int(counted_N.sum())) * self.scale,
            dtype=torch.float64,
            device=norms_NG.device,
        )

    def next_norm(self, released: float) -> float:
        """C_{t+1} from the released count: scaled, with its noise, over the expected size of a lot.

        The same to the bit on all machines: workers must not differ in it, nor a run that goes on elsewhere.
        """
        adaptive = self.adaptive
        shorter = 1 - (released / self.scale + self.centre)
        change = min(max(-adaptive.rate * (shorter - adaptive.quantile), -LARGEST_CHANGE), LARGEST_CHANGE)
        with decimal.localcontext(decimal.Context(prec=30, rounding=decimal.ROUND_HALF_EVEN)):
            factor = decimal.Decimal(change).exp()
            norm = float(decimal.Decimal(self.clipping_norm) * factor)
        return min(max(norm, adaptive.least), adaptive.most)
