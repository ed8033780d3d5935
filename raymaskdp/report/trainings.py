"""The parts of the report about training runs and sweeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from raymaskdp import config as configuration
from raymaskdp import places
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.errors import Damaged
from raymaskdp.files import read_file, read_json, sha256_file
from raymaskdp.privacy.ledger import read_ledger
from raymaskdp.privacy.prices.tradeoff import FALSE_ALARMS, tradeoff
from raymaskdp.report.pictures import plots
from raymaskdp.sweep.frontier import NAMES, Point, point
from raymaskdp.sweep.results import with_present_names
from raymaskdp.sweep.selection_cost import SelectionCost, ways
from raymaskdp.train.run.curve import read_curve
from raymaskdp.train.run.result import TrainResult, read_result


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and a value, formatted."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished training run.

    Attributes:
      tradeoff: a plot of its guarantee; None if it is not private.
      tested: the result on its test videos and its uncertainty; "" without one.
    """

    name: str
    private: bool
    tested: str
    sentence: str
    plot: str
    tradeoff: str | None
    facts: tuple[Fact, ...]
    headline: tuple[Fact, ...]


def find_runs(root: Path) -> list[Path]:
    """Folders of finished runs below `root`; those inside a sweep are in its table instead."""
    results = places.find_below(root, "result.json")
    found = sorted(path.parent for path in results if (path.parent / "plan.json").is_file())
    sweeps = find_sweeps(root)
    return [run for run in found if not any(run.is_relative_to(sweep) for sweep in sweeps)]


@contextlib.contextmanager
def _of_this_version(folder: Path, again: str) -> Iterator[None]:
    """Name the action for a file that lacks data which this version reads."""
    try:
        yield
    except KeyError as error:
        raise Damaged(f"{folder} was written by another version, without {error}; {again}.") from error


def read_run(folder: Path, *, root: Path) -> Run:
    """The run in a folder that `train` wrote; raises `Damaged` for one of another version."""
    with _of_this_version(folder, "run `raymaskdp evaluate` on it again, or remove it"):
        return _read_run(folder, root=root)


def _read_run(folder: Path, *, root: Path) -> Run:
    result = read_result(folder)
    curve = read_curve(folder / "curve.jsonl")
    plot = plots.training_curve(
        [line.step for line in curve],
        [line.public_loss for line in curve],
        [line.epsilon for line in curve],
    )
    facts = [
        Fact(name="mechanism", value=result.mechanism),
        Fact(name="unit of privacy", value=f"one {result.unit}"),
        Fact(name="adjacency", value=result.adjacency),
        Fact(name="records, steps", value=f"{result.records}, {result.steps}"),
        Fact(name="clips of a record in a step", value=str(result.clips)),
        Fact(
            name="noise multiplier σ, clipping norm C",
            value=f"{result.noise_multiplier:.4g}, {result.clipping_norm:g}",
        ),
        Fact(name="trained parameters", value=f"{result.trainable:,} ({result.scheme})"),
    ]
    headline = []
    promised, tested = None, ""
    if result.epsilon is not None:
        spent = read_ledger(folder / "ledger.jsonl")
        curve_of_run = tradeoff(spent.plan.event(spent.steps_spent))
        promised = plots.privacy_tradeoff(curve_of_run, epsilon=result.epsilon, delta=result.delta)
        both = f"{result.epsilon_rdp:.3g} by RDP, {result.epsilon_pld:.3g} by PLD"
        alone = "" if result.model_epsilon is None else "; of this run alone, without its initial weights'"
        facts.insert(
            1, Fact(name="ε, δ", value=f"{result.epsilon:.3g} ({both}), δ = {result.delta:g}{alone}")
        )
        misses = f"{curve_of_run.misses(FALSE_ALARMS):.1%} at least, with {FALSE_ALARMS:.0%} false alarms"
        facts.insert(2, Fact(name="misses of a test between adjacent data sets", value=misses))
        facts.append(Fact(name="ledger, SHA-256", value=sha256_file(folder / "ledger.jsonl")))
        headline.append(
            Fact(name=f"ε of one {result.unit} ({result.mechanism})", value=f"{epsilon_of(result):.3g}")
        )
    evaluation = folder / "evaluation.json"
    if evaluation.is_file():
        measured = read_json(evaluation)
        name = MEASURES[measured["metric"]]
        on = f"{measured['videos']} {measured['split']} videos"
        facts.append(Fact(name=name, value=f"{measured['score']:.1%} on {on}; {measured['data']}"))
        at = "without privacy" if result.epsilon is None else f"at ε = {epsilon_of(result):.3g}"
        headline.insert(
            0, Fact(name=f"{name} of the trained model, {at}, {on}", value=f"{measured['score']:.0%}")
        )
        tested = (
            f"The model {folder.name} has {name} {measured['score']:.0%} on {on}, {at}{_known(measured)}."
        )
    return Run(
        name=str(folder.relative_to(root)),
        private=result.epsilon is not None,
        tested=tested,
        sentence=_sentence(result),
        plot=plot,
        tradeoff=promised,
        facts=tuple(facts),
        headline=tuple(headline),
    )


