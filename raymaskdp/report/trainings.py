"""The parts of the report about training runs and sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raymaskdp.files import sha256_file
from raymaskdp.report import plots
from raymaskdp.sweep.frontier import NAMES, Point, point
from raymaskdp.train.loop import read_curve
from raymaskdp.train.trainer import TrainResult, read_result


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and a value, written out."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished training run."""

    name: str
    private: bool
    sentence: str
    plot: str
    facts: tuple[Fact, ...]
    headline: tuple[Fact, ...]


def find_runs(root: Path) -> list[Path]:
    """Folders of finished runs below `root`; those inside a sweep are in its table instead."""
    found = sorted(path.parent for path in root.rglob("result.json") if (path.parent / "plan.json").is_file())
    sweeps = find_sweeps(root)
    return [run for run in found if not any(run.is_relative_to(sweep) for sweep in sweeps)]


def read_run(folder: Path, *, root: Path) -> Run:
    """The run in a folder that `train` wrote."""
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
    if result.epsilon is not None:
        both = f"{result.epsilon_rdp:.3g} by RDP, {result.epsilon_pld:.3g} by PLD"
        facts.insert(1, Fact(name="ε, δ", value=f"{result.epsilon:.3g} ({both}), δ = {result.delta:g}"))
        facts.append(Fact(name="ledger, SHA-256", value=sha256_file(folder / "ledger.jsonl")))
        headline.append(
            Fact(name=f"ε of one {result.unit} ({result.mechanism})", value=f"{result.epsilon:.3g}")
        )
    evaluation = folder / "evaluation.json"
    if evaluation.is_file():
        measured = json.loads(evaluation.read_text(encoding="utf-8"))
        value = (
            f"{measured['top1']:.1%} of {measured['videos']} {measured['split']} videos; {measured['data']}"
        )
        facts.append(Fact(name="accuracy", value=value))
        headline.append(Fact(name=f"accuracy ({result.mechanism})", value=f"{measured['top1']:.1%}"))
    return Run(
        name=str(folder.relative_to(root)),
        private=result.epsilon is not None,
        sentence=_sentence(result),
        plot=plot,
        facts=tuple(facts),
        headline=tuple(headline),
    )


def _sentence(result: TrainResult) -> str:
    if result.epsilon is None:
        return "Trained without privacy: whatever is in the videos may be in the model."
    return (
        f"Trained with {result.mechanism}: with or without the private part of any one {result.unit}, "
        f"the model's distribution is the same up to ε = {result.epsilon:.3g} and δ = {result.delta:g} "
        f"({result.adjacency} adjacency)."
    )


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a sweep's table."""

    name: str
    numeric: bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One finished sweep: its frontier, and one table row for each setting, over its seeds."""

    name: str
    sentence: str
    plot: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    bill: tuple[Fact, ...]
    headline: tuple[Fact, ...]


# Columns of the results that set trials apart, and how they are written.
SETTINGS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "mechanism": ("mechanism", lambda value: NAMES[value]),
    "target_epsilon": ("ε", lambda value: "∞" if pd.isna(value) else f"{value:g}"),
    "scheme": ("scheme", str),
    "clipping_norm": ("C", lambda value: f"{value:g}"),
    "clips": ("clips", str),
    "learning_rate": ("learning rate", lambda value: f"{value:g}"),
}


def find_sweeps(root: Path) -> list[Path]:
    """Folders of finished sweeps below `root`."""
    found = sorted(path for path in root.rglob("sweep.json"))
    return [path.parent for path in found if json.loads(path.read_text(encoding="utf-8"))["result"]]


def read_sweep(folder: Path, *, root: Path) -> Sweep:
    """The sweep in a folder that `sweep` wrote."""
    result = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["result"]
    results = pd.read_parquet(folder / "results.parquet")
    groups = _groups(results[results.status == "done"])
    failed = f", of which {result['failed']} failed" if result["failed"] else ""
    sentence = f"{result['trials']} trainings{failed}. Accuracies are means over seeds, with 95 % intervals."
    return Sweep(
        name=str(folder.relative_to(root)),
        sentence=sentence,
        plot=plots.svg_uri((folder / "frontier.svg").read_text(encoding="utf-8")),
        columns=(
            *(
                Column(name=name, numeric=key not in ("mechanism", "scheme"))
                for key, (name, _) in SETTINGS.items()
            ),
            Column(name="accuracy", numeric=True),
            Column(name="95 % interval", numeric=True),
            Column(name="seeds", numeric=True),
        ),
        rows=tuple(
            (
                *(write(setting) for setting, (_, write) in zip(settings, SETTINGS.values(), strict=True)),
                f"{accuracy.mean:.1%}",
                f"{accuracy.low:.1%} – {accuracy.high:.1%}",
                str(len(accuracy.accuracies)),
            )
            for settings, accuracy in groups
        ),
        bill=_bill(result["bill"]),
        headline=_headline(groups),
    )


def _groups(done: pd.DataFrame) -> list[tuple[tuple[Any, ...], Point]]:
    """Trials that differ in their seed only, best mechanisms first, as their settings and accuracy."""
    order = {name: place for place, name in enumerate(NAMES)}
    groups = [
        (settings, point(values)) for settings, values in done.groupby(list(SETTINGS), dropna=False)["top1"]
    ]
    return sorted(groups, key=lambda group: (order[group[0][0]], *map(str, group[0][1:])))


def _headline(groups: list[tuple[tuple[Any, ...], Point]]) -> tuple[Fact, ...]:
    """The best accuracy of each mechanism at the smallest ε, and without privacy."""
    epsilons = [settings[1] for settings, _ in groups if not pd.isna(settings[1])]
    best: dict[str, Fact] = {}
    for settings, accuracy in sorted(groups, key=lambda group: group[1].mean):
        mechanism, epsilon = settings[:2]
        if pd.isna(epsilon) or epsilon == min(epsilons):
            at = "" if pd.isna(epsilon) else f" at ε = {epsilon:g}"
            best[mechanism] = Fact(name=f"accuracy, {NAMES[mechanism]}{at}", value=f"{accuracy.mean:.0%}")
    return tuple(best[name] for name in NAMES if name in best)


def _bill(bill: dict[str, Any]) -> tuple[Fact, ...]:
    """What publishing one trial of a sweep costs, by how it was chosen."""
    if bill["one_run"] is None:
        return ()
    ways = {
        "one_run": "one run, had it been picked without looking at private data",
        "best_of_random": f"the best of a random number of runs, {bill['runs']} on average",
        "all_runs": f"all {bill['runs']} runs at this ε, or the best of them, as chosen here",
    }
    return tuple(
        Fact(name=text, value="∞" if bill[key] is None else f"ε = {bill[key]:.3g}")
        for key, text in ways.items()
    )
