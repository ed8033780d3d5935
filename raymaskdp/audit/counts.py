"""Counts, with confidence bounds on their rates."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Count:
    """`found` of `trials`.

    Attributes:
      name: of the counted events.
      at_most: upper bound of the rate, with 95 % confidence (Clopper–Pearson, one-sided); 0 to 1. For no
        event in n trials it is about 3 / n ("the rule of three").
    """

    name: str
    found: int
    trials: int
    at_most: float


def count(name: str, found: int, trials: int) -> Count:
    """A count with its bound; without trials the bound is 1."""
    all_found = found >= trials
    return Count(
        name=name,
        found=found,
        trials=trials,
        at_most=1.0 if all_found else float(stats.beta.ppf(0.95, found + 1, trials - found)),
    )
