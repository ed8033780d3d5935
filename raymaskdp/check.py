"""Validation of values where they enter, with messages that name the field."""

from __future__ import annotations

import math
from collections.abc import Collection

from raymaskdp.errors import UserError


def in_range(
    name: str,
    value: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise `UserError` unless `value` is a finite number between `low` and `high`."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if isinstance(value, bool) or not (math.isfinite(value) and above and below):
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise UserError(f"{name} must be in {left}{low:g}, {high:g}{right}, but it is {value!r}.")


def positive(name: str, value: float) -> None:
    """Raise `UserError` unless `value` is a finite number greater than zero."""
    in_range(name, value, low=0.0, open_low=True)


def one_of(name: str, value: object, choices: Collection[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise UserError(f"{name} must be one of {listed}, but it is {value!r}.")
