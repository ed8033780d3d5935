"""Per-record gradients of one parameter, in the form that needs least memory.

All forms are exact. Each gives the squared norms of its records' gradients, a sum of them weighted by
record, and itself in full, for parameters that are used more than once.
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
        """Σ_i factors_i g_i, shaped like the parameter. A record with factor 0 adds 0, even if not finite."""

    def dense(self) -> Tensor:
        """g [N, *shape of the parameter]."""


BLOCK = 1 << 22
"""Numbers of a record that are squared at a time, so that their float64 copies stay small."""


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
        flat = self._flat()
        dropped = factors_N == 0
        if bool(dropped.any()):
            # Zero times NaN is NaN: dropped values must be removed, not multiplied by zero.
            flat = flat.masked_fill(dropped[:, None], 0.0)
        return (factors_N.to(flat) @ flat).view(self.values.shape[1:])

    def dense(self) -> Tensor:
        return self.values

    def _flat(self) -> Tensor:
        return self.values.reshape(len(self.values), -1)  # parameters may be single numbers


@dataclass(frozen=True)
class Outer:
    """Gradients Σ_t g_t xₜᵀ of a linear map, held as their factors (ghost norms; Li et al. 2022)."""

    outputs_NTP: Tensor
    inputs_NTD: Tensor

    def squared_norms(self) -> Tensor:
        # ‖Σ g xᵀ‖² = Σ_{s,t} (g_s·g_t)(x_s·x_t); in float64, because the terms may nearly cancel.
        g, x = self.outputs_NTP.double(), self.inputs_NTD.double()
        norms_N = ((g @ g.mT) * (x @ x.mT)).sum((1, 2)).clamp_min(0.0).sqrt()
        # The sum is made in the type of the factors: adding T products rounds by at most T ε Σ_t |g_t||x_t|
        # in length, which where the terms cancel may be longer than the gradient itself.
        positions, epsilon = self.outputs_NTP.shape[1], torch.finfo(self.outputs_NTP.dtype).eps
        rounding_N = (torch.linalg.vector_norm(g, dim=2) * torch.linalg.vector_norm(x, dim=2)).sum(1)
        return (norms_N + positions * epsilon * rounding_N).square()

    def weighted_sum(self, factors_N: Tensor) -> Tensor:
        dropped = (factors_N == 0)[:, None, None]
        g = (self.outputs_NTP * factors_N.to(self.outputs_NTP)[:, None, None]).masked_fill(dropped, 0.0)
        x = self.inputs_NTD.masked_fill(dropped, 0.0)
        return g.flatten(0, 1).T @ x.flatten(0, 1)

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
        factors_S = factors_N.to(self.values_SD)[self.records_S][:, None]
        values = (self.values_SD * factors_S).masked_fill(factors_S == 0, 0.0)
        return values.new_zeros(self.num_rows, values.shape[1]).index_add_(0, self.rows_S, values)

    def dense(self) -> Tensor:
        full = self.values_SD.new_zeros(self.num_records, self.num_rows, self.values_SD.shape[1])
        full[self.records_S, self.rows_S] = self.values_SD
        return full