def _known(measured: Mapping[str, Any]) -> str:
    """The uncertainty of an accuracy from its test videos alone (Wilson's interval)."""
    if measured["metric"] != "top1" or not measured["videos"]:
        return ""
    right = round(measured["score"] * measured["videos"])
    low, high = binomtest(right, measured["videos"]).proportion_ci(method="wilson")
    return f"; other videos like these may give {low:.0%} to {high:.0%} (95 % interval)"


def _sentence(result: TrainResult) -> str:
    if result.epsilon is None:
        return "Trained without privacy: the model may contain any information in the videos."
    return " ".join(
        [
            f"Trained with {result.mechanism}: on data sets that differ in any one {result.unit} "
            f"({result.adjacency} adjacency) the model's distribution is the same up to ε = "
            f"{epsilon_of(result):.3g} and δ = {result.delta:g}.",
            *result.warnings,
        ]
    )


def epsilon_of(result: TrainResult) -> float:
    """ε of a private run's model, including the cost of its initial weights on the same data."""
    assert result.epsilon is not None  # a run without privacy has none to show
    return result.epsilon if result.model_epsilon is None else result.model_epsilon


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a sweep's table."""

    name: str
    numeric: bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One finished sweep: its plots, and one table row for each setting, over its seeds.

    `parallel` shows every trial by the settings that differ; None if none do.
    """

    name: str
    sentence: str
    plot: str
    parallel: str | None
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    selection_cost: tuple[Fact, ...]
    headline: tuple[Fact, ...]


MEASURES = {"top1": "accuracy", "auroc": "AUROC"}

# Columns of the results that set trials apart, and how they are written.
SETTINGS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "data": ("data", str),
    "mechanism": ("mechanism", lambda value: NAMES[value]),
    "target_epsilon": ("ε", lambda value: "∞" if pd.isna(value) else f"{value:g}"),
    "scheme": ("scheme", str),
    "clipping_norm": ("C", lambda value: f"{value:g}"),
    "clips": ("clips", str),
    "learning_rate": ("learning rate", lambda value: f"{value:g}"),
}


def find_sweeps(root: Path) -> list[Path]:
    """Folders of sweeps below `root` that are finished, or damaged."""
    return [path.parent for path in places.find_below(root, "sweep.json") if _is_over(path)]


def _is_over(path: Path) -> bool:
    try:
        return bool(read_json(path).get("result"))
    except Damaged:
        return True


def read_sweep(folder: Path, *, root: Path) -> Sweep:
    """The sweep in a folder that `sweep` wrote; raises `Damaged` for one of another version."""
    with _of_this_version(folder, "sweep again into another folder, or remove it"):
        return _read_sweep(folder, root=root)


def _read_sweep(folder: Path, *, root: Path) -> Sweep:
    about = read_json(folder / "sweep.json")
    result, source = with_present_names(about["result"]), about["published"]
    parallel = folder / "parallel.svg"
    results = read_parquet(folder / "results.parquet")
    done = results[results.status == "done"]
    groups = _groups(done)
    failed = f", of which {result['failed']} failed" if result["failed"] else ""
    measure = MEASURES["auroc" if "auroc" in set(done["metric"]) else "top1"]
    sentence = f"{result['trials']} trainings{failed}. Means over seeds, with 95 % intervals."
    cost = configuration.build(SelectionCost, result["selection_cost"], where=str(folder / "sweep.json"))
    sentence += f" {cost.verdict}" if cost.one_run is not None else "".join(f" {w}" for w in cost.warnings)
    if source:
        sentence += f" Published: {source}."
    # The data are shown only if there are several.
    shown = [key for key in SETTINGS if key != "data" or done["data"].nunique() > 1]
    columns = [
        Column(name=SETTINGS[key][0], numeric=key not in ("data", "mechanism", "scheme")) for key in shown
    ]
    columns += [Column(name=name, numeric=True) for name in (measure, "95 % interval", "seeds")]
    rows = []
    for group in groups:
        score = group.score
        row = [SETTINGS[key][1](group.settings[key]) for key in shown]
        row += [f"{score.mean:.1%}", f"{score.low:.1%} – {score.high:.1%}", str(len(score.accuracies))]
        if source:
            row.append("" if group.published is None else f"{group.published:.1%}")
        rows.append(tuple(row))
    if source:
        columns.append(Column(name="published", numeric=True))
    return Sweep(
        name=str(folder.relative_to(root)),
        sentence=sentence,
        plot=plots.svg_uri(read_file(folder / "frontier.svg").decode(errors="replace")),
        parallel=plots.svg_uri(parallel.read_text(encoding="utf-8")) if parallel.is_file() else None,
        columns=tuple(columns),
        rows=tuple(rows),
        selection_cost=_cost_rows(cost),
        headline=_headline(groups, measure),
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials that differ in their seed only: their settings (as in SETTINGS), score and published score."""

    settings: dict[str, Any]
    score: Point
    published: float | None


