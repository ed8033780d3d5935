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
    found = _read(root, manifests, player_files, show_sources, damaged)
    if not (found.collections or found.sweeps or found.runs):
        raise UserError(
            damaged[0] if damaged else f"The folder {folder} has no outputs of anonymize, train or sweep."
        )
    page = pages.render(
        "template.html",
        title="Anonymized videos and private training",
        subtitle=f"{root.resolve().name}, {datetime.date.today().isoformat()}",
        cards=_cards(found.collections, found.sweeps, found.runs),
        verdict=summary.verdict(found.collections, found.runs, found.sweeps, found.audits),
        leaks=summary.leak_counts(found.collections, found.audits),
        audits=found.audits,
        glossary=summary.GLOSSARY,
        collections=found.collections,
        sweeps=found.sweeps,
        runs=found.runs,
        damaged=damaged,
        provenance=_provenance(root, show_sources, embed_videos),
        version=raymaskdp.__version__,
    )
    files.write_text(path, page, of=root)
    return ReportResult(
        path=str(path),
        megabytes=round(path.stat().st_size / 1e6, 2),
        videos=sum(len(collection.rows) for collection in found.collections),
        runs=len(found.runs),
        sweeps=len(found.sweeps),
        audits=len(found.audits),
        files=exports.write(beside, root, manifests, found.run_folders),
        damaged=tuple(damaged),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a report is about; private runs come first, and `run_folders` are those that were read."""

    collections: list[videos.Collection]
    sweeps: list[trainings.Sweep]
    runs: list[trainings.Run]
    run_folders: list[Path]
    audits: tuple[audits.ShownAudit, ...]


def _read(
    root: Path, manifests: list[Path], player_files: PlayerFiles, show_sources: bool, damaged: list[str]
) -> _Found:
    """Everything below a folder; a sentence about each damaged file is added to `damaged`."""
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
    whole = {run.name for run in runs}
    return _Found(
        collections=collections,
        sweeps=sweeps,
        runs=runs,
        run_folders=[folder for folder in folders if str(folder.relative_to(root)) in whole],
        audits=audits.read_all(root, damaged),
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
