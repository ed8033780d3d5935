"""Command `anonymize`: select the videos, run the pipeline, record the outcomes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp import events, locks, places
from raymaskdp.anonymize import pipeline
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.output import folders, identity, manifest, notes
from raymaskdp.anonymize.output.manifest import Row, RunFacts
from raymaskdp.anonymize.output.progress import WORK, record_progress, require_alone
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.output.unlisted import unlisted
from raymaskdp.anonymize.people.networks.blazepose import BlazePose
from raymaskdp.anonymize.people.networks.from_settings import configured_networks
from raymaskdp.anonymize.selection import Selection, select
from raymaskdp.anonymize.stages import Job
from raymaskdp.anonymize.verify.look_again import people_detector
from raymaskdp.bodies.body import load_body
from raymaskdp.datasets.duplicates import duplicates
from raymaskdp.datasets.manifest import VideoRecord, find_source
from raymaskdp.datasets.separate_folders import keep_apart, require_sources
from raymaskdp.errors import MachineError, UserError
from raymaskdp.files import make_folder, remove_scratch, scratch_folder, write_json
from raymaskdp.places import Place

LOCK_SECONDS = 10.0
"""How long a run waits for the previous one to release the output folder."""

MANIFEST_SECONDS = 5.0
"""Interval at which the manifest is rewritten during a run, so that a killed run loses little."""

ANALYSIS = 0.6
"""Share of the analysis in a video's work, for the progress bar."""


@dataclass(frozen=True, kw_only=True)
class AnonymizeResult:
    """The outcomes of the videos of one source.

    Attributes:
      out: the output folder, or its URL.
      done, quarantined, failed: numbers of videos, including earlier runs. A video that failed now counts as
        failed, although its earlier outputs stay, and are in the manifest.
      reused: how many of them needed no work in this run.
      frames: anonymized frames in `out`.
      seconds: wall-clock time of this run.
      rows: one for each video, in the order of the source.
      notes: ignored files of the source, and duplicates in the output folder; a sentence each.
    """

    out: Place
    done: int
    quarantined: int
    failed: int
    reused: int
    frames: int
    seconds: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.done} done, {self.quarantined} quarantined, {self.failed} failed "
            f"({self.reused} were finished before); {self.frames} anonymized frames in {self.out}"
        ]
        nobody = sum(row.status == "done" and not manifest.person_frames(row) for row in self.rows)
        if nobody:
            lines.append(f"  in {nobody} of the videos that are done, no person was detected")
        if self.quarantined:
            lines.append(f"  see why: raymaskdp review {self.out}")
        left_out = (row for row in self.rows if row.status != "done")
        lines += [f"  {row.status}: {row.video_id}: {row.reason}" for row in left_out]
        lines += [f"  note: {note}" for note in self.notes]
        if self.done and isinstance(self.out, Path):
            lines.append(f"  next: raymaskdp sheet {self.out} --out sheet.png, to look at them")
        return "\n".join(lines)


def anonymize(
    source: Place,
    out: Place,
    config: AnonymizeConfig | None = None,
    *,
    progress: bool = True,
) -> AnonymizeResult:
    """Replace all people in the videos of `source` by avatars, or report why not.

    Args:
      source: a video, a folder, a glob or a manifest; or the URL of one on an object store.
      out: the folder for the results, or its URL; a video without a complete verification has only a row
        there.
      config: settings; defaults for None.
      progress: show a progress bar on stderr.

    A second call completes missing videos and repeats nothing. Raises `UserError` if the source is missing or
    the folder is in use or not writable.
    """
    config = config or AnonymizeConfig()
    began = time.perf_counter()
    out = places.place(out) if isinstance(out, str) else out
    found = find_source(source)
    _require_apart(source, out, found.records, config)
    require_sources(found.records)
    _require_usable(config)
    home = folders.home_of(out)
    with _locked(home) as work:
        rows = _read_rows(out)
        again = unlisted(out, rows)
        rows |= again
        records = identity.known_ids(found.records, rows)
        write_json(work / WORK, {"videos": len(records)}, ours=True)
        if isinstance(out, Path):
            identity.require_distinct(out, {*rows, *(record.video_id for record in records)})
        selection = select(records, rows, out, config)
        rows |= selection.finished
        job = _job(config, out, work, selection)
        in_vain = _process(selection, config, job, out, rows, records, progress)
        if job.chunks is not None:
            remove_scratch(job.chunks)  # all videos are decided; a killed run keeps it
    chosen = tuple((rows | in_vain)[record.video_id] for record in records)
    counts = Counter(row.status for row in chosen)
    events.write("anonymize ends", **{str(status): count for status, count in counts.items()})
    return AnonymizeResult(
        out=out,
        done=counts["done"],
        quarantined=counts["quarantined"],
        failed=counts["failed"],
        reused=len(records) - len(selection.todo),
        frames=sum(row.num_frames for row in chosen if row.status == "done"),
        seconds=round(time.perf_counter() - began, 3),
        rows=chosen,
        notes=(
            *notes.ignored(found.left_out),
            *notes.listed_again(again),
            *notes.kept_verdicts([rows[name] for name in in_vain]),
            *notes.without_checksums(chosen),
            *duplicates((row.video_id, row.source_sha256) for row in rows.values()),
        ),
    )


