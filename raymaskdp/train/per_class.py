"""The change of every class against a baseline, as a picture: the plot of the MaskDP paper's figure 5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from raymaskdp.files import atomic_path

GAIN, LOSS, SHARE = "#0b6e4f", "#c8553d", "#444444"


def draw_change(change: Mapping[str, float], shares: Mapping[str, float], path: Path) -> None:
    """Draw one bar per class, the most frequent class first, to `path`.png and `path`.svg.

    Args:
      change: accuracy, or AUROC, minus that of the baseline, -1 to 1.
      shares: of the training videos by class, drawn inside the bars, 0 to 1.
    """
    names = sorted(change, key=lambda name: (-shares.get(name, 0.0), name))
    places = np.arange(len(names))
    values = np.array([change[name] for name in names])
    figure = Figure(figsize=(max(5.0, 0.32 * len(names) + 2.0), 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(places, values, width=0.8, color=np.where(values < 0, LOSS, GAIN), zorder=2)
    axes.axhline(0, color="#333333", linewidth=0.8, zorder=3)
    axes.axhline(float(values.mean()), color="#333333", linewidth=1.0, linestyle="--", zorder=3)
    axes.set_ylabel("bars: change\n(dashes: mean of classes)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xticks(
        places, names, rotation=90 if len(names) > 12 else 30, ha="right" if len(names) <= 12 else "center"
    )
    axes.tick_params(axis="x", labelsize=8, length=0)
    right = axes.twinx()
    right.plot(places, [shares.get(name, 0.0) for name in names], "s", color=SHARE, markersize=3.5)
    right.set_ylabel("squares: share of\ntraining videos", color=SHARE)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.set_ylim(bottom=0)
    for one in (axes, right):
        one.spines["top"].set_visible(False)
        one.margins(x=0.02)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for suffix in (".png", ".svg"):
        with atomic_path(path.with_suffix(suffix), scores=True) as temporary:
            figure.savefig(temporary, dpi=160, metadata={"Date": None} if suffix == ".svg" else None)
