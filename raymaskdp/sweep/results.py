"""The results of a sweep: the table of its trials, plots, the best configuration, and the selection cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from raymaskdp import config as configuration
from raymaskdp.files import atomic_path, write_text
from raymaskdp.sweep import frontier, parallel_coordinates, search
from raymaskdp.sweep.config import SweepConfig, Trial, published_score, values_of
from raymaskdp.sweep.selection_cost import NOTHING, SelectionCost
from raymaskdp.sweep.trial import MEASURED, TRAINED
from raymaskdp.sweep.trial_releases import selection_cost_of
from raymaskdp.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep.

    Attributes:
      out: its folder.
      trials, failed, stopped: numbers of all trials, of failed ones, and of those stopped early.
      results: the table, Parquet; the same as CSV is beside it.
      frontier: the plot, PNG; the same as SVG is beside it.
      parallel: all settings and scores as parallel coordinates, likewise; None if no two trials differ.
      best: the best private configuration at the base configuration's ε, as YAML for `raymaskdp train`; None
        if no private trial finished there.
      best_run: folder of its best run.
      best_score: its mean accuracy (or AUROC) over the seeds, on the data of the choice.
      chosen_on: the part of the data of the choice.
      selection_cost: the privacy cost of choosing among the trials.
      finished_before: whether the sweep was finished already, and nothing was done.
    """

    out: str
    trials: int
    failed: int
    stopped: int
    results: str
    frontier: str
    parallel: str | None
    best: str | None
    best_run: str | None
    best_score: float | None
    chosen_on: str
    selection_cost: SelectionCost
    finished_before: bool = False

    def __str__(self) -> str:
        done = "was finished before; nothing to do" if self.finished_before else "is finished"
        early = f", {self.stopped} stopped early" if self.stopped else ""
        lines = [f"The sweep {self.out} {done}: {self.trials} trials, {self.failed} failed{early}."]
        lines += [f"  results   {self.results}", f"  frontier  {self.frontier}"]
        if self.parallel is not None:
            lines.append(f"  settings  {self.parallel}")
        if self.best is not None:
            lines.append(f"  best      {self.best} ({self.best_score:.1%} on {self.chosen_on} videos)")
            lines.append(f"            {self.best_run}")
        return "\n".join([*lines, str(self.selection_cost)])


PLOTTED = {"frontier", "not private"}
"""The grids in the plot; for a sweep without these, the best trials of its search."""


