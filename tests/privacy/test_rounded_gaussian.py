"""Exact samples: by probabilities of whole numbers, and by decisions with as many digits as one likes."""

from decimal import Decimal

import mpmath
import numpy as np
import pytest
from scipy import stats

from raymaskdp.errors import UserError
from raymaskdp.privacy import Key, PrivacyPlan, rounded_gaussian
from raymaskdp.privacy.rounded_gaussian import BINS, CUT, LINE

LARGE = 1.37 * 2**36


def draw(size: int, deviation: float, seed: int = 1) -> np.ndarray:
    key = Key(secret=bytes([seed]) * 32)
    return rounded_gaussian.rounded_gaussian(
        size, deviation, key.stream("noise"), lambda candidate: key.stream("more", candidate)
    )


@pytest.mark.parametrize("deviation", [1.0, 1.9, 3.7, 64.0, 100.3])
def test_whole_numbers_have_the_probabilities_of_a_rounded_gaussian(deviation: float) -> None:
    size = 1_000_000
    drawn = draw(size, deviation)
    inside = np.arange(-int(4 * deviation), int(4 * deviation) + 1)
    edges = np.r_[-np.inf, inside[:-1] + 0.5, np.inf]
    expected = np.diff(stats.norm.cdf(edges / deviation)) * size
    seen = np.bincount(np.clip(drawn, inside[0], inside[-1]) - inside[0], minlength=len(inside))
    assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_large_ones_are_gaussian_inside_a_bin_and_over_all() -> None:
    drawn = draw(1_000_000, LARGE, 2)
    assert stats.kstest(drawn / LARGE, "norm").pvalue > 1e-3
    assert np.abs(drawn).max() < CUT * LARGE
    width = 2**30  # of a bin: its edges must not show
    places = (np.abs(drawn) % width) * 64 // width
    share = np.array(
        [
            np.diff(
                stats.norm.cdf((np.arange(832)[:, None] * 64 + [place, place + 1]) * width / 64 / LARGE)
            ).sum()
            for place in range(64)
        ]
    )
    assert (
        stats.chisquare(np.bincount(places.astype(int), minlength=64), 2 * share * drawn.size).pvalue > 1e-3
    )


