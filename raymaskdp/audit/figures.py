"""Plots and tables of an audit as files: SVG and PNG for papers, CSV for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from raymaskdp.files import atomic_path

MEASURED, BEFORE, STAYS, CHANCE = "#b4541a", "#1f5fa8", "#8a5a00", "#9aa4b1"


def bars(
    path: Path,
    rows: Sequence[tuple[str, float, float | None, float | None, str]],
    *,
    chance: Mapping[str, tuple[float, float]],
    label: str,
) -> None:
    """Bars of shares, as path.svg and path.png.

    Args:
      rows: name, value, and low and high of its interval (or None), and colour.
      chance: interval of chance, by name.
      label: of the axis.
    """
    figure, axis = plt.subplots(figsize=(8, 0.9 + 0.42 * len(rows)))
    names = [row[0] for row in rows]
    for place, (name, value, low, high, colour) in enumerate(rows):
        axis.barh(place, value, height=0.55, color=colour)
        if low is not None and high is not None:
            axis.plot([low, high], [place, place], color="black", linewidth=1.2)
        if name in chance:
            left, right = chance[name]
            axis.barh(place, right - left, left=left, height=0.86, color=CHANCE, alpha=0.45)
        axis.text(max(value, high or 0.0) + 0.012, place, f"{value:.0%}", va="center", fontsize=9)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.09)
    axis.set_xlabel(label)
    _save(figure, axis, path)


def curves(path: Path, lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> None:
    """ROC curves on logarithmic axes, as path.svg and path.png; a line has a name, FPR and TPR."""
    figure, axis = plt.subplots(figsize=(5.6, 4.4))
    for name, fpr, tpr in lines:
        axis.plot(fpr, tpr, linewidth=1.6, label=name, linestyle="--" if "not private" in name else "-")
    axis.plot([1e-3, 1], [1e-3, 1], color=CHANCE, linewidth=1, label="chance")
    axis.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1.1))
    axis.set_xlabel("false positive rate")
    axis.set_ylabel("true positive rate")
    axis.legend(fontsize=8)
    _save(figure, axis, path)


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as path.csv, a line each."""
    with atomic_path(path.with_suffix(".csv")) as temporary:
        pd.DataFrame(list(rows)).to_csv(temporary, index=False)


def _save(figure: plt.Figure, axis: plt.Axes, path: Path) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(alpha=0.25, axis="x")
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "raymaskdp"}):
        for suffix, about in ((".svg", {"Date": None}), (".png", None)):
            with atomic_path(path.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, bbox_inches="tight", dpi=150, metadata=about)
    plt.close(figure)
