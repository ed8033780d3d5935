"""The cost of a training run: ε from Rényi divergences (Opacus) and from privacy losses (dp-accounting).

The event is always the same, the Poisson-subsampled Gaussian mechanism composed with itself. What differs
is what one record may do to the sum of clipped gradients:

* `one-sided`: in one of two adjacent datasets the record contributes nothing, in the other at most C.
  This is the residual of MaskDP under zero-out, and every mechanism under add/remove.
* `two-sided`: it contributes two different vectors of length at most C each. This is any mechanism under
  replace, and full gradients under zero-out.

Both accountants give upper bounds; `Cost.epsilon` is the smaller. The GDP/CLT approximation is not an
upper bound, and is not offered.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import dp_accounting
import numpy as np
import numpy.typing as npt
from dp_accounting import pld
from opacus.accountants.analysis import rdp as opacus_rdp
from scipy import optimize

from raymaskdp import check
from raymaskdp.errors import UserError

Contribution = Literal["one-sided", "two-sided"]

# Integer and half-integer orders up to 64 find the optimum for ε from 0.1 to 50; larger ones for smaller ε.
ORDERS = np.array([1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [80, 96, 128, 192, 256, 512])
LARGEST_EPSILON = 1e3  # where bounds become meaningless, and numerical ones slow


@dataclass(frozen=True, kw_only=True)
class SubsampledGaussian:
    """Poisson-subsampled Gaussian sums, composed `steps` times.

    Attributes (public):
      rate: probability q in (0, 1] that a record takes part in a step.
      noise_multiplier: standard deviation of the noise over the greatest contribution C of a record, ≥ 0.
      steps: how often, ≥ 0.
      contribution: the possible contribution of one record, see the module.
    """

    rate: Annotated[float, check.Range(0, 1, open_low=True)]
    noise_multiplier: Annotated[float, check.Range(0)]
    steps: Annotated[int, check.Range(0)]
    contribution: Contribution

    def __post_init__(self) -> None:
        check.fields(self)
        check.one_of("contribution", self.contribution, ("one-sided", "two-sided"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Upper bounds on ε at a given δ; `epsilon` is the smaller, the figure to quote."""

    rdp: float
    pld: float

    @property
    def epsilon(self) -> float:
        return min(self.rdp, self.pld)


@functools.lru_cache(maxsize=1024)
def cost(event: SubsampledGaussian, delta: float) -> Cost:
    """ε of the event at `delta` from both accountants. Infinite without noise, 0 without steps."""
    check.in_range("delta", delta, low=0.0, high=1.0, open_low=True, open_high=True)
    return Cost(rdp=rdp_epsilon(event, delta), pld=pld_epsilon(event, delta))


def rdp_epsilon(event: SubsampledGaussian, delta: float) -> float:
    """ε by Rényi divergences (Opacus), with the conversion of Balle et al. 2020.

    A two-sided contribution goes from one vector to none and from none to the other; the weak triangle
    inequality of Rényi divergences (Mironov 2017, Proposition 11, p = q = 2) then bounds
    RDP(α) ≤ (α − 1/2) / (α − 1) · R(2α) + R(2α − 1), with R of the one-sided event. It is loose.
    """
    trivial = _trivial(event)
    return convert(divergences(event), delta) if trivial is None else trivial


def divergences(event: SubsampledGaussian) -> npt.NDArray[np.float64]:
    """Upper bounds on the Rényi divergences of a noisy event at the orders `ORDERS`."""
    if event.contribution == "one-sided":
        return _opacus_divergences(event, ORDERS)
    there = (ORDERS - 0.5) / (ORDERS - 1) * _opacus_divergences(event, 2 * ORDERS)
    return there + _opacus_divergences(event, 2 * ORDERS - 1)