def _require_apart(
    source: Place, out: Place, records: Sequence[VideoRecord], config: AnonymizeConfig
) -> None:
    """Raise `UserError` if the run would write beside its sources, or over a file that settings name."""
    keep_apart(out, source, records, [path for _, path in configuration.paths(config)])
    if config.chunks is not None:
        keep_apart(_given_chunks(config.chunks, out), source, records, writes="The folder of chunks")


def _require_usable(config: AnonymizeConfig) -> None:
    """Detect unusable files and networks here, not in every worker; raises `UserError`."""
    _check_paths(config)
    people_detector(config.verify)
    configured_networks(config.pose)
    if config.body is not None:
        load_body(config.body)
    if config.pose.source == "mediapipe":
        BlazePose(config.pose.landmarks)


def _read_rows(out: Place) -> dict[str, Row]:
    """The manifest of the output folder, by id; raises `UserError` before the work if it is not writable."""
    manifest.require_writable(out)
    if isinstance(out, str):
        require_alone(out)
    rows = manifest.read_manifest(out)
    if isinstance(out, str):
        manifest.write_manifest(out, rows.values())  # fails before the work if the folder is not writable
    return rows


def _job(config: AnonymizeConfig, out: Place, work: Path, selection: Selection) -> Job:
    """The folders of a run; those for chunks, the secret and plates are created."""
    home = folders.home_of(out)
    chunks = _chunks(config, out, home)
    return Job(
        out=home,
        work=work,
        secret=SecretFile.at(config.secret_file or folders.persistent(home, "secret")),
        plates=folders.private(selection.plates) if selection.donors else None,
        chunks=chunks,
        store=out if isinstance(out, str) else None,
    )


def _given_chunks(folder: Path, out: Place) -> Path:
    """The folder for the chunks of one output folder, inside a folder that may be for several."""
    home = folders.home_of(out).resolve()
    return folder / hashlib.sha256(os.fsencode(home)).hexdigest()[:16]


def _chunks(config: AnonymizeConfig, out: Place, home: Path) -> Path | None:
    """The private folder for complete chunks, which all workers can access; None if there is none."""
    if config.chunks is not None:
        return scratch_folder(_given_chunks(config.chunks, out))
    return scratch_folder(folders.staging(home, folders.CHUNKS)) if isinstance(out, Path) else None


def _process(
    selection: Selection,
    config: AnonymizeConfig,
    job: Job,
    out: Place,
    rows: dict[str, Row],
    records: Sequence[VideoRecord],
    progress: bool,
) -> dict[str, Row]:
    """Run the pipeline and enter its outcomes in `rows` and the manifest.

    Returns the rows of failed videos for which an earlier verdict is kept.
    """
    todo, observed = selection.todo, selection.observed()
    run = pipeline.in_process if config.workers == 0 else pipeline.on_ray
    bar = _bar(records, len(todo), progress and not events.wanted())
    events.write("anonymize begins", videos=len(records), todo=len(todo))
    shared = job.work if isinstance(out, Path) else job.chunks
    with record_progress(out, len(records)), _frames(config, shared) as frames:
        items = run(todo, config, dataclasses.replace(job, frames=frames), observed=observed)
        return _collect(items, len(todo), rows, out, selection.config_sha256, bar)


