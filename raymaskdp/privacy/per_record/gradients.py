"""Per-record gradients of one parameter, in the form that needs least memory.

All forms are exact. Each gives the squared norms of its records' gradients, a sum of them weighted by
record, and itself in full, for parameters that are used more than once.

Sums over records are made in float64. In float32 each partial sum is rounded to its own size, so one record
with large terms that cancel, or one that lifts partial sums above a power of two, changes how all others are
rounded: it moved a sum by up to 2.2 C. In float64, sums of `choices.MOST_RECORDS` records are wrong by less
than 2^-12 C, for which `noise.MARGIN` pays. What is rounded before, in float32, is of one record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Shape suffixes: N records, T positions of a record (its views folded in), D inputs and P outputs of a
# linear map, S (record, row) pairs that occur, R rows of an embedding.


class RecordGradients(Protocol):
    """The gradients of one parameter for N records."""

    def squared_norms(self) -> Tensor:
        """‖g_i‖² of every record, [N], float64; NaN or inf where a gradient is not finite.

        At least the squared norm of the record's part of `weighted_sum`, to a relative 1e-6.
        """

    def weighted_sum(self, factors_N: Tensor) -> Tensor:
        """Σ_i factors_i g_i, float64, shaped like the parameter. A record with factor 0 adds 0, even if not
        finite.
        """

    def dense(self) -> Tensor:
        """g [N, *shape of the parameter]."""


GROUP = 16
"""Products of factors are added up `GROUP` records at a time. A clipped record's terms are together no longer
than C · 2^23 / T, because `Outer.squared_norms` counts their rounding in float32. So N records in sums of
GROUP · T terms are wrong by at most N · GROUP · 2^-53 · 2^23 · C = N · 2^-26 C, and full gradients by
N² · 2^-53 C.
"""

BLOCK = 1 << 19
"""Numbers of all records that are squared at a time. Larger float64 copies are new pages for every block,
which takes up to eight times as long."""

NARROW = 1 << 16
"""Numbers of all records that are multiplied at once; their float64 copies fit into a processor's cache."""

WIDE = 1 << 14
"""Records with at least so many numbers are added one by one: less is copied, and few calls suffice."""

AT_A_TIME = 1 << 18
"""Numbers of one record that are added at a time, so that their sum stays in a processor's cache."""


def squared_norms(values_NM: Tensor) -> Tensor:
    """Squared lengths of rows, [N], added up in float64.

    Float32 sums of 10⁸ squares lose small terms: a clipped record had a norm of up to 1.007 C.
    """
    blocks = [
        torch.linalg.vector_norm(block, dim=1, dtype=torch.float64).square()
        for block in values_NM.split(max(BLOCK // max(len(values_NM), 1), 1), dim=1)
    ]
    return torch.stack(blocks).sum(0)


@dataclass(frozen=True)
class Dense:
    """Full gradients, [N, *shape]. For long clips smaller than the activations they are computed from."""

    values: Tensor

    def squared_norms(self) -> Tensor:
        return squared_norms(self._flat())

    def weighted_sum(self, factors_N: Tensor) -> Tensor:
        flat, factors_N = self._flat(), factors_N.double()
        dropped = factors_N == 0
        if bool(dropped.any()):
            # Zero times NaN is NaN: dropped values must be removed, not multiplied by zero.
            flat = flat.masked_fill(dropped[:, None], 0.0)
        if flat.shape[1] < WIDE:
            width = max(NARROW // max(len(flat), 1), 1)
            blocks = [factors_N @ block.double() for block in flat.split(width, dim=1)]
            return torch.cat(blocks).view(self.values.shape[1:])
        total = torch.zeros(flat.shape[1], dtype=torch.float64, device=flat.device)
        for sums, block in zip(total.split(AT_A_TIME), flat.split(AT_A_TIME, dim=1), strict=True):
            for values, factor in zip(block, factors_N, strict=True):
                sums.addcmul_(values, factor)
        return total.view(self.values.shape[1:])

    def dense(self) -> Tensor:
        return self.values

    def _flat(self) -> Tensor:
        return self.values.reshape(len(self.values), -1)  # parameters may be single numbers


@dataclass(frozen=True)
class Outer:
    """Gradients Σ_t g_t xₜᵀ of a linear map, held as their factors (ghost norms; Li et al. 2022).

    Factors must be float32 or coarser for the bound of `MOST_RECORDS` to hold.
    """

    outputs_NTP: Tensor
    inputs_NTD: Tensor

    def squared_norms(self) -> Tensor:
        # ‖Σ g xᵀ‖² = Σ_{s,t} (g_s·g_t)(x_s·x_t); in float64, because the terms may nearly cancel.
        g, x = self.outputs_NTP.double(), self.inputs_NTD.double()
        norms_N = ((g @ g.mT) * (x @ x.mT)).sum((1, 2)).clamp_min(0.0).sqrt()
        # Adding T products in float32 would round by at most T ε Σ_t |g_t||x_t|. The sum is made in float64,
        # but with this allowance a clipped record has no terms larger than float64 can hold beside others.
        positions, epsilon = self.outputs_NTP.shape[1], torch.finfo(self.outputs_NTP.dtype).eps
        rounding_N = (torch.linalg.vector_norm(g, dim=2) * torch.linalg.vector_norm(x, dim=2)).sum(1)
        return (norms_N + positions * epsilon * rounding_N).square()

    def weighted_sum(self, factors_N: Tensor) -> Tensor:
        dropped = (factors_N == 0)[:, None, None]
        g = (self.outputs_NTP.double() * factors_N.double()[:, None, None]).masked_fill(dropped, 0.0)
        x = self.inputs_NTD.masked_fill(dropped, 0.0)
        total = g.new_zeros(g.shape[2], x.shape[2])
        for outputs, inputs in zip(g.split(GROUP), x.split(GROUP), strict=True):
            total.addmm_(outputs.flatten(0, 1).T, inputs.flatten(0, 1).double())
        return total

    def dense(self) -> Tensor:
        return self.outputs_NTP.mT @ self.inputs_NTD


@dataclass(frozen=True)
class Rows:
    """Gradients of an embedding, held as the rows that occur in each record."""

    records_S: Tensor
    rows_S: Tensor
    values_SD: Tensor
    num_records: int
    num_rows: int

    def squared_norms(self) -> Tensor:
        squares_S = squared_norms(self.values_SD)
        return squares_S.new_zeros(self.num_records).index_add_(0, self.records_S, squares_S)

    def weighted_sum(self, factors_N: Tensor) -> Tensor:
        factors_S = factors_N.double()[self.records_S][:, None]
        values = (self.values_SD * factors_S).masked_fill(factors_S == 0, 0.0)
        return values.new_zeros(self.num_rows, values.shape[1]).index_add_(0, self.rows_S, values)

    def dense(self) -> Tensor:
        full = self.values_SD.new_zeros(self.num_records, self.num_rows, self.values_SD.shape[1])
        full[self.records_S, self.rows_S] = self.values_SD
        return full
