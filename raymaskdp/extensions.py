"""Parts by name: those of this package, and those that installed packages add by an entry point.

    [project.entry-points."raymaskdp.refiners"]
    my-refiner = "my_package:MY_REFINER"

docs/your-own.md lists the groups, and the required object of each. Names of installed parts are read from
metadata, and a part is imported when it is used. The names of this package's own parts cannot be overridden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from raymaskdp import check
from raymaskdp.errors import UserError

Part = TypeVar("Part")


class Names(check.Choices):
    """The names of the parts of one kind, for settings; the parts themselves need not be imported.

    Attributes:
      group: of the entry points.
      built_in: this package's own names.
      or_else: what the setting may be instead of a name; "" for nothing.
    """

    def __init__(self, group: str, built_in: Iterable[str], *, or_else: str = "") -> None:
        self.group = group
        self.or_else = or_else
        self.built_in = list(built_in)

    def names(self) -> tuple[str, ...]:
        """The names of all parts, this package's first."""
        return (*self.built_in, *sorted(entry_points(group=self.group).names - set(self.built_in)))

    def check(self, setting: str, name: object) -> None:
        """Raise `UserError` unless `name` is one of them; the message says that packages can add others."""
        if name not in self.names():
            also = f", or {self.or_else}" if self.or_else else ""
            raise UserError(
                f"{setting} must be one of {', '.join(self.names())}{also}, but it is {name!r}; installed "
                "packages can add others (docs/your-own.md)."
            )


class Registry(Generic[Part]):
    """The parts of one kind, by name.

    Attributes:
      group: of the entry points.
      built_in: this package's own parts.
    """

    def __init__(
        self,
        names: Names,
        built_in: Mapping[str, Part],
        *,
        what: str,
        is_one: Callable[[Any], bool],
        adapt: Callable[[Any], Part] = lambda part: part,
    ) -> None:
        """`what` describes the required object, `is_one` checks it, and `adapt` makes a part of it."""
        self.group = names.group
        self.built_in = dict(built_in)
        self._names = names
        self._what = what
        self._is_one = is_one
        self._adapt = adapt

    def names(self) -> tuple[str, ...]:
        """The names of all parts, this package's first."""
        return self._names.names()

    def check(self, setting: str, name: str) -> None:
        """Raise `UserError` if there is no part with that name; nothing is imported."""
        self._names.check(setting, name)

    def register(self, name: str, part: Part) -> None:
        """Add a part in this process only; the workers of a cluster know only installed ones."""
        self.built_in[name] = part
        if name not in self._names.built_in:
            self._names.built_in.append(name)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, name: str) -> Part:
        """The part with that name; raises `UserError` if its entry point is of another kind."""
        if name in self.built_in:
            return self.built_in[name]
        try:
            (entry,) = set(entry_points(group=self.group, name=name))
        except ValueError:
            raise UserError(
                f"{name!r} is not the name of one entry point of the group {self.group!r}; install "
                "the package that has it, on every node."
            ) from None
        loaded = entry.load()
        if not self._is_one(loaded):
            raise UserError(
                f"The entry point {name!r} of the group {self.group!r} is not a {self._what}: {entry.value}."
            )
        return self._adapt(loaded)
