"""An exact sampler of the Gaussian that is rounded to whole numbers, from uniform random bits.

A real number y ≥ 0 with the density exp(−y² / 2s²), up to a factor, is drawn by rejection: a bin of its whole
part with whole-numbered weights that are never too small, a uniform place in the bin, and a uniform V that
must be below density / weight. Only the comparison with V needs real numbers. It is made in float64, and
again with as many digits as needed where float64 is not enough, so that the samples are as exact as the bits
are: they are the same on all machines and with all math libraries. y is rounded, and gets a sign.

The one difference from a rounded Gaussian: no number is beyond `CUT` standard deviations, where 10^-38 of the
Gaussian is.

Shape suffixes: M candidates, B bins, C cells.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

CUT = 13
"""Samples are limited to this many standard deviations."""

BINS = 64
"""Bins for a standard deviation, at least; less than one candidate in 50 is rejected then."""

WEIGHT = 50
"""The weight of the first bin is 2^WEIGHT or a little more."""

UNSURE = 2.0**-40
"""Float64 decides if V and its limit differ by more; its error is below 2^-42 (13²/2 · 2^-50)."""

CELL_BITS = 13
"""The line of all weights is divided into 2^CELL_BITS cells at most."""

AT_A_TIME = 1 << 14
"""Numbers drawn together, few enough for a processor's cache: three times as fast as large arrays."""

MoreBits = Callable[[int], np.random.Generator]
"""A generator of further digits of a candidate, which is given by its number."""


def rounded_gaussian(
    size: int, standard_deviation: float, bits: np.random.Generator, more_bits: MoreBits
) -> np.ndarray:
    """Samples of round(N(0, standard_deviation²)), int64 [size], for standard deviations of 1 to 2^40.

    Args:
      bits: where all candidates come from.
      more_bits: where further digits of a candidate come from, if they are needed.
    """
    drawn = np.empty(size, np.int64)
    candidate = 0
    for first in range(0, size, AT_A_TIME):
        some = drawn[first : first + AT_A_TIME]
        value_M, is_kept_M = _candidates(len(some), standard_deviation, bits, more_bits, candidate)
        candidate += len(some)
        some[:] = value_M
        missing = np.flatnonzero(~is_kept_M)
        while len(missing):
            value_M, is_kept_M = _candidates(len(missing), standard_deviation, bits, more_bits, candidate)
            candidate += len(missing)
            some[missing] = value_M
            missing = missing[~is_kept_M]
    return drawn


