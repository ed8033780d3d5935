"""Settings of a sweep: one training configuration, and what is varied."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp import check, config
from raymaskdp.errors import UserError
from raymaskdp.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Many trainings that differ from one.

    Attributes:
      out: folder for results and runs; one sweep a folder.
      train: the configuration that trials start from. The noise of its ε is what the best one is chosen at.
      grids: by name, settings of `train` (dotted, as on the command line) and the values they take; every
        combination is a trial, for every seed. The plot shows the grids "frontier" and "not private".
      seeds: initial weights, one trial each. Lots, noise and clips are fresh in every trial anyway.
      split: what trials are measured on.
      views: clips a video are averaged over when measuring.
      cpus: of one trial. As many trials run at a time as the cluster has room for.
    """

    out: Path
    train: TrainConfig
    grids: dict[str, dict[str, tuple[Any, ...]]]
    seeds: tuple[int, ...] = (0, 1, 2)
    split: str = "test"
    views: int = 3
    cpus: float = 1.0

    def __post_init__(self) -> None:
        check.positive("cpus", self.cpus)
        check.positive("views", self.views)
        if not self.seeds or not self.grids:
            raise UserError("A sweep needs at least one grid and one seed.")
        trials(self)  # values that a training would refuse are refused here, before anything runs


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a sweep.

    Attributes:
      grids: the grids it is a point of; a point of several is trained once.
      settings: what its grids set.
      config: the whole configuration.
    """

    grids: tuple[str, ...]
    settings: dict[str, Any]
    config: TrainConfig


def trials(sweep: SweepConfig) -> tuple[Trial, ...]:
    """The trials in order: grid by grid, seed by seed; equal configurations once.

    Raises `UserError` for a setting that does not exist or a value that it cannot take, naming the grid.
    """
    base = config.to_dict(sweep.train)
    found: dict[str, Trial] = {}
    for name, grid in sweep.grids.items():
        for values in itertools.product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            for seed in sweep.seeds:
                plain = copy.deepcopy(base)
                for key, value in {**settings, "seed": seed}.items():
                    _set(plain, key, value, where=f"the grid {name!r}")
                trial = config.build(TrainConfig, plain, where=f"the grid {name!r}")
                digest = config.digest(trial)
                earlier = found.get(digest)
                grids = (*earlier.grids, name) if earlier else (name,)
                merged = {**(earlier.settings if earlier else {}), **settings}
                found[digest] = Trial(grids=grids, settings=merged, config=trial)
    return tuple(found.values())


def _set(values: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = values.get(parent)
        if not isinstance(child, dict):
            raise UserError(f"Unknown setting {key!r} in {where}.")
        values = child
    values[last] = value
