"""Every sample of the exact sampler, decided again from its random words by another library.

Tests of the distribution can't see a digit that is used twice, or a stream that two candidates share.
"""

from __future__ import annotations

from typing import Any, cast

import mpmath
import numpy as np
import pytest

from raymaskdp.privacy import rounded_gaussian as sampler

LINE = 18
mpmath.mp.dps = 60

Digits = tuple[tuple[int, int], tuple[int, int]]
"""Further digits of V and of the place, each with their number."""


class Recorded:
    """A generator that keeps what was drawn."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.Generator(np.random.Philox(seed))
        self.drawn: list[np.ndarray] = []

    def integers(self, *limits: Any, **how: Any) -> np.ndarray:
        self.drawn.append(np.array(self._source.integers(*limits, **how)))
        return self.drawn[-1].copy()


class Reference:
    """Candidates by the definition: real numbers to 60 digits."""

    def __init__(self, deviation: float) -> None:
        self.deviation = mpmath.mpf(deviation)
        self.whole = max(0, int(mpmath.floor(mpmath.log(self.deviation, 2))) - 6)  # bits in a bin
        count = int(mpmath.ceil(13 * self.deviation / 2**self.whole))
        density = [self.density(number) for number in range(count + 1)]
        self.scale = int((2**LINE - count) / mpmath.fsum(density[:-1]))
        self.weights = [int(self.scale * one) + 1 for one in density[:-1]]
        self.line = np.repeat(np.arange(count), self.weights)
        self.digits = min(63 - LINE - self.whole - 1, 40)
        self.edge = [self.scale * low / weight for low, weight in zip(density[1:], self.weights, strict=True)]

    def density(self, bins: Any) -> Any:
        return mpmath.exp(-((bins * mpmath.mpf(2) ** self.whole / self.deviation) ** 2) / 2)

    def first_digits(self, word: int) -> tuple[int, int, int]:
        """V, the place in the bin with one digit more, and the bin (that beyond the last one, too)."""
        place = word >> 63 - LINE & 2**LINE - 1
        within = self.whole + 1
        number = int(self.line[place]) if place < len(self.line) else len(self.weights)
        return word >> within & 2**self.digits - 1, word & 2**within - 1, number

    def is_sure(self, word: int) -> bool:
        """Whether the first digits of V are enough, wherever in its bin the number is."""
        v, _, number = self.first_digits(word)
        if number == len(self.weights):
            return False
        return v < int((self.edge[number] - mpmath.mpf("1e-15")) * 2**self.digits)

    def is_below(self, word: int, further: list[Digits]) -> bool | None:
        """Whether V is below its limit, by its digits and those of the place; None if they don't tell."""
        v, place, number = self.first_digits(word)
        if number == len(self.weights):
            return False
        v_bits, place_bits = self.digits, self.whole + 1
        for (more_v, bits), (more_place, more_bits) in further:
            v, v_bits = v << bits | more_v, v_bits + bits
            place, place_bits = place << more_bits | more_place, place_bits + more_bits
        share = self.scale / mpmath.mpf(self.weights[number])
        near, far = (
            share * self.density(number + (place + end) / mpmath.mpf(2) ** place_bits) for end in (0, 1)
        )
        if (v + 1) / mpmath.mpf(2) ** v_bits <= far:
            return True
        return False if v / mpmath.mpf(2) ** v_bits >= near else None

    def value(self, word: int) -> int:
        _, place, number = self.first_digits(word)
        size = (number << self.whole + 1) + place + 1 >> 1
        return -size if word >> 63 else size


def stream(candidate: int) -> Recorded:
    return Recorded(10**6 + candidate)


class Replay:
    """Samples by the words that were drawn for them."""

    def __init__(self, deviation: float, drawn: list[np.ndarray]) -> None:
        self.reference = Reference(deviation)
        self.calls = iter(drawn)
        self.values: dict[int, int] = {}
        self.candidates = 0

    def decide(self, slots: list[int]) -> list[int]:
        """One candidate for each slot; the slots whose candidate is rejected."""
        words, more = [int(word) for word in next(self.calls)], iter(next(self.calls).T.tolist())
        rejected = []
        for slot, word in zip(slots, words, strict=True):
            if self.reference.is_sure(word) or self.is_below(word, *next(more)):
                assert slot not in self.values
                self.values[slot] = self.reference.value(word)
            else:
                rejected.append(slot)
            self.candidates += 1
        assert next(more, None) is None, "further digits for those that need them, and for no other"
        return rejected

    def is_below(self, word: int, v: int, place: int) -> bool:
        v_bits, place_bits = 53 - self.reference.digits, 64 - self.reference.whole - 1
        further: list[Digits] = [((v >> 64 - v_bits, v_bits), (place >> 64 - place_bits, place_bits))]
        below, own = self.reference.is_below(word, further), stream(self.candidates)
        while below is None:
            more_v, more_place = (int(own.integers(0, 1 << 64, dtype=np.uint64)) for _ in range(2))
            further.append(((more_v, 64), (more_place, 64)))
            below = self.reference.is_below(word, further)
        return below


