"""`raymaskdp privacy epsilon | sigma | verify`: prices of plans, and of runs from their ledgers."""

from __future__ import annotations

from dataclasses import dataclass

from raymaskdp.check import finite_or_none
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.ledger import LedgerContent, read_ledger
from raymaskdp.privacy.plan import PrivacyPlan
from raymaskdp.privacy.prices import accounting, crosscheck
from raymaskdp.privacy.prices.accounting import SubsampledGaussian
from raymaskdp.privacy.prices.tradeoff import FALSE_ALARMS, Priced, at_deltas, tradeoff

# Largest difference of two libraries: 1 %, and Opacus's own error bound.
RELATIVE_TOLERANCE = 0.01
ABSOLUTE_TOLERANCE = 2 * crosscheck.EPSILON_ERROR


@dataclass(frozen=True, kw_only=True)
class PriceResult:
    """The cost of a plan.

    Attributes:
      epsilon: the tighter of `rdp` and `pld`, upper bounds on ε at `delta`; None if infinite.
      noise_multiplier: σ; the noise has the standard deviation σ · C.
      rate: q, the probability that a record is in a lot.
      steps: T.
      guarantee_statement: the meaning of the figures, in a sentence.
      warnings: facts that weaken it.
    """

    epsilon: float | None
    rdp: float | None
    pld: float | None
    delta: float
    noise_multiplier: float
    rate: float
    steps: int
    guarantee_statement: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = "no ε" if self.epsilon is None else f"ε = {self.epsilon:.4g} at δ = {self.delta:g}"
        bounds = ", ".join(
            f"{name} {value:.4g}"
            for name, value in (("RDP", self.rdp), ("PLD", self.pld))
            if value is not None
        )
        return (
            f"{shown} ({bounds or 'not private'}); σ = {self.noise_multiplier:.4g}, q = {self.rate:.4g}, "
            f"{self.steps} steps.\n{self.guarantee_statement}"
            + "".join(f"\nWarning: {one}" for one in self.warnings)
        )


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The cost of a ledger's run, from two libraries that agree.

    Attributes:
      steps_spent: releases that count: steps, and steps repeated with another key.
      steps_planned: T of the plan.
      epsilon: upper bound on ε of what was spent, at `delta` (the tighter of RDP and PLD).
      second_opinion: the same from the other library.
      claimed_epsilon: what the ledger says the whole run costs.
      data: whether the run was on the given data, as its owner can check; None where none were given.
      others: ε of what was spent at other δ, by both accountants.
      misses: how often a test of which of two adjacent data sets was trained on is wrong about the one, at
        least, if it is wrong about the other in 5 % of cases.
      guarantee_statement: the meaning of the figures, in a sentence.
      warnings: facts that weaken it.
      model_epsilon: of the model, with the cost of its initial weights on the same data; None if they cost
        nothing, or their cost is not known.
    """

    steps_spent: int
    steps_planned: int
    epsilon: float
    second_opinion: float
    claimed_epsilon: float
    delta: float
    data: bool | None
    others: tuple[Priced, ...]
    misses: float
    guarantee_statement: str
    warnings: tuple[str, ...] = ()
    model_epsilon: float | None = None

    def __str__(self) -> str:
        alone = (
            f"ε = {self.epsilon:.4g} at δ = {self.delta:g} after {self.steps_spent} of {self.steps_planned} "
            f"steps (second library: {self.second_opinion:.4g}; claimed for the whole run: "
            f"{self.claimed_epsilon:.4g})."
        )
        if self.model_epsilon is not None:
            alone = (
                f"ε = {self.model_epsilon:.4g} at δ = {self.delta:g} for the model, with its initial "
                f"weights; this run alone: {alone}"
            )
        rows = "".join(
            f"\n  δ = {one.delta:<6g} {_figure(one.rdp):>8} by RDP {_figure(one.pld):>8} by PLD"
            for one in self.others
        )
        return (
            f"{alone}\n{self.guarantee_statement}"
            f"\nε at other δ:{rows}"
            "\nA test of which of two adjacent data sets was trained on, which is wrong about one of them in "
            f"{FALSE_ALARMS:.0%} of cases, is wrong about the other in at least {self.misses:.1%}."
            + ("\nThe run was on these data." if self.data else "")
            + "".join(f"\nWarning: {one}" for one in self.warnings)
        )


def price(plan: PrivacyPlan) -> PriceResult:
    """The cost of a plan, by both accountants."""
    cost = plan.cost()
    return PriceResult(
        epsilon=finite_or_none(cost.epsilon),
        rdp=finite_or_none(cost.rdp),
        pld=finite_or_none(cost.pld),
        delta=plan.delta,
        noise_multiplier=plan.noise_multiplier,
        rate=plan.rate,
        steps=plan.steps,
        guarantee_statement=plan.guarantee_statement,
        warnings=plan.warnings,
    )


def verify(
    ledger: LocalPath,
    *,
    expected_steps: int | None = None,
    fingerprint: str | None = None,
    key: Key | None = None,
) -> VerifyResult:
    """Recompute the cost of a ledger's run with a second library, and check the ledger's claims.

    Raises `UserError` if the ledger is damaged, incomplete or of a run that is not private, if the libraries
    disagree, if more was spent than was claimed, or if the run was on other data.

    Args:
      expected_steps: steps of the published model's training, if known; a ledger that announces
        fewer was cut short.
      fingerprint: of the supposed data of the run.
      key: the run's key, which this check needs.
    """
    content = read_ledger(ledger)
    plan, spent = content.plan, content.steps_spent
    if plan.mechanism == "sgd" or plan.noise_multiplier == 0:
        raise UserError(f"The run of the ledger {ledger} is not private: it has no noise.")
    reached = len({step for _, step in content.releases})
    of_data = None if fingerprint is None else _is_of(ledger, content, fingerprint, key)
    if expected_steps is not None and reached < expected_steps:
        raise UserError(
            f"The ledger {ledger} announces {reached} steps, but the model was trained for {expected_steps}: "
            "lines are missing at its end."
        )
    if content.claimed_epsilon is None:
        raise UserError(f"The ledger {ledger} claims no ε, although its plan has noise; it was changed.")
    _agree(ledger, "the claimed ε", content.claimed_epsilon, "the recomputed one", plan.epsilon())
    cost = accounting.cost(plan.event(spent), plan.delta)
    second = _second_opinion(plan.event(spent), plan.delta, cost)
    if cost.epsilon > content.claimed_epsilon * (1 + RELATIVE_TOLERANCE):
        raise UserError(
            f"The run of the ledger {ledger} spent ε = {cost.epsilon:.4g}, more than the claimed "
            f"{content.claimed_epsilon:.4g}: {spent} releases were made where {plan.steps} were planned."
        )
    _agree(ledger, "the ε of the first library", cost.epsilon, "that of the second", second)
    return VerifyResult(
        steps_spent=spent,
        steps_planned=plan.steps,
        epsilon=cost.epsilon,
        second_opinion=second,
        claimed_epsilon=content.claimed_epsilon,
        delta=plan.delta,
        data=of_data,
        others=at_deltas(plan.event(spent)),
        misses=tradeoff(plan.event(spent)).misses(FALSE_ALARMS),
        guarantee_statement=plan.guarantee_statement,
        warnings=plan.warnings,
    )


def _is_of(ledger: LocalPath, content: LedgerContent, fingerprint: str, key: Key | None) -> bool:
    found = None if key is None else content.is_of(fingerprint, key)
    if found is None:
        raise UserError(
            f"The data of the run of the ledger {ledger} can only be checked with its key, in the "
            "folder private of the run; ask its owner."
        )
    if not found:
        raise UserError(f"The run of the ledger {ledger} was on other data.")
    return True


def _second_opinion(event: SubsampledGaussian, delta: float, cost: accounting.Cost) -> float:
    """The reported ε, from the library that did not compute it."""
    if cost.pld <= cost.rdp:
        return crosscheck.prv_epsilon(event, delta)
    return crosscheck.rdp_epsilon(event, delta)


def _agree(ledger: LocalPath, name: str, value: float, other_name: str, other: float) -> None:
    if abs(value - other) > RELATIVE_TOLERANCE * max(value, other) + ABSOLUTE_TOLERANCE:
        raise UserError(f"In the ledger {ledger}, {name} is {value:.4g} but {other_name} is {other:.4g}.")


def _figure(epsilon: float | None) -> str:
    return "no ε" if epsilon is None else f"{epsilon:.4g}"
