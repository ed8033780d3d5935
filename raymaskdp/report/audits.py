"""The part of the report about audits: attacks on anonymized videos, and on training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raymaskdp import places
from raymaskdp.audit import AnonymizationAudit, TrainingAudit, anonymization, training
from raymaskdp.errors import readable
from raymaskdp.files import read_json
from raymaskdp.report.pictures import plots

READERS: dict[str, Callable[[Path], AnonymizationAudit | TrainingAudit]] = {
    "anonymization": anonymization.read_audit,
    "training": training.read_audit,
}

HEADINGS = {
    "identification": "How often the attacker names the right person (rank-1), beside chance",
    "attributes": "How often stature, sex and preferred side of unknown people are guessed, beside chance",
    "actions": "How often the action is recognized, by training and test videos",
    "membership": "Membership inference: true against false positive rate, both logarithmic",
}
INVERSION = "A drawn image, its reconstruction without privacy, and its reconstruction from a private update"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot of an audit: its caption, and its `data:` URI."""

    caption: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class ShownAudit:
    """One audit, with its plots."""

    name: str
    outcome: AnonymizationAudit | TrainingAudit
    plots: tuple[Plot, ...]

    @property
    def of_videos(self) -> bool:
        """Whether anonymized videos were attacked."""
        return isinstance(self.outcome, AnonymizationAudit)


def read_all(root: Path, damaged: list[str]) -> tuple[ShownAudit, ...]:
    """The audits below `root`, those of videos first; unreadable ones are named in `damaged`."""
    read = functools.partial(_read, root=root)
    found = [one for one in readable(read, places.find_below(root, "audit.json"), damaged) if one is not None]
    return tuple(sorted(found, key=lambda audit: not audit.of_videos))


def _read(path: Path, *, root: Path) -> ShownAudit | None:
    kind = read_json(path).get("kind")
    if kind not in READERS:  # other programs have files of that name, too
        return None
    outcome = READERS[kind](path)
    return ShownAudit(name=str(path.parent.relative_to(root)), outcome=outcome, plots=_plots(path.parent))


def _plots(folder: Path) -> tuple[Plot, ...]:
    found = [
        Plot(caption=caption, uri=plots.svg_uri((folder / f"{name}.svg").read_text(encoding="utf-8")))
        for name, caption in HEADINGS.items()
        if (folder / f"{name}.svg").is_file()
    ]
    if (picture := folder / "inversion.png").is_file():
        found.append(Plot(caption=INVERSION, uri=plots.png_uri(picture.read_bytes())))
    return tuple(found)
