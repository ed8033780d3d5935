"""Settings drawn from a space instead of a grid: at random, or by Optuna, which uses earlier results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.privacy.choices import Mechanism

if TYPE_CHECKING:  # settings load in half a second
    import numpy as np

NAME = "search"
"""The name of a search in the table's column of grids."""

CORNERS = 512
"""Largest number of combinations of extreme values that are validated."""

PRICED = ("data", "split", "validation", "steps", "privacy.epsilon", "privacy.noise_multiplier",
          "privacy.delta", "privacy.expected_batch", "privacy.adjacency", "privacy.unit")  # fmt: skip
"""Settings that determine the price of a training."""

EQUALLY_PRICED = ("dpsgd", "multiclip", "maskdp")
"""Mechanisms with the same price at the same noise (one record counts once in all of them)."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included, uniformly distributed.

    Attributes:
      log: uniform in the logarithm instead.
      whole: integers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        check.in_range("search.space: low", self.low, low=0 if self.log else -math.inf, open_low=self.log)
        check.in_range("search.space: high", self.high, low=self.low, open_low=True)
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise UserError("search.space: the ends of a range of whole numbers must be whole.")

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a trial."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def draw(self, generator: np.random.Generator) -> float:
        """One value."""
        # Integers are rounded from an interval that extends by a half on both sides, so the ends are as
        # likely as the others.
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if self.log else None
        value = generator.uniform(low, high) if drawn is None else drawn
        within = min(max(round(value) if self.whole else float(value), self.low), self.high)
        return int(within) if self.whole else within


@dataclass(frozen=True, kw_only=True)
class Search:
    """Trials with drawn settings.

    Attributes:
      method: random; or optuna, whose tree-structured Parzen estimator proposes settings from earlier
        results, one training after another.
      trials: number of trainings; with tuning=papernot-steinke their mean number.
      space: settings of `train` (dotted) and the sources of their values: a range, or a list to pick from. A
        trial's seed is picked from the sweep's.
      seed: seed of the random draws, so that the same sweep can be repeated.
    """

    method: Literal["random", "optuna"] = "random"
    trials: Annotated[int, check.POSITIVE]
    space: dict[str, Range | tuple[Any, ...]]
    seed: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        check.fields(self, "search")
        if not self.space or () in self.space.values():
            raise UserError("search.space needs at least one setting, and every list in it a value.")

    def corners(self) -> Iterator[dict[str, Any]]:
        """The extreme settings of the space; if they are valid, so are those between them."""
        extremes = [source.ends if isinstance(source, Range) else source for source in self.space.values()]
        for values in itertools.islice(itertools.product(*extremes), CORNERS):
            yield dict(zip(self.space, values, strict=True))

    def priced_differently(self, *, paid: bool) -> str | None:
        """A setting of the space that affects the price of a trial; None if all cost the same.

        Args:
          paid: whether the choice is paid for, and which settings were drawn must not be published. Then
            initial weights count as well: the runs that they come from are on the bill.
        """
        names = (*PRICED, "init") if paid else PRICED
        for name, source in self.space.items():
            if name == "privacy.mechanism":
                if not isinstance(source, tuple) or any(value not in EQUALLY_PRICED for value in source):
                    return name
            elif any(f"{one}.".startswith(f"{name}.") or name.startswith(f"{one}.") for one in names):
                return name  # one of them, or what contains one or is a part of one
        return None

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms that a trial may have; empty if the space does not name them."""
        source = self.space.get("privacy.mechanism", ())
        return () if isinstance(source, Range) else source


def draw(
    search: Search, seeds: tuple[int, ...], generator: np.random.Generator, count: int
) -> list[dict[str, Any]]:
    """`count` independent draws of settings, each with its `seed`."""
    return [
        {name: _one(source, generator) for name, source in search.space.items()}
        | {"seed": seeds[generator.integers(len(seeds))]}
        for _ in range(count)
    ]


def _one(source: Range | tuple[Any, ...], generator: np.random.Generator) -> Any:
    return source.draw(generator) if isinstance(source, Range) else source[generator.integers(len(source))]
