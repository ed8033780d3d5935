"""Plots as `data:` URIs of SVG images, which an HTML file can contain and which run no scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from raymaskdp.files import atomic_path
from raymaskdp.privacy.prices.tradeoff import SMALLEST_DELTA, Tradeoff
from raymaskdp.train.run.curve import StepReport

LOSS, EPSILON = "#1f5fa8", "#b4541a"
STYLE: dict[Any, str] = {"svg.fonttype": "path", "svg.hashsalt": "raymaskdp"}


def training_curve(
    steps: Sequence[int], losses: Sequence[float | None], epsilons: Sequence[float | None]
) -> str:
    """Public loss (left axis) and ε spent (right axis) against the step, as a `data:` URI."""
    return _uri(_training_figure(steps, losses, epsilons))


def write_training_curve(path: Path, curve: Sequence[StepReport]) -> list[str]:
    """The same plot as path.svg and path.png; returns their names."""
    figure = _training_figure(
        [line.step for line in curve], [line.public_loss for line in curve], [line.epsilon for line in curve]
    )
    written = []
    with plt.rc_context(STYLE):
        for suffix, about in ((".svg", {"Date": None}), (".png", None)):
            target = path.with_name(path.name + suffix)
            with atomic_path(target) as temporary:
                figure.savefig(temporary, bbox_inches="tight", dpi=150, metadata=about)
            written.append(str(target))
    plt.close(figure)
    return written


def _training_figure(
    steps: Sequence[int], losses: Sequence[float | None], epsilons: Sequence[float | None]
) -> plt.Figure:
    figure, axis = plt.subplots(figsize=(8, 2.9))
    known = [(s, loss) for s, loss in zip(steps, losses, strict=True) if loss is not None]
    if known:
        at, values = zip(*known, strict=True)
        axis.plot(at, values, color=LOSS, linewidth=0.8, alpha=0.35)
        window = max(1, len(values) // 20)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axis.plot(at[window - 1 :], smooth, color=LOSS, linewidth=1.8)
        axis.set_ylabel("loss of public data", color=LOSS)
    else:
        axis.set_yticks([])
    axis.set_xlabel("step")
    spent = [(s, e) for s, e in zip(steps, epsilons, strict=True) if e is not None]
    if spent:
        right = axis.twinx()
        right.step(*zip(*spent, strict=True), color=EPSILON, linewidth=1.5, where="pre")
        right.set_ylabel("ε spent, at most", color=EPSILON)
        right.set_ylim(bottom=0)
        right.spines["top"].set_visible(False)
    axis.spines["top"].set_visible(False)
    axis.grid(alpha=0.25)
    return figure


def privacy_tradeoff(curve: Tradeoff, *, epsilon: float, delta: float) -> str:
    """δ against ε by both accountants, and the lower bound on the errors of any test, as a `data:` URI.

    Args:
      epsilon, delta: the reported pair.
    """
    return _uri(draw_tradeoff(curve, epsilon=epsilon, delta=delta))


def draw_tradeoff(curve: Tradeoff, *, epsilon: float, delta: float) -> plt.Figure:
    """The figure of `privacy_tradeoff`, which the caller closes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=(3, 2))
    left.semilogy(curve.epsilons, curve.deltas_pld, color=LOSS, linewidth=1.8, label="privacy losses (PLD)")
    left.semilogy(curve.epsilons, curve.deltas_rdp, color=EPSILON, linewidth=1.2, label="Rényi (RDP)")
    left.plot([epsilon], [delta], "o", color="black", markersize=5, label="quoted")
    left.set_ylim(SMALLEST_DELTA, 1)
    left.set_xlabel("ε")
    left.set_ylabel("δ, at most")
    left.legend(frameon=False)
    alarms_A = np.linspace(0, 1, 201)
    right.fill_between(
        alarms_A, [curve.misses(float(alarms)) for alarms in alarms_A], color=LOSS, alpha=0.25, linewidth=0
    )
    right.plot(alarms_A, 1 - alarms_A, color="black", linewidth=0.8, linestyle="--", label="guessing")
    right.set_xlabel("false alarms of a test")
    right.set_ylabel("misses; no test is below the edge")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.tight_layout()
    return figure


def svg_uri(text: str) -> str:
    """The `data:` URI of an SVG image."""
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode("ascii")


def png_uri(picture: bytes) -> str:
    """The `data:` URI of a PNG image."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _uri(figure: plt.Figure) -> str:
    buffer = io.StringIO()
    with plt.rc_context(STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return svg_uri(buffer.getvalue())
