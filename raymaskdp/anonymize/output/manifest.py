"""Files of the output folder: complete or absent, and checked by digest before work is skipped."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from raymaskdp import places, storage
from raymaskdp.anonymize.item import Decided, Status
from raymaskdp.anonymize.output import object_store_files, ownership
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import atomic_path, read_file, sha256_file, write_json
from raymaskdp.places import Place

MANIFEST = "manifest.parquet"
COST_PLAN = "cost-plan.json"
"""The estimate that `estimate` wrote for the run in a folder."""

DATA_SUFFIXES = (".mp4", ".avatar.mp4", ".npz")
"""Files of a finished video, besides the provenance `ID.json`, which is written last."""

SOURCE_VERSION = "source_version"
"""Metric of a video that was read from an object store: the store's version of it."""

_LIBRARIES = ("raymaskdp", "av", "mediapipe", "numpy", "opencv-contrib-python", "pyrender", "torch")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One video in the manifest of the output.

    Attributes:
      video_id, source, label, split, subject, camera: of the video; `source` is the absolute path of the
        file, or its URL.
      path: of the anonymized video, relative to the manifest; None unless `status` is "done".
      status: "done", "quarantined" or "failed".
      reason: of the status; for "done", the reasons that a reviewer released.
      num_frames, width, height, fps: of the video; 0 if it could not be read.
      num_people: tracks that were replaced.
      seconds: working time.
      source_sha256, config_sha256: digests of source and configuration.
      metrics: JSON object of figures.
    """

    video_id: str
    source: str
    path: str | None
    label: str | None
    split: str | None
    subject: str | None
    camera: str | None
    status: Status
    reason: str
    num_frames: int
    width: int
    height: int
    fps: float
    num_people: int
    seconds: float
    source_sha256: str
    config_sha256: str
    metrics: str


def person_frames(row: Row) -> int:
    """Number of people, added up over the frames of a finished video; 0 if nobody was detected."""
    return sum(json.loads(row.metrics).get("person_frames", {}).values())


def row_of(item: Decided, config_sha256: str) -> Row:
    """The manifest row of a decided item."""
    record, info = item.record, item.info
    metrics = dict(item.metrics)
    if item.source_version is not None:
        metrics[SOURCE_VERSION] = item.source_version
    return Row(
        video_id=record.video_id,
        source=place_of(record),
        path=f"{record.video_id}.mp4" if item.status == "done" else None,
        label=record.label,
        split=record.split,
        subject=record.subject,
        camera=record.camera,
        status=item.status,
        reason=places.printable("; ".join(item.released if item.status == "done" else item.reasons)),
        num_frames=info.num_frames if info else 0,
        width=info.width if info else 0,
        height=info.height if info else 0,
        fps=float(info.fps) if info else 0.0,
        num_people=item.num_people,
        seconds=round(item.seconds, 3),
        source_sha256=item.source_sha256,
        config_sha256=config_sha256,
        metrics=json.dumps(metrics, sort_keys=True),
    )


def place_of(record: VideoRecord) -> str:
    """The path of a video as stored in a row: absolute, so independent of the working directory."""
    where = record.path if places.is_url(record.path) else os.path.abspath(record.path)
    return places.printable(where)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Progress of the last run that decided any video, stored in the manifest's metadata.

    Attributes:
      seconds: wall-clock time from its start to its last decided video.
      working: working time of all workers on decided videos, seconds.
      decided, waiting: numbers of videos.
    """

    seconds: float
    working: float
    decided: int
    waiting: int

    def __str__(self) -> str:
        busy = self.working / max(self.seconds, 1e-9)
        said = (
            f"The last run decided {self.decided} videos in {_time(self.seconds)}, "
            f"with {busy:.2g} active workers on average"
        )
        if not self.waiting:
            return f"{said}."
        left = self.seconds / max(self.decided, 1) * self.waiting
        return f"{said}; {self.waiting} are waiting, for about {_time(left)}."


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"


