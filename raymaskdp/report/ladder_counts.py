"""Person-frames of some videos by rung of the redaction ladder, and the reasons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raymaskdp.files import read_json

RUNGS = {
    "avatars": "an avatar with the person's motion",
    "silhouettes": "a silhouette: no body could be fitted, or it would be beside the person",
    "background": "background only: a person may have been missed, or could not be tracked",
    "filled": "a solid fill: a detector still found a person when the frame was checked again",
    "blank": "in a blank frame: a detector found a person even after that",
}
"""Rungs, the highest first, and their meaning for a person in a frame."""

WEIGHT = {"silhouettes": 1, "background": 2, "filled": 3, "blank": 4}
"""Severity of a rung, for the selection of frames to inspect."""


@dataclass(frozen=True, kw_only=True)
class RungRow:
    """One rung: its meaning, person-frames, and their share of all, formatted."""

    name: str
    person_frames: int
    share: str


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """The rungs of all people.

    Attributes:
      rows: one for each rung.
      reasons: why people have no avatar, and in how many person-frames, the most frequent first.
    """

    rows: tuple[RungRow, ...]
    reasons: tuple[tuple[str, int], ...]

    @property
    def avatars(self) -> str:
        """The share of avatars, formatted."""
        return self.rows[0].share


def rungs(measured: pd.DataFrame) -> Rungs | None:
    """The rungs of the people of videos with these measurements; None if unknown.

    Args:
      measured: one row for each video, with columns such as `person_frames.avatars` and `doubts.REASON`.
    """
    counts = {name: int(_column(measured, f"person_frames.{name}").sum()) for name in RUNGS}
    total = sum(counts.values())
    if not total:
        return None
    rows = tuple(
        RungRow(name=text, person_frames=counts[name], share=f"{100 * counts[name] / total:.1f} %")
        for name, text in RUNGS.items()
        if counts[name] or name == "avatars"
    )
    reasons: Counter[str] = Counter()
    for column in measured.columns:
        kind, _, reason = str(column).partition(".")
        if kind in ("doubts", "unposed") and reason:
            reasons[reason] += int(_column(measured, column).sum())
    return Rungs(rows=rows, reasons=tuple(pair for pair in reasons.most_common() if pair[1]))


def below_avatars(measured: pd.DataFrame) -> pd.Series:
    """Share of each video's person-frames without an avatar; NaN without people."""
    counts = pd.DataFrame({name: _column(measured, f"person_frames.{name}") for name in RUNGS})
    total = counts.sum(axis=1)
    return (total - counts["avatars"]) / total.where(total > 0)


def worst_frames(provenance: Path, num_frames: int, count: int) -> list[int]:
    """Up to `count` frames of a video: the one with the lowest rungs in each of as many equal parts."""
    badness_T = np.zeros(num_frames)
    if provenance.is_file():
        counts = read_json(provenance).get("frames", {})
        for name, weight in WEIGHT.items():
            values = counts.get(name, [])
            if len(values) == num_frames:
                badness_T += weight * np.array(values, float)
    stretches = np.array_split(np.arange(num_frames), min(count, num_frames))
    return [_worst_of(part, badness_T) for part in stretches]


def _worst_of(stretch: np.ndarray, badness_T: np.ndarray) -> int:
    """The worst frame of a part; of equal ones, the one nearest its middle."""
    worst = stretch[badness_T[stretch] == badness_T[stretch].max()]
    return int(worst[np.abs(worst - stretch.mean()).argmin()])


def _column(measured: pd.DataFrame, name: str) -> pd.Series:
    if name in measured:
        return measured[name].fillna(0)
    return pd.Series(0.0, index=measured.index)
