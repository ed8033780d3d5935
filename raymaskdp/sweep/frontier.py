"""The utility–privacy frontier: accuracy over ε, by mechanism, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from scipy import stats

from raymaskdp.files import atomic_path

NAMES = {
    "maskdp": "MaskDP",
    "maskdp-full": "MaskDP, full gradient",
    "multiclip": "Multi-Clip DP-SGD",
    "dpsgd": "DP-SGD",
    "sgd": "not private",
}
COLOURS = {
    "maskdp": "#0b6e4f",
    "maskdp-full": "#6a994e",
    "multiclip": "#3a6ea5",
    "dpsgd": "#c8553d",
    "sgd": "#444444",
}
MARGIN = 1.35
"""Free space left and right of the smallest and the largest ε, as a factor."""
MARKERS = {"maskdp": "o", "maskdp-full": "v", "multiclip": "s", "dpsgd": "D"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """Trials that differ in their seed only.

    Attributes:
      mean: of their accuracies, 0 to 1.
      low, high: 95 % confidence interval of the mean (Student's t), within [0, 1]; the mean itself for one.
      accuracies: of the single trials.
    """

    mean: float
    low: float
    high: float
    accuracies: tuple[float, ...]


def point(accuracies: Sequence[float]) -> Point:
    """Mean and interval of the accuracies of at least one trial."""
    values = np.asarray(accuracies, dtype=float)
    mean = float(values.mean())
    half = 0.0
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Point(
        mean=mean, low=max(mean - half, 0.0), high=min(mean + half, 1.0), accuracies=tuple(values.tolist())
    )


def by_mechanism(results: pd.DataFrame) -> dict[str, list[tuple[float | None, Point]]]:
    """Points over ε for each mechanism of finished trials, in the order of NAMES; ε is None for sgd."""
    curves: dict[str, list[tuple[float | None, Point]]] = {}
    done = results[results["status"] == "done"]
    for mechanism in NAMES:
        mine = done[done["mechanism"] == mechanism]
        if mine.empty:
            continue
        if mechanism == "sgd":
            curves[mechanism] = [(None, point(mine["score"]))]
            continue
        groups = mine.groupby("target_epsilon")["score"]
        curves[mechanism] = [(float(epsilon), point(values)) for epsilon, values in sorted(groups)]
    return curves


def draw(results: pd.DataFrame, path: Path, *, classes: int, caption: str) -> None:
    """Draw the frontier of the finished trials in `results` to `path`.png and `path`.svg."""
    curves = by_mechanism(results)
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    private = [name for name in curves if name != "sgd"]
    for place, name in enumerate(private):
        # Shifted by a few per cent, so that intervals at the same ε do not hide each other.
        aside = 1.04 ** (place - (len(private) - 1) / 2)
        _draw_curve(axes, name, curves[name], aside)
    if "sgd" in curves:
        _, best = curves["sgd"][0]
        axes.axhline(
            best.mean, color=COLOURS["sgd"], linestyle="--", linewidth=1.4, label=NAMES["sgd"], zorder=1
        )
        axes.axhspan(best.low, best.high, color=COLOURS["sgd"], alpha=0.08, linewidth=0, zorder=0)
    areas = "auroc" in set(results["metric"])
    axes.axhline(
        0.5 if areas else 1 / classes, color="#999999", linestyle=":", linewidth=1.2, label="chance", zorder=1
    )
    _dress(axes, curves, "AUROC" if areas else "top-1 accuracy")
    figure.text(0.5, -0.02, caption, ha="center", va="top", fontsize=8, color="#555555", wrap=True)
    for suffix in (".png", ".svg"):
        with atomic_path(path.with_suffix(suffix), scores=True) as temporary:
            figure.savefig(temporary, dpi=160, bbox_inches="tight", metadata=without_date(suffix))


def _draw_curve(axes: Axes, name: str, curve: list[tuple[float | None, Point]], aside: float) -> None:
    epsilons = np.array([epsilon for epsilon, _ in curve], dtype=float) * aside
    points = [value for _, value in curve]
    means = np.array([value.mean for value in points])
    bars = np.array(
        [[value.mean - value.low for value in points], [value.high - value.mean for value in points]]
    )
    axes.errorbar(
        epsilons, means, yerr=bars, color=COLOURS[name], marker=MARKERS[name], markersize=6, linewidth=2,
        elinewidth=1.2, capsize=3, label=NAMES[name], zorder=3,
    )  # fmt: skip
    for epsilon, value in zip(epsilons, points, strict=True):
        single = value.accuracies
        axes.scatter(
            [epsilon] * len(single), single, s=11, color=COLOURS[name], alpha=0.35, linewidths=0, zorder=2
        )


def _dress(axes: Axes, curves: dict[str, list[tuple[float | None, Point]]], metric: str) -> None:
    epsilons = sorted({e for curve in curves.values() for e, _ in curve if e is not None})
    axes.set_xscale("log")
    if epsilons:  # otherwise a single ε would span the whole width
        axes.set_xlim(epsilons[0] / MARGIN, epsilons[-1] * MARGIN)
    axes.xaxis.set_major_locator(FixedLocator(epsilons))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("privacy budget ε of one run (smaller is more private)")
    axes.set_ylabel(f"{metric} on test videos")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def without_date(suffix: str) -> dict[str, None] | None:
    """Metadata without a date, so that the same results give the same file."""
    return {"Date": None} if suffix == ".svg" else None
