"""An exact sampler of the Gaussian that is rounded to whole numbers, from uniform random bits.

A real number y ≥ 0 with the density exp(−y² / 2s²), up to a factor, is drawn by rejection: a bin of its whole
part with whole-numbered weights that are never too small, a uniform place in the bin, and a uniform V that
must be below density / weight. One word of 64 random bits holds the sign, the bin, and the first digits of
place and V. These digits of V accept most candidates: they are below the ratio at the far edge of the bin,
where it is smallest. The others need real numbers. They are compared in float64 with 53 digits of V, and
again with as many digits as needed where float64 is not enough, so that the samples are as exact as the bits
are: they are the same on all machines and with all math libraries. y is rounded, and gets its sign.

The one difference from a rounded Gaussian: no number is beyond the end of the bin at `CUT` standard
deviations; 10^-38 of the Gaussian is.

Shape suffixes: M candidates, S the candidates that need more digits, B bins, P places on the line of weights.
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
"""Samples are limited to this many standard deviations, and to the end of the bin there."""

BINS = 64
"""Bins for a standard deviation, at least; less than one candidate in 50 is rejected then."""

LINE = 18
"""Bits that choose a bin: the weights of all bins add up to 2^LINE or a little less."""

UNSURE = 2.0**-40
"""Float64 decides if V and its limit differ by more; its error is below 2^-42 (13²/2 · 2^-50)."""

AT_A_TIME = 1 << 15
"""Numbers drawn together, few enough for a processor's cache."""

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
    drawn, candidate = np.empty(size, np.int64), 0
    rejected = []
    for first in range(0, size, AT_A_TIME):
        some = drawn[first : first + AT_A_TIME]
        some[:], rejected_S = _candidates(len(some), standard_deviation, bits, more_bits, candidate)
        rejected.append(first + rejected_S)
        candidate += len(some)
    missing_S = np.concatenate([np.zeros(0, np.int64), *rejected])
    while len(missing_S):
        some = missing_S[:AT_A_TIME]
        drawn[some], rejected_S = _candidates(len(some), standard_deviation, bits, more_bits, candidate)
        missing_S = np.concatenate([some[rejected_S], missing_S[AT_A_TIME:]])
        candidate += len(some)
    return drawn