@pytest.mark.parametrize("unsure", [2.0**-40, 1.0], ids=["float64", "decimals"])
@pytest.mark.parametrize("deviation", [1.0, 1.37, 17.3, 64.0, 2**30 + 0.3, 2.0**40])
def test_each_sample_is_what_its_words_say(
    deviation: float, unsure: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, so that candidates of several blocks and of refills must keep apart."""
    size, block = 600, 128
    monkeypatch.setattr(sampler, "AT_A_TIME", block)
    monkeypatch.setattr(sampler, "UNSURE", unsure)
    words, asked = Recorded(7), []
    drawn = sampler.rounded_gaussian(
        size,
        deviation,
        cast(Any, words),
        lambda candidate: cast(Any, asked.append(candidate) or stream(candidate)),
    )
    replay = Replay(deviation, words.drawn)
    missing = [
        slot
        for first in range(0, size, block)
        for slot in replay.decide(list(range(first, min(first + block, size))))
    ]
    while missing:
        missing = replay.decide(missing[:block]) + missing[block:]
    assert [replay.values[slot] for slot in range(size)] == drawn.tolist()
    assert next(replay.calls, None) is None
    assert len(set(asked)) == len(asked), "no two candidates have the same stream"


@pytest.mark.parametrize("off", [2.0**-44, 2.0**-52, 2.0**-60, 2.0**-100, 2.0**-130])
@pytest.mark.parametrize("above", [False, True])
def test_near_ties_are_decided_by_real_numbers(off: float, above: bool) -> None:
    """V nearer to its limit than float64 can tell, at a place in the bin that is no round number."""
    deviation, mpmath.mp.dps = 17.3, 80
    reference, bins = Reference(deviation), sampler._bins(17.3)
    assert (bins.scale, bins.weight_B[:-1].tolist()) == (reference.scale, reference.weights)
    number, place = 40, 0xB504F333F9DE6484
    words_place = (0x9E3779B97F4A7C15, 0x243F6A8885A308D3)
    full_place = (place << 128) + (words_place[0] << 64) + words_place[1]
    share = reference.scale / mpmath.mpf(reference.weights[number])
    limit = share * reference.density(number + full_place / mpmath.mpf(2) ** 192)
    v = int((limit + (1 if above else -1) * mpmath.mpf(off)) * mpmath.mpf(2) ** 181)
    digits = iter([v >> 64 & 2**64 - 1, words_place[0], v & 2**64 - 1, words_place[1]])

    class Given:
        def integers(self, *limits: Any, **how: Any) -> int:
            return next(digits)

    below = sampler._is_below(
        v=v >> 128,
        place=(number << 64) + place,
        bins=bins,
        weight=reference.weights[number],
        bits=cast(Any, Given()),
    )
    assert below is not above


@pytest.mark.parametrize("off", [0, 1, -1, 2**17, -(2**17)], ids="{:+d} units of 2^-53".format)
def test_float64_decides_only_what_it_can(off: int) -> None:
    """200 candidates whose first 53 digits of V are this far from the limit."""
    deviation, rng = 1.37 * 2**36, np.random.default_rng(off % 2**20)
    reference, bins = Reference(deviation), sampler._bins(deviation)
    number_S = rng.integers(20, 60, 200)
    place_S, expected, v_S = rng.integers(0, 1 << 64, 200, dtype=np.uint64), [], []
    for candidate, (number, place) in enumerate(zip(number_S.tolist(), place_S.tolist(), strict=True)):
        share = reference.scale / mpmath.mpf(reference.weights[number])
        v_S.append(int(share * reference.density(number + place / mpmath.mpf(2) ** 64) * 2**53) + off)
        own, v, below = stream(candidate), v_S[-1], None
        for bits in (0, 64, 128):
            if bits:
                v, place = (end << 64 | int(own.integers(0, 1 << 64, dtype=np.uint64)) for end in (v, place))
            near, far = (
                share * reference.density(number + (place + end) / mpmath.mpf(2) ** (64 + bits))
                for end in (0, 1)
            )
            if (v + 1) / mpmath.mpf(2) ** (53 + bits) <= far or v / mpmath.mpf(2) ** (53 + bits) >= near:
                below = v / mpmath.mpf(2) ** (53 + bits) < far
                break
        expected.append(below)
    assert None not in expected
    v_53, place_64 = np.array(v_S, np.uint64), place_S
    further = np.stack(
        [
            (v_53 & np.uint64(2 ** (53 - bins.v_bits) - 1)) << np.uint64(11 + bins.v_bits),
            (place_64 & np.uint64(2 ** (64 - bins.twice_bits) - 1)) << np.uint64(bins.twice_bits),
        ]
    )

    class Given:
        def integers(self, *limits: Any, **how: Any) -> np.ndarray:
            return further

    below_S = sampler._are_below(
        bins,
        number_S,
        (place_64 >> np.uint64(64 - bins.twice_bits)).astype(np.int64),
        (v_53 >> np.uint64(53 - bins.v_bits)).astype(np.int64),
        cast(Any, Given()),
        cast(Any, stream),
        np.arange(200),
    )
    assert below_S.tolist() == expected


def test_what_is_cut_off_is_as_small_as_stated() -> None:
    """docs/privacy-guarantee.md says 10^-37; the price has no other room for it."""
    assert 0 < mpmath.erfc(sampler.CUT / mpmath.sqrt(2)) < 1e-37
