"""The price of a run from a second, independent computation, with which `verify` checks the ledger's claim.

The tighter bound of `accounting` comes from dp-accounting's privacy losses. Here Opacus composes privacy
random variables (Gopi et al. 2021) for the same event, and dp-accounting computes Rényi divergences.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dp_accounting import rdp
from opacus.accountants.analysis.prv import compose_heterogeneous, discretize
from opacus.accountants.analysis.prv.domain import Domain
from opacus.accountants.analysis.prv.prvs import PoissonSubsampledGaussianPRV, TruncatedPrivacyRandomVariable
from scipy import stats

from raymaskdp.errors import UserError
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import ORDERS, SubsampledGaussian

EPSILON_ERROR = 0.01
Array = npt.NDArray[np.float64]


def rdp_epsilon(event: SubsampledGaussian, delta: float) -> float:
    """ε by the Rényi divergences of dp-accounting. Raises `UserError` for a two-sided event."""
    if event.contribution != "one-sided":
        raise UserError(
            "dp-accounting has no Rényi divergences for two-sided contributions; use prv_epsilon."
        )
    if event.steps == 0:
        return 0.0
    if event.noise_multiplier == 0:
        return math.inf
    accountant = rdp.RdpAccountant(orders=ORDERS)
    accountant.compose(accounting.dp_event(event))
    return float(accountant.get_epsilon(delta))


def prv_epsilon(event: SubsampledGaussian, delta: float) -> float:
    """ε by composing privacy random variables (Opacus), an upper bound within about 0.01 of the truth."""
    if event.steps == 0:
        return 0.0
    if event.noise_multiplier == 0:
        return math.inf
    if event.noise_multiplier > accounting.LARGEST_NOISE:
        event = dataclasses.replace(event, noise_multiplier=accounting.LARGEST_NOISE)
    if event.contribution == "one-sided":
        loss = PoissonSubsampledGaussianPRV(event.rate, event.noise_multiplier)
    else:
        loss = TwoSidedLoss(rate=event.rate, noise_multiplier=event.noise_multiplier)
    delta_error = delta / 1000
    once = dataclasses.replace(event, steps=1)
    # Losses beyond this range have probability below the error that is allowed for.
    reach = 3 + max(
        accounting.rdp_epsilon(event, delta_error / 4),
        accounting.rdp_epsilon(once, delta_error / (8 * event.steps)),
        EPSILON_ERROR,
    )
    mesh = EPSILON_ERROR / math.sqrt(event.steps * math.log(12 / delta_error) / 2)
    domain = Domain.create_aligned(-reach, reach, mesh)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        discrete = discretize(TruncatedPrivacyRandomVariable(loss, domain.t_min, domain.t_max), domain)
        composed = compose_heterogeneous([discrete], [event.steps])
        _, _, upper = composed.compute_epsilon(delta, delta_error, EPSILON_ERROR)
    return float(upper)


@dataclass(frozen=True, kw_only=True)
class TwoSidedLoss:
    """The privacy loss between (1−q) N(0, σ²) + q N(1, σ²) and (1−q) N(0, σ²) + q N(−1, σ²).

    It is the worst case of one record that contributes different vectors to adjacent datasets. With
    a = exp(−1/2σ²) the loss at x is log[((1−q) + q a eˣ⸍σ²) / ((1−q) + q a e⁻ˣ⸍σ²)]: odd, and increasing.
    """

    rate: float
    noise_multiplier: float

    def cdf(self, losses: Array) -> Array:
        """Probability, under the first distribution, of a loss up to each of `losses`."""
        x = self._where(np.asarray(losses, dtype=np.float64))
        sigma, q = self.noise_multiplier, self.rate
        return np.asarray((1 - q) * stats.norm.cdf(x / sigma) + q * stats.norm.cdf((x - 1) / sigma))

    def _where(self, losses: Array) -> Array:
        """The x with the given loss t: the root of q a y² + (1−q)(1−eᵗ) y − q a eᵗ = 0, y = eˣ⸍σ²."""
        q, sigma = self.rate, self.noise_multiplier
        log_a = -1 / (2 * sigma**2)
        t = np.abs(losses)
        # Divided by eᵗ, and for t ≥ 0 only: the loss is odd.
        linear = (1 - q) * -np.expm1(-t)
        root = linear + np.sqrt(linear**2 + 4 * q**2 * np.exp(2 * log_a - t))
        x = sigma**2 * (t + np.log(root) - math.log(2 * q) - log_a)
        return np.asarray(np.sign(losses) * x)