def _groups(done: pd.DataFrame) -> list[Group]:
    """The groups of finished trials, best mechanisms first."""
    order = {name: place for place, name in enumerate(NAMES)}
    groups = []
    for settings, trials in done.groupby(list(SETTINGS), dropna=False):
        published = trials["published"].dropna()
        groups.append(
            Group(
                settings=dict(zip(SETTINGS, settings, strict=True)),
                score=point(trials["score"]),
                published=float(published.iloc[0]) if len(published) else None,
            )
        )
    return sorted(
        groups, key=lambda group: (order[group.settings["mechanism"]], *map(str, group.settings.values()))
    )


def _headline(groups: list[Group], measure: str) -> tuple[Fact, ...]:
    """The best score of each mechanism at the smallest ε, and without privacy."""
    epsilons = [epsilon for group in groups if not pd.isna(epsilon := group.settings["target_epsilon"])]
    best: dict[str, Fact] = {}
    for group in sorted(groups, key=lambda group: group.score.mean):
        mechanism, epsilon = group.settings["mechanism"], group.settings["target_epsilon"]
        if pd.isna(epsilon) or epsilon == min(epsilons):
            at = "" if pd.isna(epsilon) else f" at ε = {epsilon:g}"
            best[mechanism] = Fact(name=f"{measure}, {NAMES[mechanism]}{at}", value=f"{group.score.mean:.0%}")
    return tuple(best[name] for name in NAMES if name in best)


def _cost_rows(cost: SelectionCost) -> tuple[Fact, ...]:
    """The cost of publishing one trial of a sweep, or all, by the way of choosing."""
    if cost.one_run is None:
        return ()
    prices = {"one_run": cost.one_run, "best_of_random": cost.best_of_random, "all_runs": cost.all_runs}
    facts = [
        Fact(name=text, value="∞" if (price := prices[key]) is None else f"ε = {price:.3g}")
        for key, text in ways(cost).items()
    ]
    if cost.not_private and cost.tuning != "public":
        facts.append(Fact(name="table, plots, and runs without privacy", value="no ε at all"))
    elif cost.scored_on:
        facts.append(Fact(name="the best run, table and plots", value="no ε at all"))
    return tuple(facts)
