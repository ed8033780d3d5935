"""The part of the report about audits: attacks on anonymized videos, and on training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.audit import AnonymizationAudit, TrainingAudit, anonymization, training
from raymaskdp.report.pictures import plots

READERS: dict[str, Callable[[Path], AnonymizationAudit | TrainingAudit]] = {
    "anonymization": anonymization.read_audit,
    "training": training.read_audit,
}

HEADINGS = {
    "identification": "How often the attacker names the right person (rank-1), beside chance",
    "attributes": "How often stature, sex and preferred side of unknown people are guessed, beside chance",
    "actions": "How often the action is named, by what the network was trained on and asked about",
    "membership": "Membership inference: true against false positive rate, both logarithmic",
}
INVERSION = (
    "A drawn picture, what is read off its gradient without privacy, and what is read off a private update"
)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot of an audit: what it shows, and its `data:` URI."""

    caption: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One audit, with its plots."""

    name: str
    outcome: AnonymizationAudit | TrainingAudit
    plots: tuple[Plot, ...]

    @property
    def of_videos(self) -> bool:
        """Whether anonymized videos were attacked."""
        return isinstance(self.outcome, AnonymizationAudit)


def read_all(root: Path) -> tuple[Shown, ...]:
    """The audits below `root`, those of videos first."""
    found = []
    for path in sorted(root.rglob("audit.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("kind") if isinstance(values, dict) else None
        if kind in READERS:  # others have files of that name, too
            outcome = READERS[kind](path)
            found.append(
                Shown(name=str(path.parent.relative_to(root)), outcome=outcome, plots=_plots(path.parent))
            )
    return tuple(sorted(found, key=lambda audit: not audit.of_videos))


def _plots(folder: Path) -> tuple[Plot, ...]:
    found = [
        Plot(caption=caption, uri=plots.svg_uri((folder / f"{name}.svg").read_text(encoding="utf-8")))
        for name, caption in HEADINGS.items()
        if (folder / f"{name}.svg").is_file()
    ]
    if (picture := folder / "inversion.png").is_file():
        found.append(Plot(caption=INVERSION, uri=plots.png_uri(picture.read_bytes())))
    return tuple(found)