def last_run(table: pd.DataFrame) -> RunFacts | None:
    """The facts in a manifest; None if there are none."""
    facts = table.attrs.get("run")
    return None if facts is None else RunFacts(**facts)


def write_manifest(out: Place, rows: Iterable[Row], run: RunFacts | None = None) -> None:
    """Write the table of all videos, sorted by id, atomically; `out` may be a URL.

    Without `run`, the facts of the replaced local manifest are kept. So are columns that were added to it,
    for the videos that are still in it.
    """
    columns = [column.name for column in dataclasses.fields(Row)]
    ordered = sorted(rows, key=lambda row: row.video_id)
    table = pd.DataFrame([dataclasses.asdict(row) for row in ordered], columns=columns)
    if isinstance(out, Path) and (out / MANIFEST).is_file():
        old = read_parquet(out / MANIFEST)
        run = run or last_run(old)
        added = [name for name in old.columns if name not in columns]
        if added:
            table = table.merge(old[["video_id", *added]], how="left", on="video_id")
    if run is not None:
        table.attrs["run"] = dataclasses.asdict(run)
    if isinstance(out, str):
        with tempfile.TemporaryDirectory(prefix="raymaskdp-") as folder:
            table.to_parquet(Path(folder) / MANIFEST, index=False)
            storage.publish(Path(folder) / MANIFEST, places.join(out, MANIFEST))
        return
    with atomic_path(out / MANIFEST, ours=True) as temporary:  # `read_manifest` refuses foreign tables
        table.to_parquet(temporary, index=False)


def require_writable(out: Place) -> None:
    """Raise `UserError` if the manifest is a link, possibly to a file of others, or not a file."""
    if not isinstance(out, Path):
        return
    if (out / MANIFEST).is_symlink():
        raise UserError(
            f"{out / MANIFEST} is a link, and its target is not overwritten; put the table itself "
            "there, or give another output folder."
        )
    if os.path.exists(out / MANIFEST) and not os.path.isfile(out / MANIFEST):
        raise UserError(f"{out / MANIFEST} should be a table, but is not a file; move it away.")


def read_manifest(out: Place) -> dict[str, Row]:
    """Rows by video id; empty if there is no manifest. Raises `UserError` for a foreign table."""
    if isinstance(out, str):
        path = places.join(out, MANIFEST)
        if storage.version(path) is None:
            return {}
        with storage.local_copy(path) as copy:
            return _rows(copy, path)
    if not (out / MANIFEST).exists():
        return {}
    return _rows(out / MANIFEST, out / MANIFEST)


def _rows(table_path: Path, path: Place) -> dict[str, Row]:
    """The rows of a table; `path` is its name in messages."""
    columns = [column.name for column in dataclasses.fields(Row)]
    try:
        table = read_parquet(table_path)
        records = table[columns].astype(object).where(table[columns].notna(), None).to_dict("records")
    except (Damaged, KeyError) as error:
        raise Damaged(
            f"{path} is not a manifest that `anonymize` wrote; give another output folder."
        ) from error
    return {str(values["video_id"]): Row(**values) for values in records}


def reusable_row(
    record: VideoRecord,
    old: Row | None,
    provenance: dict[str, Any] | None,
    config_sha256: str,
    *,
    same_source: Callable[[Row], bool],
    intact: Callable[[dict[str, Any]], bool],
) -> Row | None:
    """The row of a video that needs no more work, or None.

    Its verdict comes from the same source, subject and configuration, and, if it is done, its files have the
    recorded digests. These two checks come last, because they read files.
    """
    if provenance is not None:
        old = Row(**provenance["row"])
    if old is None or old.status not in ("done", "quarantined"):
        return None
    if (old.config_sha256, old.subject) != (config_sha256, record.subject):
        return None
    if not same_source(old):
        return None
    if old.status == "done" and (provenance is None or not intact(provenance)):
        return None
    return dataclasses.replace(
        old,
        source=place_of(record),
        label=record.label,
        split=record.split,
        camera=record.camera,
    )