def _candidates(
    count: int, deviation: float, bits: np.random.Generator, more_bits: MoreBits, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates, int64 [M], and which of them are rejected; `first` is the number of the first one.

    From its highest bit on, a word has the sign, the place on the line, the first digits of V, and those of
    the place in the bin: the whole part, and one digit more, by which it is rounded. Arrays are changed in
    place because new ones take longer than the arithmetic.
    """
    bins = _bins(deviation)
    word_M = bits.integers(0, 1 << 64, size=count, dtype=np.uint64).view(np.int64)
    place_M = word_M >> (63 - LINE)
    place_M &= (1 << LINE) - 1
    bin_M = bins.bin_P.take(place_M).astype(np.int64)
    v_M = word_M >> bins.twice_bits
    v_M &= (1 << bins.v_bits) - 1
    unsure_S = np.flatnonzero(v_M >= bins.sure_B.take(bin_M))
    minus_M = word_M >> 63  # −1 for a negative number, else 0
    word_M &= (1 << bins.twice_bits) - 1
    kept_S = _are_below(
        bins, bin_M[unsure_S], word_M[unsure_S], v_M[unsure_S], bits, more_bits, first + unsure_S
    )
    value_M = np.left_shift(bin_M, bins.twice_bits, out=bin_M)
    value_M += word_M
    value_M += 1
    value_M >>= 1
    value_M ^= minus_M
    value_M -= minus_M
    return value_M, unsure_S[~kept_S]


def _are_below(
    bins: _Bins,
    bin_S: np.ndarray,
    twice_S: np.ndarray,
    v_S: np.ndarray,
    bits: np.random.Generator,
    more_bits: MoreBits,
    number_S: np.ndarray,
) -> np.ndarray:
    """Whether V is below density / weight for candidates that their first digits do not decide, bool [S].

    Args:
      twice_S, v_S: the first digits of the place in the bin and of V.
      number_S: of the candidates.
    """
    more_2S = bits.integers(0, 1 << 64, size=(2, len(bin_S)), dtype=np.uint64)
    v_S = (v_S << (53 - bins.v_bits)) | (more_2S[0] >> np.uint64(11 + bins.v_bits)).astype(np.int64)
    place_S = (twice_S.astype(np.uint64) << np.uint64(64 - bins.twice_bits)) | (
        more_2S[1] >> np.uint64(bins.twice_bits)
    )
    z_S = (bin_S + place_S * 2.0**-64) * (2.0**bins.whole_bits / bins.deviation)
    limit_S = np.exp(-0.5 * z_S * z_S) * bins.ratio_B[bin_S]
    is_below_S = v_S * 2.0**-53 < limit_S
    for one in np.flatnonzero(np.abs(v_S * 2.0**-53 - limit_S) < UNSURE):
        is_below_S[one] = _is_below(
            v=int(v_S[one]),
            place=(int(bin_S[one]) << 64) + int(place_S[one]),
            bins=bins,
            weight=int(bins.weight_B[bin_S[one]]),
            bits=more_bits(int(number_S[one])),
        )
    return is_below_S


def _is_below(v: int, place: int, bins: _Bins, weight: int, bits: np.random.Generator) -> bool:
    """Whether V is below the candidate's density / weight, with as many digits as needed.

    Args:
      v: the first 53 bits of V.
      place: y in units of 2^(bits of a bin − 64), rounded down.
      bits: where further bits of both come from.
    """
    v_bits, place_bits = 53, 64 - bins.whole_bits
    while True:
        v = (v << 64) + int(bits.integers(0, 1 << 64, dtype=np.uint64))
        place = (place << 64) + int(bits.integers(0, 1 << 64, dtype=np.uint64))
        v_bits, place_bits = v_bits + 64, place_bits + 64
        with decimal.localcontext(decimal.Context(prec=v_bits)):
            # Both are known up to one unit of their last bit; results are off by some units of `prec` digits.
            off = Decimal(10) ** (8 - v_bits)
            scale = Decimal(bins.scale) / weight
            least = _density(Decimal(place + 1) / (1 << place_bits), bins.deviation) * scale - off
            most = _density(Decimal(place) / (1 << place_bits), bins.deviation) * scale + off
            if Decimal(v + 1) / (1 << v_bits) <= least:
                return True
            if Decimal(v) / (1 << v_bits) >= most:
                return False


def _density(y: Decimal, deviation: float) -> Decimal:
    return (-((y / Decimal(deviation)) ** 2) / 2).exp()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bins:
    """The bins of a standard deviation, on the line of all their weights.

    One more bin, the next after the last, fills the line up to 2^LINE. It is so light that it would have to
    be drawn by its whole weight to accept a candidate.

    Attributes:
      whole_bits: log2 of how many whole numbers are in a bin.
      twice_bits, v_bits: digits of a candidate's place and of its V in its first word.
      scale: the weight that stands for a density of 1.
      bin_P: int16, the bin of each place on the line.
      weight_B: int64; more than `scale` times the density at the bin's lower edge, where that is largest.
      ratio_B: float64, scale / weight.
      sure_B: int64; V is below density / weight in the whole bin if its first digits are below this.
    """

    deviation: float
    whole_bits: int
    twice_bits: int
    v_bits: int
    scale: int
    bin_P: np.ndarray
    weight_B: np.ndarray
    ratio_B: np.ndarray
    sure_B: np.ndarray


@functools.lru_cache(maxsize=4)
def _bins(deviation: float) -> _Bins:
    """The bins; decimals are the same on all machines."""
    whole_bits = max(0, math.frexp(deviation)[1] - 1 - (BINS.bit_length() - 1))
    twice_bits = whole_bits + 1
    v_bits = min(63 - LINE - twice_bits, 40)
    count = math.ceil(CUT * deviation / (1 << whole_bits))
    with decimal.localcontext(decimal.Context(prec=25)):
        density = [_density(Decimal(place << whole_bits), deviation) for place in range(count + 1)]
        scale = int(((1 << LINE) - count) / sum(density[:-1]))
        # More than the density, by more than the decimals' error.
        weights = [int(scale * one + Decimal("1e-9")) + 1 for one in density[:-1]]
        sure = [
            max(0, int((scale * edge / weight - Decimal("1e-15")) * (1 << v_bits)))
            for edge, weight in zip(density[1:], weights, strict=True)
        ]
    rest = (1 << LINE) - sum(weights)
    return _Bins(
        deviation=deviation,
        whole_bits=whole_bits,
        twice_bits=twice_bits,
        v_bits=v_bits,
        scale=scale,
        bin_P=np.repeat(
            np.arange(count + 1, dtype=np.int16), [*weights, rest]
        ),  # small: it is read at random
        weight_B=np.array([*weights, rest]),
        ratio_B=np.array([*(scale / weight for weight in weights), -1.0]),
        sure_B=np.array([*sure, 0]),
    )
