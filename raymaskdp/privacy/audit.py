"""A black-box audit: do the releases reveal more about a record than the plan's price allows?

    report = audit(run_plan, plan)
    report.findings            # empty, or sentences that describe faults

Every record is a canary with its own public and its own sensitive feature; a fair coin of its own decides in
every run whether its sensitive token is filled. An attacker who sees the releases alone guesses the coins,
and hits and false alarms bound ε from below (Kairouz et al. 2015; many canaries in a run as in Steinke et
al. 2023). A bound above the price proves that the program is broken; one below it proves nothing. The plan
promises a whole curve, of which its price at one δ is a point: so hits are held against the most that the
curve allows at the false alarms there were, too, which finds smaller faults (Nasr et al. 2023). Coins that
were guessed right are counted as well, which finds large ones only, but holds whatever canaries have to do
with each other (Mahloujifar et al. 2025). Were the
coins not fair and hidden, a program that tells nothing could prove much, by favouring those with secrets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor, nn

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.privacy.keys import KEY_BYTES, Key
from raymaskdp.privacy.per_record.engine import GradientEngine
from raymaskdp.privacy.plan import PrivacyPlan
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.tradeoff import Tradeoff, tradeoff

# Shape suffixes: N records, K clips, T tokens, F features (N marks, N secrets, U unused).

NUM_UNUSED = 64
LOUDNESS = 100.0  # norm of a canary's sensitive token, in clipping norms: it is always clipped
SIGNIFICANCE = 0.01  # chance that a correct program is reported, for each of the four tests
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CanaryRecords:
    """Records for a linear model whose features are the records' own marks and secrets.

    The first token of a clip is public and holds the record's mark; the second is sensitive and holds its
    secret, or fill. Records touch no common feature, so what is released about one is independent of the
    others, in a correct program, and each counts as a trial of its own.

    Attributes:
      composite_NKTF: input of the private branch.
      public_NKTF: input of the public branch: sensitive tokens filled with zero.
    """

    composite_NKTF: Tensor
    public_NKTF: Tensor

    @classmethod
    def make(cls, *, plan: PrivacyPlan, present_N: npt.NDArray[np.bool_]) -> CanaryRecords:
        """The plan's number of records; those that are present have a secret (unmasked: take part at all)."""
        count, there = plan.num_records, torch.from_numpy(present_N).nonzero()[:, 0]
        each = torch.arange(count)
        composite = torch.zeros(count, plan.clips, 2, 2 * count + NUM_UNUSED)
        composite[each, :, 0, each] = 1.0
        composite[there, :, 1, count + there] = LOUDNESS * plan.clipping_norm
        if not plan.is_masked:
            composite[:, :, 0] = 0.0  # the whole record is private: one without a secret contributes nothing
        public = composite.clone()
        public[:, :, 1] = 0.0
        return cls(composite_NKTF=composite, public_NKTF=public)


@dataclass(frozen=True, kw_only=True)
class Release:
    """What one step releases: the noisy update [F], and the public branch's summed gradient [F].

    Attributes:
      clipping_norm: the current one; None for that of the plan.
    """

    private_F: Tensor
    public_F: Tensor
    clipping_norm: float | None = None