@pytest.mark.parametrize("deviation", [1.0, 100.3, LARGE])
def test_more_digits_decide_as_float64_does(deviation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where float64 is sure it is right: deciding many candidates by decimals changes nothing."""
    asked = []
    decide = rounded_gaussian._is_below
    monkeypatch.setattr(rounded_gaussian, "_is_below", lambda **given: asked.append(given) or decide(**given))
    fast = draw(40_000, deviation)
    assert not asked
    monkeypatch.setattr(rounded_gaussian, "UNSURE", 2.0**-5)
    assert (draw(40_000, deviation) == fast).all()
    assert len(asked) > 200
    mpmath.mp.dps = 60
    for given in asked[:200]:  # by another library
        bins = given["bins"]
        y = mpmath.mpf(given["place"]) / 2 ** (64 - bins.whole_bits)
        limit = mpmath.exp(-((y / mpmath.mpf(deviation)) ** 2) / 2) * bins.scale / given["weight"]
        far = mpmath.mpf(given["v"]) / 2**53 - limit
        if abs(far) > 2.0**-50:
            assert decide(**(given | {"bits": np.random.default_rng(0)})) == (far < 0)


def test_a_tie_is_decided_by_further_digits() -> None:
    """V and its limit agree in all digits that float64 has; either may be larger."""
    bins = rounded_gaussian._bins(100.3)
    weight, place = int(bins.weight_B[3]), 3 << 64  # the lower edge of the fourth bin
    y = Decimal(3 << bins.whole_bits)
    v = int(rounded_gaussian._density(y, 100.3) * bins.scale / weight * 2**53)
    decided = {
        rounded_gaussian._is_below(
            v=v, place=place, bins=bins, weight=weight, bits=np.random.default_rng(seed)
        )
        for seed in range(40)
    }
    assert decided == {True, False}


@pytest.mark.parametrize("deviation", [1.0, 3.7, 100.3, LARGE])
def test_first_digits_accept_nothing_that_all_digits_would_not(deviation: float) -> None:
    """They are below the ratio at a bin's far edge, by another library."""
    bins = rounded_gaussian._bins(deviation)
    mpmath.mp.dps = 40
    for number in range(len(bins.weight_B) - 1):
        edge = mpmath.mpf((number + 1) << bins.whole_bits) / mpmath.mpf(deviation)
        smallest = mpmath.exp(-(edge**2) / 2) * bins.scale / int(bins.weight_B[number])
        assert int(bins.sure_B[number]) <= smallest * 2**bins.v_bits
    # And it accepts most: else nothing is gained.
    share = bins.weight_B[:-1] / 2**LINE @ (bins.sure_B[:-1] / 2**bins.v_bits)
    assert share > (0.97 if bins.whole_bits else 0.3)


@pytest.mark.parametrize("bit", [0, 15, 28])
def test_a_sign_and_a_place_belong_to_every_bin_alike(bit: int) -> None:
    """No bit of a large sample's last digits, nor its sign, depends on its size."""
    drawn = draw(400_000, LARGE, 3 + bit)
    inner = np.abs(drawn) < LARGE
    for group in (inner, ~inner):
        assert stats.binomtest(int((drawn[group] < 0).sum()), int(group.sum())).pvalue > 1e-3
        odd = (np.abs(drawn[group]) >> bit) & 1
        assert stats.binomtest(int(odd.sum()), int(group.sum())).pvalue > 1e-3


@pytest.mark.parametrize(("word", "number"), [(0, 0), (1, 1), ((1 << 63) + 1, -1), (1 << 63, 0)])
def test_the_first_digit_after_the_point_rounds(word: int, number: int) -> None:
    """Of a number in the first bin, whose other digits are not drawn: they may be close to a half."""

    class Bits:
        def integers(self, low: int, high: int, size: int, dtype: type = np.int64) -> np.ndarray:
            return np.full(size, word, dtype)

    drawn = rounded_gaussian.rounded_gaussian(1, 1.0, Bits(), lambda candidate: np.random.default_rng(0))  # type: ignore[arg-type]
    assert drawn.tolist() == [number]


@pytest.mark.parametrize("deviation", [1.0, 3.7, 64.0, 100.3, LARGE, 2.0**40])
def test_no_weight_is_too_small(deviation: float) -> None:
    """Else a part of the density would be cut off. And none is so large that much is drawn in vain."""
    bins = rounded_gaussian._bins(deviation)
    weights, rest = bins.weight_B[:-1], int(bins.weight_B[-1])
    mpmath.mp.dps = 40
    width = 2**bins.whole_bits
    for number in range(0, len(weights), 7):
        density = mpmath.exp(-((number * width / mpmath.mpf(deviation)) ** 2) / 2) * bins.scale
        assert density <= int(weights[number]) <= density + 2
    assert rest >= 0
    assert int(weights.sum()) + rest == 2**LINE == len(bins.bin_P)
    assert np.array_equal(np.bincount(bins.bin_P, minlength=len(weights) + 1), bins.weight_B)
    assert bins.v_bits >= 8
    assert 1 + LINE + bins.v_bits + bins.twice_bits <= 64
    assert len(weights) * width >= CUT * deviation
    kept = deviation / width * np.sqrt(np.pi / 2) * bins.scale / 2**LINE
    assert kept > (1 - 1 / BINS if width > 1 else 0.5)


def test_noise_that_is_nothing_beside_its_sums_is_refused() -> None:
    plan = PrivacyPlan(
        mechanism="dpsgd", num_records=10**6, expected_batch=1.0, steps=1, delta=1e-9, noise_multiplier=1e-14
    )
    with pytest.raises(UserError, match=r"raise privacy\.noise_multiplier"):
        plan.require_fine_grid(parameters=10, sums=1)
