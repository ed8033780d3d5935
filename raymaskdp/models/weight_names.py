"""Names of the same weights in other projects: tables that convert their state dicts to ours."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightNames:
    """One project's names for a model's weights.

    Attributes:
      rows: (ours, theirs), both a module or a parameter; each `*` stands for a number, the same in both.
        Several of theirs with one of ours are joined along the first dimension, in the order of the rows.
      head: their classifier and other weights that are dropped.
    """

    rows: tuple[tuple[str, str], ...]
    head: tuple[str, ...]

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Their weights under our names, without the head; None if a name is not of this layout."""
        found: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for name, value in state.items():
            if any(_matches(name, head) for head in self.head):
                continue
            for number, (ours, theirs) in enumerate(self.rows):
                if match := _matches(name, theirs):
                    found[_filled(ours, match)].append((number, value))
                    break
            else:
                return None
        return {name: _joined(parts) for name, parts in found.items()}


def translate(state: Mapping[str, Tensor], layouts: Iterable[WeightNames]) -> dict[str, Tensor] | None:
    """The weights under our names by the first layout with all of their names; None if there is none."""
    return next((found for layout in layouts if (found := layout.translate(state)) is not None), None)


def _matches(name: str, pattern: str) -> re.Match[str] | None:
    numbers = r"(\d+)".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(rf"{numbers}(|\.weight|\.bias)", name)


def _filled(ours: str, match: re.Match[str]) -> str:
    *numbers, leaf = match.groups()
    for number in numbers:
        ours = ours.replace("*", number, 1)
    return ours + leaf


def _joined(parts: list[tuple[int, Tensor]]) -> Tensor:
    values = [value for _, value in sorted(parts, key=lambda part: part[0])]
    return values[0] if len(values) == 1 else torch.cat(values)