Program = Callable[[CanaryRecords, PrivacyPlan, Key], Sequence[Release]]


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The outcome of an audit.

    Attributes:
      delta: the δ at which both prices are taken.
      claimed_epsilon: the plan's price.
      epsilon_at_least: what the attack proves, at 99 % confidence.
      noise_over_claimed: measured standard deviation of the noise over the plan's.
      findings: faults, in sentences; empty if none was found.
    """

    delta: float
    claimed_epsilon: float
    epsilon_at_least: float
    noise_over_claimed: float
    findings: tuple[str, ...]


def audit(
    program: Program, plan: PrivacyPlan, *, runs: int = 16, delta: float = 0.01, seed: int = 0
) -> AuditReport:
    """Run `program` on canaries `runs` times, and compare an attacker's results with the plan's price.

    The plan should have a few hundred records, a low rate and a few steps. A rate near 1 hides leaking lots,
    because there is then no amplification to lose.
    """
    check.in_range("runs", runs, low=1)
    if plan.mechanism == "sgd":
        raise UserError("The audit needs a plan of a private mechanism; sgd has no guarantee.")
    scores, coins, noise = [], [], []
    spread = plan.noise_std / plan.clipping_norm or 1.0  # of the noise over the current norm
    rng = np.random.default_rng([seed, 1])
    for run in range(runs):
        name = f"audit {seed} {run}".encode()
        key = Key(secret=hashlib.blake2b(name, digest_size=KEY_BYTES).digest())
        coins.append(rng.random(plan.num_records) < 0.5)
        releases = program(CanaryRecords.make(plan=plan, present_N=coins[-1]), plan, key)
        scores.append(_scores(releases, plan))
        unused = [
            release.private_F[-NUM_UNUSED:].double().numpy() * plan.expected_batch / deviation
            for release, deviation in zip(releases, _norms(releases, plan) * spread, strict=True)
        ]
        noise.append(np.concatenate(unused))
    # The bound chooses on some trials and counts on others; the parity of a record must not decide which.
    order = rng.permutation(runs * plan.num_records)
    found, present = np.concatenate(scores)[order], np.concatenate(coins)[order]
    worlds = found[present], found[~present]
    proven = lower_bound(*worlds, delta=delta)
    curve = tradeoff(plan.event())
    guessed = most_right(found, present, curve)
    return _report(plan, delta, proven, np.concatenate(noise), beyond_curve(*worlds, curve), guessed)


def lower_bound(present: Floats, absent: Floats, *, delta: float) -> float:
    """A lower bound on ε at `delta` from an attacker's scores [trials, attacks] in the two worlds.

    Attack and threshold are chosen on the even trials, and hits and false alarms counted on the odd ones,
    with Clopper–Pearson intervals; 0 if nothing is proven.
    """
    best, choice = -math.inf, (0, 0.0)
    for attack in range(present.shape[1]):
        fit = present[0::2, attack], absent[0::2, attack]
        for threshold in np.unique(np.quantile(np.concatenate(fit), np.linspace(0.5, 0.999, 60))):
            bound = _bound(*fit, threshold, delta)
            if bound > best:
                best, choice = bound, (attack, float(threshold))
    attack, threshold = choice
    return max(_bound(present[1::2, attack], absent[1::2, attack], threshold, delta), 0.0)


def beyond_curve(present: Floats, absent: Floats, curve: Tradeoff) -> tuple[float, float, float] | None:
    """Hits and false alarms that the plan's curve excludes, at 99 % confidence; None if there are none.

    Chosen and counted as in `lower_bound`. Returns the smallest share of hits, the largest of false alarms,
    and the largest share of hits that the curve allows then.
    """

    def outcome(worlds: tuple[Floats, Floats], threshold: float) -> tuple[float, float, float]:
        there, missing = worlds
        hits = _interval(int((there > threshold).sum()), len(there))[0]
        alarms = _interval(int((missing > threshold).sum()), len(missing))[1]
        return hits, alarms, 1 - curve.misses(alarms)

    best, choice = -math.inf, (0, 0.0)
    for attack in range(present.shape[1]):
        fit = present[0::2, attack], absent[0::2, attack]
        for threshold in np.unique(np.quantile(np.concatenate(fit), np.linspace(0.2, 0.999, 60))):
            hits, _, allowed = outcome(fit, threshold)
            if hits - allowed > best:
                best, choice = hits - allowed, (attack, float(threshold))
    attack, threshold = choice
    found = outcome((present[1::2, attack], absent[1::2, attack]), threshold)
    return found if found[0] > found[2] else None


def one_run_bound(right: int, guesses: int, *, canaries: int, delta: float) -> float:
    """A lower bound on ε at `delta`, at 99 % confidence, from guessing fair coins of canaries in one run.

    Steinke, Nasr and Jagielski 2023, Theorem 5.2: of `guesses` coins, out of `canaries`, `right` were right.
    It needs no independence of the canaries, but δ counts once for each of them, so it is of
    use at δ well below one over their number. Guesses and their number must not depend on the coins
    themselves, except through what is released.
    """
    check.in_range("right", right, low=0, high=guesses)
    check.in_range("guesses", guesses, low=0, high=canaries)

    def chance(epsilon: float) -> float:
        """Upper bound on the probability of so many right guesses if the program is (ε, δ)-private."""
        rate = 1 / (1 + math.exp(-epsilon))
        below = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, rate))
        steep = float((below / np.arange(1, right + 1)).max(initial=0.0))
        return float(stats.binom.sf(right - 1, guesses, rate)) + 2 * canaries * delta * steep

    if chance(0.0) > SIGNIFICANCE:
        return 0.0
    low, high = 0.0, 50.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) <= SIGNIFICANCE else (low, middle)
    return low


def most_right(scores: Floats, present: npt.NDArray[np.bool_], curve: Tradeoff) -> tuple[int, int] | None:
    """Coins guessed right, and guessed, if they are more than the curve allows; else None.

    A fifth of the coins are guessed, those of the largest and of the smallest scores [trials, attacks]. Every
    attack is tried, at its share of the significance.
    """
    guesses, attacks = max(len(scores) // 10, 1) * 2, scores.shape[1]
    for attack in range(attacks):
        order = np.argsort(scores[:, attack], kind="stable")
        low, high = order[: guesses // 2], order[len(order) - guesses // 2 :]
        right = int(present[high].sum() + (~present[low]).sum())
        chance = SIGNIFICANCE / attacks
        if not curve_allows(right, guesses, canaries=len(scores), curve=curve, chance=chance):
            return right, guesses
    return None


def curve_allows(right: int, guesses: int, *, canaries: int, curve: Tradeoff, chance: float) -> bool:
    """Whether so many right guesses of fair coins have at least the probability `chance` under a curve.

    Mahloujifar, Melis and Chaudhuri 2025, "Auditing f-Differential Privacy in One Run": going down from
    `right`, `ends` bounds from below how often exactly i guesses are right and one of them is ours, and
    `misses` how often one of ours is wrong then. If both together exceed all guesses, `chance` was too large.
    Guesses and their number may depend on the coins through what is released alone.
    """
    check.in_range("right", right, low=0, high=guesses)
    check.in_range("guesses", guesses, low=1, high=canaries)
    ends, misses = chance * right / canaries, chance * (guesses - right) / canaries
    for number in range(right - 1, -1, -1):
        # An event of probability x in one world has at least f(1 − x) in the other.
        more = max(misses, curve.misses(max(1 - ends, 0.0)))
        ends, misses = ends + number / (guesses - number) * (more - misses), more
    return ends + misses <= guesses / canaries


def run_plan(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """The plan executed correctly on a linear model: the reference for other programs."""
    model = linear_model(records)
    engine = GradientEngine(model, plan)
    releases = []
    for step in range(plan.steps):
        engine.clip_as(plan)
        lot = torch.from_numpy(plan.lot(key, step))
        total = engine.zero_sum()
        if len(lot):
            views = torch.cat([records.composite_NKTF[lot], records.public_NKTF[lot]], dim=1)
            views = views[:, : plan.num_views]
            with engine.record(num_records=len(lot)):
                total += engine.clipped_sum(losses(model, views.flatten(0, 1)))
        public = public_gradient(records.public_NKTF[torch.from_numpy(plan.public_lot(key, step))])
        update = plan.private_update(total, key, step)
        releases.append(
            Release(private_F=update["weight"][0], public_F=public, clipping_norm=plan.clipping_norm)
        )
        plan = plan.at(plan.next_norm(update))
    return releases


def linear_model(records: CanaryRecords) -> nn.Linear:
    """A model whose gradient is the sum of its input tokens, for all weights."""
    return nn.Linear(records.composite_NKTF.shape[-1], 1, bias=False)


def losses(model: nn.Module, views_BTF: Tensor) -> Tensor:
    """The loss of every view, shape [B]."""
    scores: Tensor = model(views_BTF)
    return scores.sum((1, 2))


def public_gradient(public_NKTF: Tensor) -> Tensor:
    """Σ over records of the mean over clips of the gradient of `losses`, shape [F]."""
    return public_NKTF.mean(1).sum((0, 1))


def _scores(releases: Sequence[Release], plan: PrivacyPlan) -> Floats:
    """Three attacks on every record, [N, 3]: log-likelihood ratios of having a secret, by releases used."""
    count = plan.num_records
    private = torch.stack([release.private_F for release in releases]).double().numpy()
    public = torch.stack([release.public_F for release in releases]).double().numpy()
    secrets = private[:, count : 2 * count] * plan.expected_batch / _norms(releases, plan)[:, None]
    spread = max(plan.noise_multiplier, 1e-3)
    in_lot = np.clip((secrets - 0.5) / spread**2, -500, 500)
    unknown_lot = np.log1p(plan.rate * np.expm1(in_lot))
    seen = public[:, :count] > 0  # a record's mark in the public branch: it is certainly in its lot
    return np.stack(
        [unknown_lot.sum(0), np.where(seen, in_lot, 0.0).sum(0), public[:, count : 2 * count].sum(0)], axis=1
    )


def _norms(releases: Sequence[Release], plan: PrivacyPlan) -> Floats:
    return np.array([release.clipping_norm or plan.clipping_norm for release in releases])


def _report(
    plan: PrivacyPlan,
    delta: float,
    proven: float,
    noise: Floats,
    beyond: tuple[float, float, float] | None,
    guessed: tuple[int, int] | None,
) -> AuditReport:
    claimed = accounting.cost(plan.event(), delta).epsilon
    ratio = float(np.sqrt(np.mean(np.square(noise)))) if plan.noise_std else math.inf
    findings = []
    if proven > claimed:
        findings.append(f"The releases prove ε ≥ {proven:.2f} at δ = {delta:g}; {claimed:.2f} is claimed.")
    if beyond is not None:
        hits, alarms, allowed = beyond
        findings.append(
            f"The releases reveal at least {hits:.0%} of the secrets at {alarms:.0%} false alarms or "
            f"fewer; {allowed:.0%} are allowed."
        )
    if guessed is not None:
        findings.append(f"Of {guessed[1]} guessed secrets {guessed[0]} were right, more than is allowed.")
    # The measured variance over the claimed one is chi-squared; all noise is drawn independently.
    low, high = stats.chi2.ppf([SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2], noise.size) / noise.size
    if not low <= ratio**2 <= high:
        findings.append(f"The noise has {ratio:.3f} times the plan's standard deviation.")
    return AuditReport(
        delta=delta,
        claimed_epsilon=claimed,
        epsilon_at_least=proven,
        noise_over_claimed=ratio,
        findings=tuple(findings),
    )


def _bound(present: Floats, absent: Floats, threshold: float, delta: float) -> float:
    hits = _interval(int((present > threshold).sum()), len(present))[0]
    alarms = _interval(int((absent > threshold).sum()), len(absent))[1]
    return math.log((hits - delta) / alarms) if hits > delta else -math.inf


def _interval(successes: int, trials: int) -> tuple[float, float]:
    """The Clopper–Pearson interval of a probability."""
    missing = trials - successes
    low = stats.beta.ppf(SIGNIFICANCE / 2, successes, missing + 1) if successes else 0.0
    high = stats.beta.ppf(1 - SIGNIFICANCE / 2, successes + 1, missing) if missing else 1.0
    return float(low), float(high)
