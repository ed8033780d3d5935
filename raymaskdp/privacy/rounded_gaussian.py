"""An exact sampler of the Gaussian that is rounded to whole numbers, from uniform random bits.

A real number y ≥ 0 with the density exp(−y² / 2s²), up to a factor, is drawn by rejection: a bin of its whole
part with whole-numbered weights that are never too small, a uniform place in the bin, and a uniform V that
must be below density / weight. Only the comparison with V needs real numbers. It is made in float64, and
again with as many digits as needed where float64 is not enough, so that the samples are as exact as the bits
are: they are the same on all machines and with all math libraries. y is rounded, and gets a sign.

The one difference from a rounded Gaussian: no number is beyond `CUT` standard deviations, where 10^-38 of the
Gaussian is.

Shape suffixes: M candidates, B bins.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable
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
        missing = np.arange(len(some))
        while len(missing):
            value_M, is_kept_M = _candidates(len(missing), standard_deviation, bits, more_bits, candidate)
            some[missing[is_kept_M]] = value_M[is_kept_M]
            candidate += len(missing)
            missing = missing[~is_kept_M]
    return drawn


def _candidates(
    count: int, deviation: float, bits: np.random.Generator, more_bits: MoreBits, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates, int64 [M], and whether each is kept; `first` is the number of the first one."""
    width = _bin_bits(deviation)
    ends_B, weight_B = _table(deviation)
    chosen_M = bits.integers(0, 2 * ends_B[-1], size=count)
    is_negative_M = chosen_M >= ends_B[-1]
    bin_M = np.searchsorted(ends_B, chosen_M - is_negative_M * ends_B[-1], side="right")
    word_M = bits.integers(0, 1 << 64, size=count, dtype=np.uint64)  # the place in the bin, whole part first
    v_M = bits.random(size=count)  # 53 bits of V
    fraction_bits = np.uint64(64 - width)
    whole_M = (bin_M << width) + (word_M >> fraction_bits).astype(np.int64)
    fraction_M = (word_M & np.uint64((1 << (64 - width)) - 1)) * 2.0 ** (width - 64)
    z_M = (whole_M + fraction_M) / deviation
    limit_M = np.exp(-0.5 * z_M * z_M) * (2.0**WEIGHT / weight_B[bin_M])
    is_kept_M = v_M < limit_M
    for one in np.flatnonzero(np.abs(v_M - limit_M) < UNSURE):
        is_kept_M[one] = _is_below(
            v=int(v_M[one] * 2.0**53),
            place=(int(bin_M[one]) << 64) + int(word_M[one]),
            deviation=deviation,
            weight=int(weight_B[bin_M[one]]),
            bits=more_bits(first + int(one)),
        )
    magnitude_M = whole_M + ((word_M >> np.uint64(63 - width)) & np.uint64(1)).astype(np.int64)
    return np.where(is_negative_M, -magnitude_M, magnitude_M), is_kept_M


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


@functools.lru_cache(maxsize=4)
def _table(deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the bins on the line of all weights, and the weights, int64 [B].

    A weight is that of the bin's lower edge, where the density is largest, rounded up. Decimals are the same
    on all machines.
    """
    width = 1 << _bin_bits(deviation)
    with decimal.localcontext(decimal.Context(prec=25)):
        weights = [
            int(_limit(Decimal(place * width), deviation, 1)) + 2
            for place in range(math.ceil(CUT * deviation / width))
        ]
    return np.cumsum(weights), np.array(weights)
