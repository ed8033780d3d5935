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
class PublishedScore:
    """What a publication measured at a point.

    Attributes:
      score: accuracy or AUROC, 0 to 1.
      settings: settings of `train` (dotted) and their values; all trials that have them are this point.
    """

    score: float
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        check.in_range("published.scores.score", self.score, low=0, high=1)

    def is_of(self, trial: dict[str, Any]) -> bool:
        """Whether a trial, as plain values, has all of the settings."""
        return all(_get(trial, key) == value for key, value in self.settings.items())


@dataclass(frozen=True, kw_only=True)
class Published:
    """Numbers to compare with: where they stand, and one for each point that was published."""

    source: str
    scores: tuple[PublishedScore, ...]


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
      views, crops: clips a video, and windows of each, that are averaged over when measuring.
      published: numbers that the report prints beside the measured ones.
      cpus: of one trial. As many trials run at a time as the cluster has room for.
    """

    out: Path
    train: TrainConfig
    grids: dict[str, dict[str, tuple[Any, ...]]]
    seeds: tuple[int, ...] = (0, 1, 2)
    split: str = "test"
    views: int = 3
    crops: int = 1
    cpus: float = 1.0
    published: Published | None = None

    def __post_init__(self) -> None:
        check.positive("cpus", self.cpus)
        check.positive("views", self.views)
        check.positive("crops", self.crops)
        if not self.seeds or not self.grids:
            raise UserError("A sweep needs at least one grid and one seed.")
        planned = trials(self)  # values that a training would refuse are refused here, before anything runs
        if self.published is not None:
            _check_published(self.published, planned)


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


def published_score(sweep: SweepConfig, trial: TrainConfig) -> float | None:
    """What was published for a trial, or None."""
    if sweep.published is None:
        return None
    plain = config.to_dict(trial)
    return next((point.score for point in sweep.published.scores if point.is_of(plain)), None)


def _check_published(published: Published, planned: tuple[Trial, ...]) -> None:
    """Every score is of a trial, and no trial has two."""
    matched = set()
    for trial in planned:
        plain = config.to_dict(trial.config)
        found = [number for number, point in enumerate(published.scores) if point.is_of(plain)]
        if len(found) > 1:
            both = ", ".join(str(published.scores[number].score) for number in found)
            raise UserError(f"Several published scores are of the same trial: {both}.")
        matched.update(found)
    for number, point in enumerate(published.scores):
        if number not in matched:
            raise UserError(f"No trial of the sweep has the published settings {point.settings}.")


def _get(values: dict[str, Any], key: str) -> Any:
    """The value of a dotted setting; raises `UserError` if there is none."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise UserError(f"Unknown setting {key!r} in published.scores.")
        found = found[part]
    return found


def _set(values: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = values.get(parent)
        if not isinstance(child, dict):
            raise UserError(f"Unknown setting {key!r} in {where}.")
        values = child
    values[last] = value