@contextlib.contextmanager
def _frames(config: AnonymizeConfig, shared: Path | None) -> Iterator[Path | None]:
    """A private folder in `shared` for what passes between pools, removed at the end; None for one pool.

    Raises `UserError` if there is no folder that all workers can access.
    """
    if not pipeline.is_split(config):
        yield None
        return
    if shared is None:
        raise UserError(
            "Pools of their own pass frames through a folder that all workers can access, which an object "
            "store is not; name one with chunks=, or give all pools the same settings."
        )
    folder = shared / "frames"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_paths(config: AnonymizeConfig) -> None:
    """Check that files and folders that settings name exist, before workers start."""
    for key, path in configuration.paths(dataclasses.replace(config, secret_file=None)):
        if not os.path.exists(path):
            raise UserError(f"The setting {key} names {path}, which does not exist or may not be read.")


def _collect(
    items: Iterable[Item],
    todo: int,
    rows: dict[str, Row],
    out: Place,
    config_sha256: str,
    bar: tqdm[Any],
) -> dict[str, Row]:
    """Enter items in `rows` and the manifest as they are decided; analyzed ones are only counted.

    Returns the rows of failed videos for which an earlier verdict is kept.
    """
    in_vain: dict[str, Row] = {}
    began = written = time.monotonic()
    facts: RunFacts | None = None
    working = 0.0
    counts: Counter[str] = Counter()
    waiting: set[str] = set()
    try:
        with bar:
            for item in items:
                if not isinstance(item, Decided):
                    waiting.add(item.record.video_id)
                    counts["analyzed"] += 1
                    bar.set_postfix(counts, refresh=False)
                    bar.update(ANALYSIS)
                    continue
                _enter(item, rows, in_vain, out, config_sha256)
                counts[item.status] += 1
                _log_outcome(item)
                working += item.seconds
                decided = (facts.decided if facts else 0) + 1
                facts = RunFacts(
                    seconds=time.monotonic() - began, working=working, decided=decided, waiting=todo - decided
                )
                bar.set_postfix(counts, refresh=False)
                bar.update(1 - ANALYSIS if item.record.video_id in waiting else 1)
                if time.monotonic() - written > MANIFEST_SECONDS:
                    manifest.write_manifest(out, rows.values(), facts)
                    written = time.monotonic()
    except BaseException:
        if facts is not None:  # decisions are kept when a run is interrupted
            with contextlib.suppress(
                MachineError
            ):  # the original error is reported; the provenance files have the decisions
                manifest.write_manifest(out, rows.values(), facts)
        raise
    if facts is not None or not todo:
        manifest.write_manifest(out, rows.values(), facts)
    return in_vain


def _enter(
    item: Decided, rows: dict[str, Row], in_vain: dict[str, Row], out: Place, config_sha256: str
) -> None:
    """Enter a decided item. Only a verdict removes earlier outputs; a failure does not."""
    name = item.record.video_id
    row = manifest.row_of(item, config_sha256)
    stays = manifest.previous_verdict(out, name, rows.get(name)) if item.status == "failed" else None
    if stays is not None:
        in_vain[name], rows[name] = row, stays
        return
    if item.status != "done":
        manifest.unpublish(out, name)
    rows[name] = row


def _log_outcome(item: Decided) -> None:
    frames = item.info.num_frames if item.info else 0
    seconds = round(item.seconds, 3)
    events.write("video", video_id=item.record.video_id, status=item.status, frames=frames, seconds=seconds)


def _bar(records: Sequence[VideoRecord], todo: int, progress: bool) -> tqdm[Any]:
    return tqdm(
        total=len(records),
        initial=len(records) - todo,
        desc="anonymize",
        unit="video",
        bar_format="{l_bar}{bar}| {n:.0f}/{total} [{elapsed}<{remaining}{postfix}]",
        disable=not progress,
        dynamic_ncols=True,
    )


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Lock the output folder for this process, with a private folder beside it for unverified files."""
    make_folder(out)
    with contextlib.ExitStack() as ending:
        try:
            ending.enter_context(locks.held(out, wait_s=LOCK_SECONDS))
        except BlockingIOError as error:
            raise UserError(f"Another run writes to {out}; wait for it or give another folder.") from error
        work = folders.staging(out, "work")
        remove_scratch(work)  # of a run that was killed
        scratch_folder(work)
        try:
            yield work
        finally:
            with contextlib.suppress(OSError):  # the next run removes files that a disk does not release
                remove_scratch(work)
