"""Settings of a sweep: one training configuration, the variations, and the choice of the best."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from raymaskdp import check, config
from raymaskdp.errors import UserError
from raymaskdp.sweep import search as searches
from raymaskdp.sweep.search import Search
from raymaskdp.train.config import VALIDATION, TrainConfig

Tuning = Literal["none", "papernot-steinke", "public"]


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """A published result for a point.

    Attributes:
      score: accuracy or AUROC, 0 to 1.
      settings: settings of `train` (dotted) and their values; all trials with these values are this point.
    """

    score: Annotated[float, check.FRACTION]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        check.fields(self, "published.scores")

    def is_of(self, trial: dict[str, Any]) -> bool:
        """Whether a trial, as plain values, has all of the settings."""
        return all(_get(trial, key) == value for key, value in self.settings.items())


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published results for comparison.

    Attributes:
      source: the publication.
      scores: one for each point.
    """

    source: str
    scores: tuple[PublishedScore, ...]


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Early stopping of inferior trials (ASHA, Li et al. 2020).

    Attributes:
      every: steps between measurements of a trial.
      grace: least number of steps of every trial.
      keep: at each rung, the best 1 / `keep` of the trials continue to `keep` times as many steps.
    """

    every: Annotated[int, check.POSITIVE]
    grace: Annotated[int, check.POSITIVE]
    keep: Annotated[float, check.Range(1, open_low=True)] = 3.0

    def __post_init__(self) -> None:
        check.fields(self, "stopping")
        check.in_range("stopping.grace", self.grace, low=self.every)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Many variations of one training.

    Attributes:
      out: folder for results and runs; one for each sweep.
      train: the base configuration of the trials. The best trial is chosen among those with the noise of its
        ε.
      grids: by name, settings of `train` (dotted, as on the command line) and their values; every combination
        is a trial, for every seed. The plot shows the grids "frontier" and "not private".
      search: trials drawn from a space, in addition to the grids.
      seeds: initial weights, one trial each. Lots, noise and clips are fresh in every trial anyway.
      split: the data on which trials are measured.
      choose_on: the data on which the best trial is chosen; by default the part held out by
        `train.validation`, or else `split`, which makes the best one look too good.
      views, crops: clips a video, and windows of each, that are averaged in a measurement.
      tuning: how the choice is paid for. none: it is not, and the report says so. papernot-steinke: the
        number of trials is random, and only the best one may be published. public: all data are public, so
        there is no cost.
      stopping: early stopping of inferior trials.
      published: results that the report prints beside the measured ones.
      cpus: CPUs of one trial. As many trials run in parallel as there is room for.
      gpus: GPUs of one trial: one, or a share of one; 0 trains on the CPU.
    """

    out: Path
    train: TrainConfig
    grids: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    search: Search | None = None
    seeds: tuple[Annotated[int, check.Range(0)], ...] = (0, 1, 2)
    split: str = "test"
    choose_on: str | None = None
    views: Annotated[int, check.POSITIVE] = 3
    crops: Annotated[int, check.POSITIVE] = 1
    tuning: Tuning = "none"
    stopping: Stopping | None = None
    cpus: Annotated[float, check.POSITIVE] = 1.0
    gpus: Annotated[float, check.FRACTION] = 0.0
    published: Published | None = None

    def __post_init__(self) -> None:
        check.fields(self)
        if not self.seeds or not (self.grids or self.search):
            raise UserError("A sweep needs at least one grid or a search, and one seed.")
        if searches.NAME in self.grids:
            raise UserError(f"No grid may be called {searches.NAME!r}; give it another name.")
        _check_choosing(self)
        planned = trials(self)  # invalid values of a training are refused here, before any run
        if self.search is not None:
            for corner in self.search.corners():
                drawn_trial(self, corner)
        if self.published is not None:
            _check_published(self.published, planned)

    @property
    def chosen_on(self) -> str:
        """The part of the data on which the best trial is chosen."""
        return self.choose_on or (VALIDATION if self.train.validation else self.split)

    @property
    def learns(self) -> bool:
        """Whether later trials depend on the results of earlier ones."""
        return self.search is not None and self.search.method == "optuna"

    @property
    def pays(self) -> bool:
        """Whether the number of trials is random, to pay for the choice."""
        return self.tuning == "papernot-steinke"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a sweep.

    Attributes:
      grids: the grids that contain it, or "search"; a point of several is trained once.
      settings: the settings of its grids, or the drawn ones.
      config: the whole configuration.
    """

    grids: tuple[str, ...]
    settings: dict[str, Any]
    config: TrainConfig


def trials(sweep: SweepConfig) -> tuple[Trial, ...]:
    """The trials that are known in advance: grid by grid, seed by seed, then those drawn at random.

    Equal configurations are one trial. Raises `UserError` for an unknown setting or an invalid value, naming
    the grid.
    """
    found: dict[str, Trial] = {}
    for name, grid in sweep.grids.items():
        for values in itertools.product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            for seed in sweep.seeds:
                _add(found, _trial(sweep, name, settings, seed, where=f"the grid {name!r}"))
    if sweep.search is not None and sweep.search.method == "random" and not sweep.pays:
        import numpy as np  # settings load in half a second without it

        generator = np.random.default_rng(sweep.search.seed)
        for drawn in searches.draw(sweep.search, sweep.seeds, generator, sweep.search.trials):
            _add(found, drawn_trial(sweep, drawn))
    return tuple(found.values())


def drawn_trial(sweep: SweepConfig, drawn: dict[str, Any]) -> Trial:
    """The trial of drawn settings, possibly with a `seed`; raises `UserError` as `trials` does."""
    settings = dict(drawn)
    seed = settings.pop("seed", sweep.train.seed)
    return _trial(sweep, searches.NAME, settings, seed, where="search.space")


def values_of(trial: Trial, names: Sequence[str]) -> dict[str, Any]:
    """A trial's values of dotted settings, whichever grid sets them."""
    plain = config.to_dict(trial.config)
    return {name: _get(plain, name) for name in names}


