"""Canary audits of the private step: the correct program, deliberately broken programs, and no protection.

The bound is that of `privacy.audit` (Kairouz et al. 2015; many canaries in a run as in Steinke et al. 2023).
A test that never fails shows nothing, so the same audit must detect programs that are known to be wrong.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.privacy.audit import AuditReport, CanaryRecords, Program, Release, audit, run_plan

Expected = Literal["holds", "caught"]

REFERENCE = PrivacyPlan(
    mechanism="maskdp",
    num_records=400,
    expected_batch=20.0,
    clips=2,
    steps=8,
    delta=1e-5,
    noise_multiplier=0.7,
)
"""A plan with which every broken program is detected: few steps, a low rate, little noise."""
RECORDS = dataclasses.replace(REFERENCE, mechanism="multiclip")
"""The same with whole records as the private unit."""
MOST_STEPS = 8
"""Largest number of steps of a run's plan that are audited, with the price of as many steps."""


@dataclass(frozen=True, kw_only=True)
class CanaryTest:
    """One audit of one program. Canaries are artificial, so all of this may be published.

    Attributes:
      program: the audited program.
      canaries: the location of the canaries' secrets.
      expected: "holds" if the proven ε must stay below the claimed one, "caught" if it must not.
      claimed, at_least: ε of the plan, and ε that the attack proves at 99 % confidence.
      delta: of both.
      noise: measured standard deviation of the noise relative to the plan's.
      as_expected: whether the result is the expected one.
    """

    program: str
    canaries: str
    expected: Expected
    claimed: float
    at_least: float
    delta: float
    noise: float
    as_expected: bool


def audit_canaries(plan: PrivacyPlan | None, *, runs: int, seed: int) -> tuple[CanaryTest, ...]:
    """Audit the step of `plan` (shortened), and of a reference plan, the broken programs and the control."""
    tests = []
    if plan is not None:
        where = "in sensitive tokens" if plan.is_masked else "whole records"
        report = audit(run_plan, shortened(plan), runs=runs, seed=seed)
        tests.append(outcome_of("this run's plan", where, "holds", report))
    programs: tuple[tuple[str, str, Expected, Program, PrivacyPlan], ...] = (
        ("a faithful program", "in sensitive tokens", "holds", run_plan, REFERENCE),
        ("a faithful program", "whole records", "holds", run_plan, RECORDS),
        (
            "a faithful program",
            "in non-sensitive tokens: nothing is claimed",
            "caught",
            unprotected,
            REFERENCE,
        ),
        ("broken: no noise", "in sensitive tokens", "caught", no_noise, REFERENCE),
        ("broken: no noise", "whole records", "caught", no_noise, RECORDS),
        ("broken: every record counted twice", "in sensitive tokens", "caught", double_counting, REFERENCE),
        ("broken: every record counted twice", "whole records", "caught", double_counting, RECORDS),
        ("broken: one lot for both branches", "in sensitive tokens", "caught", one_lot, REFERENCE),
    )
    for name, where, expected, program, at in programs:
        tests.append(outcome_of(name, where, expected, audit(program, at, runs=runs, seed=seed)))
    return tuple(tests)


def shortened(
    plan: PrivacyPlan, *, records: int = REFERENCE.num_records, steps: int = MOST_STEPS
) -> PrivacyPlan:
    """The plan for the canaries, with limited steps: the same q, σ, C and clipping."""
    return dataclasses.replace(
        plan,
        num_records=records,
        expected_batch=plan.rate * records,
        public_batch=plan.expected_public_batch / plan.num_records * records if plan.is_masked else None,
        clips=min(plan.clips, REFERENCE.clips),
        steps=min(plan.steps, steps),
        unit="video",
    )


def no_noise(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """The sum is released without noise."""
    return run_plan(records, dataclasses.replace(plan, noise_multiplier=0.0), key)


def double_counting(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """Every record of a lot is added twice, as by two workers with the same share."""
    once, again = run_plan(records, plan, key), no_noise(records, plan, key)
    return [
        dataclasses.replace(release, private_F=release.private_F + more.private_F)
        for release, more in zip(once, again, strict=True)
    ]


def one_lot(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """S′ = S: the public branch shows which records are in the private lot."""
    return run_plan(records, _OneLot(**dataclasses.asdict(plan)), key)


def unprotected(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """A faithful run with the secrets in public tokens, which are not protected."""
    shown = records.public_NKTF.clone()
    shown[:, :, 0] += records.composite_NKTF[:, :, 1]
    return run_plan(CanaryRecords(composite_NKTF=shown, public_NKTF=shown), plan, key)


class _OneLot(PrivacyPlan):
    def public_lot(self, key: Key, step: int) -> npt.NDArray[np.int64]:
        return self.lot(key, step)


def outcome_of(program: str, canaries: str, expected: Expected, report: AuditReport) -> CanaryTest:
    """The result of one audit, with the expected one."""
    return CanaryTest(
        program=program,
        canaries=canaries,
        expected=expected,
        claimed=report.claimed_epsilon,
        at_least=report.epsilon_at_least,
        delta=report.delta,
        noise=report.noise_over_claimed,
        as_expected=bool(report.findings) == (expected == "caught"),
    )