def convert(divergences: npt.NDArray[np.float64], delta: float) -> float:
    """ε from Rényi divergences at `ORDERS` (Balle et al. 2020)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")  # every order gives a bound
        epsilon, _ = opacus_rdp.get_privacy_spent(orders=ORDERS, rdp=divergences, delta=delta)
    return float(max(epsilon, 0.0))


def pld_epsilon(event: SubsampledGaussian, delta: float) -> float:
    """ε by composing privacy losses, rounded upwards (dp-accounting; Doroshenko et al. 2022)."""
    trivial = _trivial(event)
    if trivial is not None:
        return trivial
    accountant = composed_accountant(event, delta)
    # Infinity is a valid bound where the exact one would take minutes without being useful.
    return math.inf if accountant is None else float(accountant.get_epsilon(delta))


def composed_accountant(event: SubsampledGaussian, delta: float = 1e-6) -> pld.PLDAccountant | None:
    """The privacy losses of a noisy event, on a sufficiently fine grid for ε at `delta`.

    None if there is no noise or too little for a meaningful bound, and for an event without steps.
    """
    if _trivial(event) is not None:
        return None
    event = _bounded(event)
    scale = rdp_epsilon(dataclasses.replace(event, contribution="one-sided"), delta)
    if scale > LARGEST_EPSILON:
        return None
    accountant = pld.PLDAccountant(_relation(event), _interval(scale))
    accountant.compose(dp_event(event))
    return accountant


def composed_cost(events: Iterable[SubsampledGaussian], delta: float) -> Cost:
    """ε at `delta` of a sequence of events on the same records; they may differ.

    The ε of single events do not determine their total: of 16 that all cost ε = 2 at one δ, composition
    may cost anything from 3 to 10. If any event is two-sided all are priced as such, which is an upper
    bound: one vector and none is a pair of vectors. Infinite if one of them is without noise, 0 for none.
    """
    check.in_range("delta", delta, low=0.0, high=1.0, open_low=True, open_high=True)
    merged = _merged(events)
    if len(merged) == 1:
        return cost(merged[0], delta)
    if not merged:
        return Cost(rdp=0.0, pld=0.0)
    if any(event.noise_multiplier == 0 for event in merged):
        return Cost(rdp=math.inf, pld=math.inf)
    bound = convert(np.sum([divergences(event) for event in merged], axis=0), delta)
    once = [dataclasses.replace(event, contribution="one-sided") for event in merged]
    scale = convert(np.sum([divergences(event) for event in once], axis=0), delta)
    if scale > LARGEST_EPSILON:
        return Cost(rdp=bound, pld=math.inf)
    accountant = pld.PLDAccountant(_relation(merged[0]), _interval(scale))
    for event in merged:
        accountant.compose(dp_event(event))
    return Cost(rdp=bound, pld=float(accountant.get_epsilon(delta)))


def _merged(events: Iterable[SubsampledGaussian]) -> list[SubsampledGaussian]:
    """The same with the steps of equal events added up, all of the same contribution, without empty ones."""
    steps: dict[SubsampledGaussian, int] = {}
    found = [event for event in events if event.steps]
    two_sided = any(event.contribution == "two-sided" for event in found)
    for event in map(_bounded, found):
        contribution: Contribution = "two-sided" if two_sided else event.contribution
        one = dataclasses.replace(event, steps=1, contribution=contribution)
        steps[one] = steps.get(one, 0) + event.steps
    return [dataclasses.replace(one, steps=count) for one, count in steps.items()]


def dp_event(event: SubsampledGaussian) -> dp_accounting.DpEvent:
    """The event in the algebra of dp-accounting."""
    gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    step = dp_accounting.PoissonSampledDpEvent(event.rate, gaussian)
    return dp_accounting.SelfComposedDpEvent(step, event.steps)


def calibrate_noise(
    event_of: Callable[[float], SubsampledGaussian], *, epsilon: float, delta: float
) -> float:
    """The smallest noise multiplier, to 1e-3 relative, whose event costs at most `epsilon` at `delta`.

    `event_of` maps a noise multiplier to its event. Raises `UserError` if none up to 10 000 suffices.
    """
    check.positive("epsilon", epsilon)

    def excess(log_noise: float, price: Callable[[SubsampledGaussian, float], float]) -> float:
        spent = price(event_of(math.exp(log_noise)), delta)
        return math.log(max(min(spent, 1e6), 1e-12) / epsilon)

    def tightest(event: SubsampledGaussian, delta: float) -> float:
        return cost(event, delta).epsilon

    # Rényi divergences are quick and an upper bound: noise that satisfies them is a bracket from above.
    low, high = math.log(1e-2), math.log(1e4)
    if excess(high, rdp_epsilon) > 0:
        raise UserError(
            f"No noise multiplier up to 10000 gives epsilon = {epsilon:g} at delta = {delta:g}; "
            "take fewer steps, a smaller batch, or a larger epsilon."
        )
    if excess(low, rdp_epsilon) <= 0:
        return math.exp(low)
    high = optimize.brentq(excess, low, high, args=(rdp_epsilon,), xtol=1e-3) + 1e-3
    low = high - 0.1
    while excess(low, tightest) <= 0:
        high, low = low, low - 0.1
    root = optimize.brentq(excess, low, high, args=(tightest,), xtol=2e-4)
    while excess(root, tightest) > 0:  # brentq may stop on the wrong side
        root += 2e-4
    return math.exp(root)


LARGEST_NOISE = 1e5
"""Beyond it the libraries lose the difference of two numbers near 1; with less noise, ε is an upper bound."""


def _bounded(event: SubsampledGaussian) -> SubsampledGaussian:
    """The event, or one with less noise, which costs more, where the libraries cannot compute it."""
    if event.noise_multiplier <= LARGEST_NOISE:
        return event
    return dataclasses.replace(event, noise_multiplier=LARGEST_NOISE)


def _trivial(event: SubsampledGaussian) -> float | None:
    if event.steps == 0:
        return 0.0
    return math.inf if event.noise_multiplier == 0 else None


def _interval(scale: float) -> float:
    # Fine enough for ε to 2e-4 relative; rounding is upwards, so a coarser grid is never wrong.
    return min(max(2e-4 * scale, 1e-5), 1e-3)


def _opacus_divergences(
    event: SubsampledGaussian, orders: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.asarray(_one_step(event.rate, event.noise_multiplier, tuple(orders))) * event.steps


@functools.lru_cache(maxsize=256)
def _one_step(rate: float, noise_multiplier: float, orders: tuple[float, ...]) -> npt.NDArray[np.float64]:
    # Divergences add up over steps, and one step's take a second: a run that shows ε at many steps asks once.
    noise = min(noise_multiplier, LARGEST_NOISE)
    divergences = opacus_rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=orders)
    return np.maximum(np.asarray(divergences, dtype=np.float64), 0.0)


def _relation(event: SubsampledGaussian) -> dp_accounting.NeighboringRelation:
    if event.contribution == "one-sided":
        return dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    return dp_accounting.NeighboringRelation.REPLACE_ONE