def _trial(sweep: SweepConfig, name: str, settings: dict[str, Any], seed: int, *, where: str) -> Trial:
    plain = copy.deepcopy(config.to_dict(sweep.train))
    for key, value in {**settings, "seed": seed}.items():
        _set(plain, key, value, where=where)
    return Trial(grids=(name,), settings=settings, config=config.build(TrainConfig, plain, where=where))


def _add(found: dict[str, Trial], trial: Trial) -> None:
    digest = config.digest(trial.config)
    earlier = found.get(digest)
    if earlier is not None:
        grids = tuple(dict.fromkeys((*earlier.grids, *trial.grids)))
        trial = Trial(grids=grids, settings={**earlier.settings, **trial.settings}, config=trial.config)
    found[digest] = trial


def _check_choosing(sweep: SweepConfig) -> None:
    """Check that the choice can be paid for as requested, and that it uses no test videos."""
    if sweep.pays:
        if sweep.stopping is not None:
            raise UserError(
                "tuning=papernot-steinke pays for independent trials, and early stopping compares each with "
                "the others' private metrics on the way; remove stopping, or use tuning=none (the choice is "
                "then not paid for) or public (if all data are)."
            )
        if sweep.grids or sweep.search is None or sweep.search.method != "random":
            raise UserError(
                "tuning=papernot-steinke pays for the best of independent draws, and for nothing else: it "
                "needs a search with method=random, and no grids."
            )
        for name, part in (("choose_on", sweep.chosen_on), ("split", sweep.split)):
            if part == sweep.train.split:
                raise UserError(
                    f"tuning=papernot-steinke pays for choosing among models, but {name} is {part!r}: scores "
                    "on the videos that were trained on tell about them without noise; hold some out with "
                    "train.validation=0.2, or name another split."
                )
        if sweep.train.privacy.mechanism == "sgd" or sweep.train.privacy.epsilon is None:
            raise UserError("tuning=papernot-steinke needs a private mechanism and train.privacy.epsilon.")
    if sweep.learns or sweep.stopping is not None:
        what = "stopping" if sweep.stopping is not None else "search.method=optuna"
        if sweep.chosen_on == sweep.split:
            raise UserError(
                f"{what} makes choices during the sweep, and would use the {sweep.split} videos "
                "that trials are measured on; hold some out with train.validation=0.2, or give choose_on."
            )
    priced = sweep.search.priced_differently(paid=sweep.pays) if sweep.search is not None else None
    if priced is not None and (sweep.pays or sweep.learns):
        asked = "tuning=papernot-steinke" if sweep.pays else "search.method=optuna"
        raise UserError(
            f"With {asked} all trials are paid for together, so they must cost the same, but they differ in "
            f"{priced}; take it out of search.space, or put it into grids of another sweep."
        )


def published_score(sweep: SweepConfig, trial: TrainConfig) -> float | None:
    """The published result for a trial, or None."""
    if sweep.published is None:
        return None
    plain = config.to_dict(trial)
    return next((point.score for point in sweep.published.scores if point.is_of(plain)), None)


def _check_published(published: Published, planned: tuple[Trial, ...]) -> None:
    """Check that every published score has a trial, and no trial has two."""
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
            raise UserError(f"Unknown setting {key!r}; give it as `raymaskdp train` takes it.")
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
