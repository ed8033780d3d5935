"""Counts, with confidence bounds on their rates."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Count:
    """`found` of `trials`.

    Attributes:
      name: of what.
      at_most: the rate that is not exceeded, with 95 % confidence (Clopper–Pearson, one-sided); 0 to 1.
        Nothing found in n trials gives 3 / n, nearly ("the rule of three").
    """

    name: str
    found: int
    trials: int
    at_most: float


def count(name: str, found: int, trials: int) -> Count:
    """A count with its bound; without trials the rate may be anything."""
    all_found = found >= trials
    return Count(
        name=name,
        found=found,
        trials=trials,
        at_most=1.0 if all_found else float(stats.beta.ppf(0.95, found + 1, trials - found)),
    )
