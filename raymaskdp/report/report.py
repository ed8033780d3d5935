"""One self-contained HTML file about all outputs below a folder."""

from __future__ import annotations

import datetime
import functools
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import raymaskdp
from raymaskdp import files
from raymaskdp.errors import UserError, readable
from raymaskdp.places import LocalPath
from raymaskdp.report import audits, exports, pages, summary, trainings, videos
from raymaskdp.report.pictures.video_players import PlayerFiles
from raymaskdp.report.trainings import Fact

PACKAGES = ("ray", "torch", "opacus", "dp-accounting", "mediapipe", "anny", "pyrender", "numpy")


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """The report that was written, and its contents in numbers.

    `files` are its tables and plots as files; `damaged` names unreadable files, a sentence each.
    """

    path: str
    megabytes: float
    videos: int
    runs: int
    sweeps: int
    audits: int = 0
    files: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = f"{self.videos} videos, {self.runs} trainings, {self.sweeps} sweeps, {self.audits} audits"
        lines = [f"{self.path}: {parts}, {self.megabytes:.1f} MB"]
        return "\n".join([*lines, *(f"not included: {text}" for text in self.damaged)])


@dataclass(frozen=True, kw_only=True)
class Card:
    """A figure at the top of the page."""

    label: str
    value: str


def report(
    folder: LocalPath,
    out: LocalPath | None = None,
    *,
    show_sources: bool = False,
    embed_videos: bool = False,
) -> ReportResult:
    """Write an HTML file about the anonymized videos, trainings, sweeps and audits below `folder`.

    Its tables and plots are also written beside it, as CSV, SVG and PNG, together with the videos of its
    players.

    Args:
      folder: searched for outputs of `anonymize`, `train`, `sweep` and `audit`.
      out: the file, `folder/report.html` by default.
      show_sources: add frames of the *source* videos to the file, and the videos beside it, for data without
        real people, or for authorized readers. Both then need the same protection as the sources.
      embed_videos: embed the videos of the players, so that the file needs no other file.

    Raises:
      UserError: there is nothing to report in `folder`. Damaged files are named and omitted.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"The folder {folder} does not exist; give one that anonymize, train or sweep wrote.")
    path = Path(out) if out else root / "report.html"
    files.require_ours(path, of=root)  # before the work
    beside = path.with_name(f"{path.stem if path.suffix == '.html' else path.name}-files")
    player_files = PlayerFiles(
        folder=beside / "players", link=f"{quote(beside.name)}/players", embed=embed_videos
    )
    damaged: list[str] = []
    manifests = videos.find(root, damaged)
    if show_sources:
        files.require_unpublished(path, [manifest.parent for manifest in manifests])
    read_videos = functools.partial(
        videos.read, root=root, show_sources=show_sources, player_files=player_files
    )
    collections = readable(read_videos, manifests, damaged)
    sweeps = readable(
        functools.partial(trainings.read_sweep, root=root), trainings.find_sweeps(root), damaged
    )
    folders = trainings.find_runs(root)
    runs = readable(functools.partial(trainings.read_run, root=root), folders, damaged)
    runs.sort(key=lambda run: not run.private)
    found = audits.read_all(root, damaged)
    if not (collections or sweeps or runs):
        raise UserError(
            damaged[0] if damaged else f"The folder {folder} has no outputs of anonymize, train or sweep."
        )
    page = pages.render(
        "template.html",
        title="Anonymized videos and private training",
        subtitle=f"{root.resolve().name}, {datetime.date.today().isoformat()}",
        cards=_cards(collections, sweeps, runs),
        verdict=summary.verdict(collections, runs, sweeps, found),
        leaks=summary.leak_counts(collections, found),
        audits=found,
        glossary=summary.GLOSSARY,
        collections=collections,
        sweeps=sweeps,
        runs=runs,
        damaged=damaged,
        provenance=_provenance(root, show_sources, embed_videos),
        version=raymaskdp.__version__,
    )
    files.write_text(path, page, of=root)
    whole = {run.name for run in runs}
    shown = [folder for folder in folders if str(folder.relative_to(root)) in whole]
    tables = exports.write(beside, root, manifests, shown)
    return ReportResult(
        path=str(path),
        megabytes=round(path.stat().st_size / 1e6, 2),
        videos=sum(len(collection.rows) for collection in collections),
        runs=len(runs),
        sweeps=len(sweeps),
        audits=len(found),
        files=tables,
        damaged=tuple(damaged),
    )


def _cards(
    collections: list[videos.Collection], sweeps: list[trainings.Sweep], runs: list[trainings.Run]
) -> list[Card]:
    cards = []
    if collections:
        for status, label in (
            ("done", "videos anonymized"),
            ("quarantined", "quarantined"),
            ("failed", "failed"),
        ):
            count = sum(collection.count(status) for collection in collections)
            cards.append(Card(label=label, value=str(count)))
    # The final model comes first; trials of a sweep are less informative, because they have fewer steps.
    first = runs[:2] or sweeps[:1]
    return cards + [Card(label=fact.name, value=fact.value) for part in first for fact in part.headline]


def _provenance(root: Path, show_sources: bool, embed_videos: bool) -> list[Fact]:
    command = f"raymaskdp report {root}" + (" show_sources=true" if show_sources else "")
    command += " embed_videos=true" if embed_videos else ""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        Fact(name="this file", value=command),
        Fact(name="software", value=f"raymaskdp {raymaskdp.__version__}, Python {platform.python_version()}"),
        Fact(name="packages", value=packages),
    ]
