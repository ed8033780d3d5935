"""Parallel coordinates: a line for each trial through all settings that differ, to its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from raymaskdp.files import atomic_path
from raymaskdp.sweep.frontier import NAMES, without_date

DECADES = 30.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

TICKS = 6
"""Largest number of labels on an axis of numbers."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One trial.

    Attributes:
      values: of the settings that differ.
      score: 0 to 1.
      stopped: whether it was stopped early.
    """

    values: Mapping[str, Any]
    score: float
    stopped: bool = False


def draw(lines: Sequence[Line], path: Path, *, measure: str, caption: str) -> None:
    """Draw trials to `path`.png and `path`.svg; better trials are lighter and in front.

    `measure` is the name of the score. Trials differ in at least one setting.
    """
    names = [*lines[0].values]
    scales = [_Scale([line.values[name] for line in lines]) for name in names]
    scores = [line.score for line in lines]
    low, high = min(scores), max(scores)
    colours, norm = matplotlib.colormaps["viridis"], Normalize(low, high if high > low else low + 1)
    figure = Figure(figsize=(max(1.7 * (len(names) + 1), 5.0), 4.2), layout="constrained")
    axes = figure.add_subplot()
    score_scale = _Scale(scores, per_cent=True)
    for line in sorted(lines, key=lambda line: line.score):
        heights = [scale.height(line.values[name]) for scale, name in zip(scales, names, strict=True)]
        heights.append(score_scale.height(line.score))
        axes.plot(
            range(len(heights)), heights, color=colours(norm(line.score)), linewidth=1.6, alpha=0.85,
            linestyle=":" if line.stopped else "-", marker="o", markersize=3, clip_on=False,
        )  # fmt: skip
    for place, (name, scale) in enumerate(zip([*names, measure], [*scales, score_scale], strict=True)):
        _draw_axis(axes, place, name, scale)
    axes.set_xlim(-0.35, len(names) + 0.45)
    axes.set_ylim(-0.05, 1.05)
    axes.axis("off")
    figure.text(0.5, -0.02, caption, ha="center", va="top", fontsize=8, color="#555555", wrap=True)
    for suffix in (".png", ".svg"):
        with atomic_path(path.with_suffix(suffix), scores=True) as temporary:
            figure.savefig(temporary, dpi=160, bbox_inches="tight", metadata=without_date(suffix))


class _Scale:
    """Values of one setting as heights from 0 to 1: numbers by size, other values in order."""

    def __init__(self, values: Sequence[Any], *, per_cent: bool = False) -> None:
        self._per_cent = per_cent
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        distinct: list[Any] = []
        for value in values:
            if value not in distinct:
                distinct.append(value)
        self._values = sorted(distinct) if numbers else sorted(distinct, key=str)
        low, high = self._values[0], self._values[-1]
        self._log = numbers and low > 0 and high / low >= DECADES
        self._span = (self._at(low), self._at(high)) if numbers and high > low else None

    def height(self, value: Any) -> float:
        """The height of a value."""
        if self._span is not None:
            return float((self._at(value) - self._span[0]) / (self._span[1] - self._span[0]))
        count = len(self._values)
        return self._values.index(value) / (count - 1) if count > 1 else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and texts of the axis labels."""
        if self._span is None or len(self._values) <= TICKS:
            return [(self.height(value), self._text(value)) for value in self._values]
        heights = np.linspace(0, 1, TICKS)
        at = self._span[0] + heights * (self._span[1] - self._span[0])
        return [
            (float(height), self._text(float(np.exp(x) if self._log else x)))
            for height, x in zip(heights, at, strict=True)
        ]

    def _at(self, value: float) -> float:
        return float(np.log(value)) if self._log else float(value)

    def _text(self, value: Any) -> str:
        if self._per_cent:
            return f"{value:.0%}"
        if value is None:
            return "none"
        return f"{value:.3g}" if isinstance(value, float) else NAMES.get(value, str(value))


def _draw_axis(axes: Axes, place: int, name: str, scale: _Scale) -> None:
    axes.plot([place, place], [0, 1], color="#333333", linewidth=1, zorder=0)
    for height, text in scale.ticks():
        axes.plot([place - 0.02, place + 0.02], [height, height], color="#333333", linewidth=1)
        axes.annotate(
            text, (place, height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}, zorder=5,
        )  # fmt: skip
    axes.annotate(
        name.rpartition(".")[2].replace("_", " "), (place, 1), xytext=(0, 12), textcoords="offset points",
        ha="center", fontsize=9, color="#222222",
    )  # fmt: skip