def with_present_names(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result from `sweep.json`; earlier versions called its selection cost `bill`."""
    return {"selection_cost" if name == "bill" else name: value for name, value in result.items()}


def table_of(
    sweep: SweepConfig, planned: Sequence[Trial], outcomes: dict[int, dict[str, Any]]
) -> pd.DataFrame:
    """One row for each trial: its settings and its results."""
    rows = []
    for number, trial in enumerate(planned):
        outcome, config = outcomes[number], trial.config
        rows.append(
            {
                "trial": number,
                "grids": ",".join(trial.grids),
                "status": _status(outcome),
                "data": Path(config.data).name,
                "model": config.model.name,
                "mechanism": config.privacy.mechanism,
                "target_epsilon": config.privacy.epsilon,
                "clipping_norm": config.privacy.clipping_norm,
                "scheme": config.scheme,
                "clips": 1 if config.privacy.mechanism == "dpsgd" else config.privacy.clips,
                "learning_rate": config.optimizer.learning_rate,
                "seed": config.seed,
                **{name: outcome.get(name) for name in (*MEASURED, *TRAINED)},
                "reached": outcome.get("step"),
                "published": published_score(sweep, config),
                "error": outcome.get("error"),
                "settings": json.dumps(trial.settings, sort_keys=True),
            }
        )
    return pd.DataFrame(rows).convert_dtypes()


def _status(outcome: dict[str, Any]) -> str:
    if "error" in outcome:
        return "failed"
    return "stopped" if outcome.get("stopped") else "done"


def write_up(
    config: SweepConfig, out: Path, planned: Sequence[Trial], results: pd.DataFrame, *, classes: int
) -> SweepResult:
    table = out / "results.parquet"
    with atomic_path(table, scores=True) as temporary:
        results.to_parquet(temporary, index=False)
    with atomic_path(out / "results.csv", scores=True) as temporary:
        results.to_csv(temporary, index=False)
    shown = plotted(results)
    frontier.draw(shown, out / "frontier", classes=classes, caption=_caption(config, shown))
    best = _best(config, planned, results)
    cost = replace(NOTHING, not_private=int((results["mechanism"] == "sgd").sum()), tuning=config.tuning)
    if best is not None:
        write_text(out / "best.yaml", configuration.to_yaml(best.config), scores=True)
        cost = selection_cost_of(config, planned, results, best.config)
    return SweepResult(
        out=str(out),
        trials=len(results),
        failed=int((results["status"] == "failed").sum()),
        stopped=int((results["status"] == "stopped").sum()),
        results=str(table),
        frontier=str(out / "frontier.png"),
        parallel=_draw_parallel(config, out, planned, results),
        best=None if best is None else str(out / "best.yaml"),
        best_run=None if best is None else best.run,
        best_score=None if best is None else best.score,
        chosen_on=config.chosen_on,
        selection_cost=cost,
    )


def plotted(results: pd.DataFrame) -> pd.DataFrame:
    """The trials in the frontier.

    For a search these are the ones that would be chosen for each mechanism and ε.
    """
    in_grids = results["grids"].str.split(",").map(lambda names: not PLOTTED.isdisjoint(names))
    if in_grids.any():
        return results[in_grids]
    done = results[results["status"] == "done"]
    groups = done.groupby(["mechanism", "target_epsilon"], dropna=False)["chosen_by"]
    return done.loc[groups.idxmax()]


def _caption(config: SweepConfig, shown: pd.DataFrame) -> str:
    """The meaning of the frontier, and its limits."""
    if set(shown["grids"]) == {search.NAME}:
        points = f"For each mechanism, the best trial on {config.chosen_on} videos: single runs."
    else:
        points = f"Means over {len(config.seeds)} seeds with 95 % intervals; dots are single runs."
    covered = {
        "none": "Each point is a separate run with that ε: several of them together cost more, and no ε "
        "covers runs without privacy. Measured on private videos, which ε does not cover.",
        "papernot-steinke": "Not for publishing: only the best run was paid for.",
        "public": "All data are public.",
    }[config.tuning]
    return f"{points} {covered}"


def _draw_parallel(
    config: SweepConfig, out: Path, planned: Sequence[Trial], results: pd.DataFrame
) -> str | None:
    """Draw the settings that differ between trials, and the scores; None if none differ."""
    names = list(dict.fromkeys(name for trial in planned for name in trial.settings))
    rows = [
        (values_of(trial, names), float(score), status == "stopped")
        for trial, score, status in zip(planned, results["chosen_by"], results["status"], strict=True)
        if status != "failed"
    ]
    differing = [name for name in names if any(row[0][name] != rows[0][0][name] for row in rows)]
    if not differing:
        return None
    lines = [
        parallel_coordinates.Line(
            values={name: values[name] for name in differing}, score=score, stopped=stopped
        )
        for values, score, stopped in rows
    ]
    stopped = " Dotted: stopped early, at the score it had." if any(line.stopped for line in lines) else ""
    caption = f"Every trial, measured on {config.chosen_on} videos.{stopped}"
    measure = "AUROC" if "auroc" in set(results["metric"].dropna()) else "accuracy"
    parallel_coordinates.draw(lines, out / "parallel", measure=measure, caption=caption)
    return str(out / "parallel.png")


@dataclass(frozen=True, kw_only=True)
class Best:
    """The chosen private configuration, its best run, and its score."""

    config: TrainConfig
    run: str
    score: float


def _best(config: SweepConfig, planned: Sequence[Trial], results: pd.DataFrame) -> Best | None:
    """The private configuration with the best mean over the seeds, among those of the base's ε.

    If the choice is paid for, it is the best single run, because the payment covers only that.
    """
    groups: dict[str, list[Best]] = {}
    for trial, row in zip(planned, results.itertuples(), strict=True):
        privacy = trial.config.privacy
        if (
            row.status != "done"
            or privacy.mechanism == "sgd"
            or privacy.epsilon != config.train.privacy.epsilon
        ):
            continue
        same = trial.config if config.pays else replace(trial.config, seed=config.train.seed)
        group = f"trial {row.trial}" if config.pays else configuration.digest(same)
        run = Best(config=same, run=str(row.run), score=float(row.chosen_by))
        groups.setdefault(group, []).append(run)
    if not groups:
        return None
    means = {name: sum(run.score for run in runs) / len(runs) for name, runs in groups.items()}
    name = max(means, key=lambda name: means[name])
    return replace(max(groups[name], key=lambda run: run.score), score=means[name])