def publish(work: Path, out: Path, item: Decided, config_sha256: str, frames: Mapping[str, Any]) -> None:
    """Move the files of a verified video from `work` to `out`, the provenance last.

    Both folders are on one file system. A reader sees no files, or files that passed verification. A file
    that this project did not write, or that was changed since, is renamed and not overwritten.
    """
    name = item.record.video_id
    made_from = {
        "config_sha256": config_sha256,
        "source": place_of(item.record),
        "source_sha256": item.source_sha256,
    }
    known = ownership.claim(out, name, made_from, item.outputs)
    provenance = {
        "video_id": name,
        "source_sha256": item.source_sha256,
        "config_sha256": config_sha256,
        "versions": {library: version(library) for library in _LIBRARIES},
        "verdict": item.status,
        "reasons": list(item.reasons),
        "released": list(item.released),
        "outputs": dict(item.outputs),
        "frames": dict(frames),
        "metrics": dict(item.metrics),
        "row": dataclasses.asdict(row_of(item, config_sha256)),
    }
    for suffix in DATA_SUFFIXES:
        with open(work / f"{name}{suffix}", "rb") as written:
            os.fsync(written.fileno())
        ownership.make_way(out / f"{name}{suffix}", known)
        os.replace(work / f"{name}{suffix}", out / f"{name}{suffix}")
    write_json(out / f"{name}.json", provenance, ours=True)


def previous_verdict(out: Place, video_id: str, old: Row | None) -> Row | None:
    """The row that a failed attempt leaves in place: the verdict of an earlier run, with its files.

    None if there is no verdict, or if no valid provenance names the files.
    """
    if isinstance(out, str):
        content = storage.read_all([places.join(out, f"{video_id}.json")])
        about = next((parse_provenance(text) for text in content.values()), None)
    else:
        about = read_provenance(out, video_id)
    if about is None:
        return old if old is not None and old.status == "quarantined" else None
    made = Row(**about["row"])
    same = old is not None and (old.status, old.source_sha256, old.config_sha256) == (
        made.status,
        made.source_sha256,
        made.config_sha256,
    )
    return old if same else made


def unpublish(out: Place, video_id: str) -> None:
    """Remove the published files of a video from an earlier run: unchanged files that its provenance names.

    The provenance is invalidated first and removed last. Other files with such a name stay.
    """
    if isinstance(out, str):
        object_store_files.unpublish(out, video_id)
        return
    known = ownership.read(out, video_id)
    if not known:
        return
    about = out / f"{video_id}.json"
    write_json(about, ownership.claimed(video_id, {"config_sha256": ""}, known), ours=True)
    for name in known:
        if ownership.is_ours(out / name, known):
            (out / name).unlink()
    about.unlink()


def read_provenance(out: Path, video_id: str) -> dict[str, Any] | None:
    """The provenance of a finished video; None if it is absent or incomplete."""
    try:
        return parse_provenance(read_file(out / f"{video_id}.json"))
    except Damaged:
        return None


def parse_provenance(content: bytes) -> dict[str, Any] | None:
    """The content of a provenance file; None if it is incomplete: the video is then processed again."""
    try:
        values = json.loads(content)
    except ValueError:
        return None
    complete = isinstance(values, dict) and {"row", "outputs"} <= values.keys()
    return values if complete else None


def same_source(record: VideoRecord, row: Row) -> bool:
    """Whether a source file still has the digest of a row."""
    try:
        return Path(record.path).is_file() and sha256_file(record.path) == row.source_sha256
    except OSError:
        return False  # an unreadable file is reported when it is processed


def intact(out: Path, digests: Mapping[str, str]) -> bool:
    """Whether the files of a finished video have the recorded digests."""
    return bool(digests) and all(
        (out / name).is_file() and sha256_file(out / name) == digest for name, digest in digests.items()
    )
