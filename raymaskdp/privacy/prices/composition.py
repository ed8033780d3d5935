"""The total cost of several runs on the same data, which may protect different things.

ε of two runs may be composed if both cover the same pairs of data sets. Under zero-out a record of
`dpsgd` contributes nothing in one of the two, and a record of `maskdp` has blank tokens there: no pair is of
both kinds, and a video whose tokens are blanked moves the sum of `dpsgd` by up to 2 C, not C. A change of
one video of a subject moves the subject's gradient by up to 2 C as well.

So runs that differ in unit, adjacency or kind of mechanism are all counted at twice the contribution. That
bounds what they reveal about any change of one video's sensitive tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raymaskdp.privacy.plan import PrivacyPlan
from raymaskdp.privacy.prices import accounting
from raymaskdp.privacy.prices.accounting import Cost, SubsampledGaussian


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Runs on the same data, as the accountants count them.

    Attributes:
      events: of each run, in the order given.
      about: what the composed ε covers, if that is weaker than what each run's own ε covers; else None.
    """

    events: tuple[SubsampledGaussian, ...]
    about: str | None

    def cost(self, delta: float) -> Cost:
        """ε of all of them together at `delta`, from both accountants."""
        return accounting.composed_cost(self.events, delta)


def compose(plans: Sequence[PrivacyPlan]) -> Composition:
    """Events of the runs that may be composed: their own, or those of a change that all of them bound."""
    private = [plan for plan in plans if plan.noise_multiplier > 0]
    if len({(plan.unit, plan.adjacency, plan.is_masked) for plan in private}) <= 1:
        return Composition(events=tuple(plan.event() for plan in plans), about=None)
    unit = "video" if any(plan.unit == "video" for plan in private) else "subject"
    changed = "the sensitive tokens of any one" if any(plan.is_masked for plan in private) else "any one"
    return Composition(
        events=tuple(dataclasses.replace(plan.event(), contribution="two-sided") for plan in plans),
        about=f"what {changed} {unit} {'are' if changed.startswith('the') else 'is'} (replace adjacency)",
    )
