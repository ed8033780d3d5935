"""The rounding of a released update does not separate its two parts."""

import itertools
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan, noise
from raymaskdp.privacy.noise_ahead import NoiseAhead

D = 100_000
TRIALS = 30


def plan(multiplier: float, **changes: object) -> PrivacyPlan:
    settings = {
        "mechanism": "dpsgd", "num_records": 1000, "expected_batch": 64.0, "steps": 100, "delta": 1e-5,
        "noise_multiplier": multiplier, "clipping_norm": 1.0,
    }  # fmt: skip
    return PrivacyPlan(**(settings | changes))


def fits_float32(values: np.ndarray) -> int:
    """How many double precision numbers are single precision ones."""
    return int((values.astype(np.float32).astype(np.float64) == values).sum())


def evidence(release: np.ndarray, candidates: list[np.ndarray]) -> np.ndarray:
    """For each candidate sum, how many of its differences to the release look like float32 noise."""
    return np.array([fits_float32(release - sum_D) for sum_D in candidates], float)


def float_release(total: ClippedSum, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """What an implementation in single precision would release."""
    drawn = rng.standard_normal(D, dtype=np.float32) * np.float32(deviation)
    return (total.gradients["w"].numpy() + drawn).astype(np.float64)


def right(
    release: Callable[[ClippedSum], np.ndarray], sums: list[torch.Tensor], rng: np.random.Generator
) -> int:
    """How often of `TRIALS` an attacker is right who knows both sums, and has practised on each."""
    known = [value.double().numpy() for value in sums]
    practised = np.array(
        [[evidence(release(ClippedSum({"w": value})), known) for _ in range(12)] for value in sums]
    )
    means, spread = practised.mean(1), practised.std(1).mean(0) + 1
    hits = 0
    for _ in range(TRIALS):
        coin = int(rng.integers(2))
        seen = evidence(release(ClippedSum({"w": sums[coin]})), known)
        hits += int(np.argmin((((seen - means) / spread) ** 2).sum(1))) == coin
    return hits


@pytest.mark.parametrize("multiplier", [0.55, 0.7, 1.0, 5.0])
def test_a_lattice_attack_is_no_better_than_a_coin(multiplier: float) -> None:
    """An attacker who knows all records but one, and the update; the attack breaks single-precision noise."""
    rng = np.random.default_rng(0)
    others = rng.standard_normal(D).astype(np.float32) * 0.05
    record = rng.standard_normal(D).astype(np.float32)
    record /= np.linalg.norm(record) * 1.0001
    sums = [torch.from_numpy(others), torch.from_numpy(others + record)]
    chosen = plan(multiplier)
    keys = (Key(secret=rng.bytes(32)) for _ in itertools.count())

    def ours(total: ClippedSum) -> np.ndarray:
        return chosen.private_update(total, next(keys), 0)["w"].double().numpy() * chosen.expected_batch

    assert right(lambda total: float_release(total, chosen.noise_std, rng), sums, rng) >= TRIALS - 1
    assert stats.binomtest(right(ours, sums, rng), TRIALS).pvalue > 1e-3


def test_nor_is_one_on_sums_of_the_engine() -> None:
    """The same with clipped gradients of records as the training loop adds them up."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    chosen = plan(0.55, num_records=5, expected_batch=5.0)
    model = nn.Linear(500, D // 500, bias=False)
    engine = GradientEngine(model, chosen)
    records, labels = torch.randn(5, 500), torch.randint(0, D // 500, (5,))

    def summed(number: int) -> ClippedSum:
        with engine.record(num_records=number):
            losses = functional.cross_entropy(model(records[:number]), labels[:number], reduction="none")
            return engine.clipped_sum(losses)

    both = [summed(number).gradients["weight"].flatten() for number in (4, 5)]
    assert torch.linalg.vector_norm(both[1] - both[0]) == pytest.approx(chosen.clipping_norm, rel=1e-6)
    keys = (Key(secret=rng.bytes(32)) for _ in itertools.count())

    def ours(total: ClippedSum) -> np.ndarray:
        whole = chosen.on_grid(total)
        return chosen.private_update(whole, next(keys), 0)["w"].double().numpy() * chosen.expected_batch

    single = [value.float() for value in both]
    assert right(lambda total: float_release(total, chosen.noise_std, rng), single, rng) >= TRIALS - 1
    assert stats.binomtest(right(ours, both, rng), TRIALS).pvalue > 1e-3


def test_an_update_is_a_whole_number_of_steps_whatever_the_sum() -> None:
    chosen = plan(1.0, expected_batch=1.0)
    total = chosen.on_grid(ClippedSum({"w": torch.randn(1000) * 1e-3}))
    assert total.gradients["w"].dtype == torch.int64
    drawn = chosen.noise(Key(secret=bytes(32)), 0, {"w": (1000,)})["w"] / chosen.grid_step
    assert torch.equal(drawn, drawn.round())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_released_number_is_on_the_grid(dtype: torch.dtype) -> None:
    """Also of a sum that nobody has rounded before."""
    chosen = plan(0.01, expected_batch=1.0)
    total = ClippedSum({"w": torch.randn(300_000, dtype=dtype) * 1e-3})
    released = chosen.private_update(total, Key(secret=bytes(32)), 0)["w"].double() / chosen.grid_step
    assert torch.equal(released, released.round())


def test_sums_of_parts_are_equal_to_the_bit_in_any_order() -> None:
    """On one worker and on several: each part is rounded, and whole numbers add up alike."""
    chosen = plan(1.0)
    parts = [chosen.on_grid(ClippedSum({"w": torch.randn(500)})) for _ in range(8)]
    forwards, backwards = parts[0], parts[-1]
    for part in parts[1:]:
        forwards = forwards + part
    for part in parts[-2::-1]:
        backwards = backwards + part
    halves = (parts[0] + parts[2] + parts[4] + parts[6]) + (parts[1] + parts[3] + parts[5] + parts[7])
    key = Key(secret=bytes(32))
    one, other, third = (chosen.private_update(total, key, 3)["w"] for total in (forwards, backwards, halves))
    assert torch.equal(one, other)
    assert torch.equal(one, third)


@pytest.mark.parametrize("multiplier", [0.3, 1.7, 1e3, 1e8])
def test_the_noise_is_gaussian_at_every_scale(multiplier: float) -> None:
    """As a whole, and in the lowest bits, which are even and odd alike."""
    chosen = plan(multiplier)
    whole = (chosen.noise(Key(secret=bytes(32)), 0, {"w": (200_000,)})["w"] / chosen.grid_step).numpy()
    scaled = whole * chosen.grid_step / chosen.noise_std
    assert stats.kstest(scaled, "norm").pvalue > 1e-3
    assert stats.binomtest(int((whole.astype(np.int64) % 2).sum()), whole.size).pvalue > 1e-3
    lowest = np.bincount(whole.astype(np.int64) % 64, minlength=64)
    assert stats.chisquare(lowest).pvalue > 1e-3


def test_rounding_is_paid_for() -> None:
    """Noise is larger by the margin, and more rounding than it allows for is refused."""
    chosen = plan(2.0)
    assert chosen.noise_std == pytest.approx(2.0 * chosen.sensitivity * (1 + noise.MARGIN), rel=1e-12)
    chosen.require_fine_grid(parameters=10**8, sums=1000)
    with pytest.raises(UserError, match=r"raise compute\.micro_batch to at least \d+ times"):
        chosen.require_fine_grid(parameters=10**12, sums=10**6)
    with pytest.raises(UserError, match=r"a smaller privacy\.noise_multiplier"):  # one sum is too many
        plan(1e8).require_fine_grid(parameters=10**6, sums=1)


@pytest.mark.parametrize("multiplier", [1e-6, 1.0, 1e8])
@pytest.mark.parametrize("records", [1, 10**6])
def test_whole_numbers_do_not_overflow(multiplier: float, records: int) -> None:
    chosen = plan(multiplier, num_records=records, expected_batch=1.0)
    most = torch.full((10,), float(records))
    update = chosen.private_update(ClippedSum({"w": most}), Key(secret=bytes(32)), 0)["w"]
    assert torch.isfinite(update).all()
    if multiplier < 1:
        torch.testing.assert_close(update, most, rtol=1e-4, atol=1e-4)


def test_noise_drawn_ahead_is_the_same_and_for_its_own_step() -> None:
    chosen, key = plan(1.0), Key(secret=bytes(32))
    total = ClippedSum({"a": torch.randn(50), "b": torch.randn(3, 4)})
    shapes = {"a": (50,), "b": (3, 4)}
    with NoiseAhead(chosen, key, shapes, range(2, 5)) as ahead:
        for step in range(2, 5):
            made, wanted = ahead.private_update(total, step), chosen.private_update(total, key, step)
            assert all(torch.equal(made[name], wanted[name]) for name in shapes)
    with (
        NoiseAhead(chosen, key, shapes, range(2, 5)) as ahead,
        pytest.raises(ValueError, match="for no other"),
    ):
        ahead.private_update(total, 3)


def test_noise_is_drawn_when_it_is_begun_and_gone_after_its_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held from one backward pass to its release, and never beside the noise of another step."""
    chosen, key, shapes = plan(1.0), Key(secret=bytes(32)), {"a": (50,), "b": (), "c": (3, 4), "d": (0, 2)}
    total = ClippedSum({name: torch.randn(shape) for name, shape in shapes.items()})
    draw, release = PrivacyPlan.whole_noise, PrivacyPlan.released
    drawn, held, all_drawn = [], [], threading.Event()

    def drawing(self, key, step, some):
        drawn.append((step, *some))
        if len(drawn) % len(shapes) == 0:
            all_drawn.set()
        return draw(self, key, step, some)

    def releasing(self, total, noise):
        held.extend(weakref.ref(value) for value in noise.values())
        return release(self, total, noise)

    wanted = [chosen.private_update(total, key, step) for step in range(2)]
    monkeypatch.setattr(PrivacyPlan, "whole_noise", drawing)
    monkeypatch.setattr(PrivacyPlan, "released", releasing)
    with NoiseAhead(chosen, key, shapes, range(2)) as ahead:
        for step in range(2):
            assert all(number < step for number, _ in drawn)
            ahead.begin()
            ahead.begin()
            assert all_drawn.wait(60), "although nobody asks for the update yet"
            all_drawn.clear()
            made = ahead.private_update(total, step)
            assert {name: value.tolist() for name, value in made.items()} == {
                name: value.tolist() for name, value in wanted[step].items()
            }
            assert sorted(drawn) == [(number, name) for number in range(step + 1) for name in shapes]
            assert all(reference() is None for reference in held)
        ahead.begin()  # no step is left
    assert len(drawn) == 2 * len(shapes)
