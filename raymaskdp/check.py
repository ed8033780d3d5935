"""Validation of input values, with messages that name the field.

The range of a setting is declared at its field only:

>>> @dataclasses.dataclass(frozen=True)
... class Optimizer:
...     learning_rate: Annotated[float, POSITIVE] = 0.1
...     momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.9
...     def __post_init__(self) -> None:
...         fields(self)
>>> Optimizer(momentum=1)
Traceback (most recent call last):
raymaskdp.errors.UserError: momentum must be in [0, 1), but it is 1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Collection
from typing import Annotated, Any, Literal

from annotated_types import Interval

from raymaskdp.errors import UserError


def Range(
    low: float | None = None, high: float | None = None, *, open_low: bool = False, open_high: bool = False
) -> Interval:
    """The allowed values of a field, as a mark in `Annotated`; unbounded on a side with None."""
    return Interval(
        ge=None if open_low else low,
        gt=low if open_low else None,
        le=None if open_high else high,
        lt=high if open_high else None,
    )


class Choices:
    """The allowed names of a field whose list depends on what is installed, as a mark in `Annotated`."""

    def names(self) -> tuple[str, ...]:
        """All of them."""
        raise NotImplementedError

    def check(self, setting: str, name: object) -> None:
        """Raise `UserError` unless `name` is one of them."""
        one_of(setting, name, self.names())


POSITIVE = Range(0, open_low=True)
FRACTION = Range(0, 1)


def fields(config: Any, group: str = "") -> None:
    """Raise `UserError` unless every field of a dataclass is as its annotation says: its range or choices.

    Args:
      config: an instance of a dataclass.
      group: the name of its group of settings, for the message.
    """
    for name, hint in _ranged(type(config)).items():  # type: ignore[arg-type]  # classes are hashable
        _check(f"{group}.{name}" if group else name, hint, getattr(config, name))


@functools.cache
def _ranged(cls: type) -> dict[str, Any]:
    """Annotations with a range or choices, by field."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        field.name: hints[field.name] for field in dataclasses.fields(cls) if _has_range(hints[field.name])
    }


def _has_range(hint: Any) -> bool:
    if typing.get_origin(hint) is Literal:
        return True
    return bool(intervals(hint) or choices(hint)) or any(_has_range(arm) for arm in typing.get_args(hint))


def _check(name: str, hint: Any, value: Any) -> None:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for named in choices(hint):
            named.check(name, value)
        for one in intervals(hint):
            low = one.ge if one.gt is None else one.gt
            high = one.le if one.lt is None else one.lt
            in_range(
                name,
                value,
                low=-math.inf if low is None else low,
                high=math.inf if high is None else high,
                open_low=one.gt is not None,
                open_high=one.lt is not None,
            )
        _check(name, arguments[0], value)
    elif origin is Literal:
        one_of(name, value, arguments)
    elif origin in (typing.Union, types.UnionType):
        for arm in arguments:
            if isinstance(value, _kind(arm)):
                _check(name, arm, value)
    elif origin is tuple:
        for inner, item in zip(
            arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments, value, strict=True
        ):
            _check(name, inner, item)


def _kind(hint: Any) -> Any:
    """The classes for `isinstance` of an annotation."""
    if typing.get_origin(hint) is Annotated:
        return _kind(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Literal:
        return tuple({type(value) for value in typing.get_args(hint)})
    kind = typing.get_origin(hint) or hint
    return (int, float) if kind is float else kind


def intervals(hint: Any) -> list[Any]:
    """The ranges in an annotation."""
    if typing.get_origin(hint) is not Annotated:
        return []
    return [one for one in typing.get_args(hint)[1:] if isinstance(one, Interval)]


def choices(hint: Any) -> list[Choices]:
    """The names in an annotation."""
    if typing.get_origin(hint) is not Annotated:
        return []
    return [one for one in typing.get_args(hint)[1:] if isinstance(one, Choices)]


def range_text(interval: Any) -> str:
    """A range for people: "≥ 1", "> 0", "in [0, 1)"."""
    low = interval.ge if interval.gt is None else interval.gt
    high = interval.le if interval.lt is None else interval.lt
    return _range_words(low, high, open_low=interval.gt is not None, open_high=interval.lt is not None)


def _range_words(low: float | None, high: float | None, *, open_low: bool, open_high: bool) -> str:
    if low is None or low == -math.inf:
        return "finite" if high is None or high == math.inf else f"{'<' if open_high else '≤'} {high:g}"
    if high is None or high == math.inf:
        return f"{'>' if open_low else '≥'} {low:g}"
    return f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"


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
        allowed = _range_words(low, high, open_low=open_low, open_high=open_high)
        raise UserError(f"{name} must be {allowed}, but it is {value!r}.")


def positive(name: str, value: float) -> None:
    """Raise `UserError` unless `value` is a finite number greater than zero."""
    in_range(name, value, low=0.0, open_low=True)


def one_of(name: str, value: object, allowed: Collection[object]) -> None:
    """Raise `UserError` unless `value` is one of `allowed`."""
    if value not in allowed:
        listed = ", ".join(str(choice) for choice in allowed)
        raise UserError(f"{name} must be one of {listed}, but it is {value!r}.")


def finite_or_none(value: float) -> float | None:
    """The value if it is a finite number, else None, for tables and JSON: a run without noise has no ε."""
    return value if math.isfinite(value) else None