def _candidates(
    count: int, deviation: float, bits: np.random.Generator, more_bits: MoreBits, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates, int64 [M], and whether each is kept; `first` is the number of the first one."""
    width, bins = _bin_bits(deviation), _bins(deviation)
    total = int(bins.ends_B[-1])
    chosen_M = bits.integers(0, 2 * total, size=count)
    word_M = bits.integers(0, 1 << 64, size=count, dtype=np.uint64)  # the place in the bin, whole part first
    v_M = bits.random(size=count)  # 53 bits of V
    is_negative_M = chosen_M >= total
    chosen_M -= is_negative_M * total
    bin_M = bins.holding(chosen_M)
    z_M = (bin_M + word_M * 2.0**-64) * (2.0**width / deviation)
    limit_M = np.exp(-0.5 * z_M * z_M) * bins.density_B[bin_M]
    is_kept_M = v_M < limit_M
    for one in np.flatnonzero(np.abs(v_M - limit_M) < UNSURE):
        is_kept_M[one] = _is_below(
            v=int(v_M[one] * 2.0**53),
            place=(int(bin_M[one]) << 64) + int(word_M[one]),
            deviation=deviation,
            weight=int(bins.weight_B[bin_M[one]]),
            bits=more_bits(first + int(one)),
        )
    # The whole part and one more bit, by which it is rounded.
    twice_M = (word_M >> np.uint64(63 - width)).astype(np.int64)
    magnitude_M = (bin_M << width) + ((twice_M + 1) >> 1)
    return magnitude_M * (1 - 2 * is_negative_M), is_kept_M


def _is_below(v: int, place: int, deviation: float, weight: int, bits: np.random.Generator) -> bool:
    """Whether V is below the candidate's density / weight, with as many digits as needed.

    Args:
      v: the first 53 bits of V.
      place: y in units of 2^(bits of a bin − 64), rounded down.
      bits: where further bits of both come from.
    """
    v_bits, place_bits = 53, 64 - _bin_bits(deviation)
    while True:
        v = (v << 64) + int(bits.integers(0, 1 << 64, dtype=np.uint64))
        place = (place << 64) + int(bits.integers(0, 1 << 64, dtype=np.uint64))
        v_bits, place_bits = v_bits + 64, place_bits + 64
        with decimal.localcontext(decimal.Context(prec=v_bits)):
            # Both are known up to one unit of their last bit; results are off by some units of `prec` digits.
            off = Decimal(10) ** (8 - v_bits)
            least = _limit(Decimal(place + 1) / (1 << place_bits), deviation, weight) - off
            most = _limit(Decimal(place) / (1 << place_bits), deviation, weight) + off
            if Decimal(v + 1) / (1 << v_bits) <= least:
                return True
            if Decimal(v) / (1 << v_bits) >= most:
                return False


def _limit(y: Decimal, deviation: float, weight: int) -> Decimal:
    return (-((y / Decimal(deviation)) ** 2) / 2).exp() * (1 << WEIGHT) / weight


def _bin_bits(deviation: float) -> int:
    """log2 of how many whole numbers are in a bin."""
    return max(0, math.frexp(deviation)[1] - 1 - (BINS.bit_length() - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bins:
    """The bins of a standard deviation, on the line of all their weights.

    Attributes:
      ends_B: int64, where each ends.
      weight_B: int64. A weight is that of the bin's lower edge, where the density is largest, rounded up.
      density_B: float64, 2^WEIGHT / weight.
      cell_bits: log2 of the length of a cell of the line.
      first_C: int64 [C], the bin at the start of each cell.
      single: the cells before this one contain at most one end.
    """

    ends_B: np.ndarray
    weight_B: np.ndarray
    density_B: np.ndarray
    cell_bits: int
    first_C: np.ndarray
    single: int

    def holding(self, place_M: np.ndarray) -> np.ndarray:
        """The bin of each place on the line, int64 [M]: one comparison, and a search for the few far ones."""
        cell_M = place_M >> self.cell_bits
        bin_M = self.first_C[cell_M]
        bin_M += place_M >= self.ends_B[bin_M]
        far = np.flatnonzero(cell_M >= self.single)
        bin_M[far] = np.searchsorted(self.ends_B, place_M[far], side="right")
        return bin_M


@functools.lru_cache(maxsize=4)
def _bins(deviation: float) -> _Bins:
    """The bins; decimals are the same on all machines."""
    width = 1 << _bin_bits(deviation)
    with decimal.localcontext(decimal.Context(prec=25)):
        weights = [
            int(_limit(Decimal(place * width), deviation, 1)) + 2
            for place in range(math.ceil(CUT * deviation / width))
        ]
    ends_B, weight_B = np.cumsum(weights), np.array(weights)
    cell_bits = max(0, int(ends_B[-1]).bit_length() - CELL_BITS)
    starts_C = np.arange((int(ends_B[-1]) >> cell_bits) + 2) << cell_bits
    first_C = np.searchsorted(ends_B, starts_C, side="right")
    several_C = np.diff(first_C) > 1
    return _Bins(
        ends_B=ends_B,
        weight_B=weight_B,
        density_B=2.0**WEIGHT / weight_B,
        cell_bits=cell_bits,
        first_C=first_C[:-1],
        single=int(np.argmax(several_C)) if several_C.any() else len(several_C),
    )
