"""Which videos an output folder knows already, perhaps under another id, so that none is entered twice."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from raymaskdp import storage
from raymaskdp.anonymize.output import folders
from raymaskdp.anonymize.output.manifest import SOURCE_VERSION, Row
from raymaskdp.datasets.ids import stable_id
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file


def known_ids(records: Sequence[VideoRecord], rows: Mapping[str, Row]) -> tuple[VideoRecord, ...]:
    """The records; those that the output folder has under ids of another kind take these over.

    Ids that files got from their paths were made otherwise once, and are others where a folder is given
    instead of one of its files. So a row that no record claims is looked for by its file, and by its content.
    Ids that a table gives are never changed.
    """
    mine = {record.video_id for record in records}
    left = [row for row in rows.values() if row.video_id not in mine]
    by_place: dict[str, Row] = {_place_then(row): row for row in left}
    by_content: dict[str, Row] = {row.source_sha256: row for row in left if row.source_sha256}
    by_version: dict[tuple[str, str | None], Row] = {
        version: row for row in left if (version := _version(row)) is not None
    }
    found = []
    for record in records:
        row = None
        if record.video_id not in rows and left and _is_from_path(record):
            if storage.is_url(record.path):
                row = by_version.get((record.path, storage.version(record.path)))
            else:
                row = by_place.get(_place(record)) or by_content.get(_content(record.path))
        if row is not None and row.video_id not in mine:
            mine.add(row.video_id)
            record = dataclasses.replace(record, video_id=row.video_id)
        found.append(record)
    return tuple(found)


def require_same(out: Path | str, records: Iterable[VideoRecord], rows: Mapping[str, Row]) -> None:
    """Raise `UserError` where a video would replace another of the same id, whose source is still there."""
    for record in records:
        row = rows.get(record.video_id)
        if row is None or _place_then(row) == _place(record):
            continue
        if storage.is_url(row.source) or storage.is_url(record.path):
            another = storage.is_url(row.source) and storage.version(row.source) is not None
        else:
            there = Path(storage.named(row.source)).is_file()
            another = there and row.source_sha256 not in ("", _content(record.path))
        if another:
            raise UserError(
                f"In {out} the id {row.video_id} is of {row.source}, and {record.path} would replace it; "
                "give another output folder, or a manifest with other ids."
            )


def require_distinct(out: Path, names: Iterable[str]) -> None:
    """Raise `UserError` where files of two videos would be one on the file system of the output folder."""
    by_folded: dict[str, str] = {}
    for name in sorted(names):
        other = by_folded.setdefault(name.casefold(), name)
        if other != name and folders.ignores_case(out):
            raise UserError(
                f"The videos {other} and {name} would be the same files in {out}, which ignores capitals; "
                "give another output folder, or ids that differ."
            )


def _place(record: VideoRecord) -> str:
    return record.path if storage.is_url(record.path) else os.path.realpath(record.path)


def _place_then(row: Row) -> str:
    """Where the video of a row was; "" where an earlier version kept what was typed in some folder."""
    if storage.is_url(row.source):
        return row.source
    return os.path.realpath(storage.named(row.source)) if os.path.isabs(row.source) else ""


def _content(path: str) -> str:
    try:
        return sha256_file(path) if Path(path).is_file() else ""
    except OSError:
        return ""  # that it cannot be read is said when it is its turn


def _version(row: Row) -> tuple[str, str] | None:
    version = json.loads(row.metrics or "{}").get(SOURCE_VERSION)
    return None if version is None else (row.source, version)


def _is_from_path(record: VideoRecord) -> bool:
    """Whether the id is one that a path gives."""
    ways = {record.path.split("://")[-1]}
    if not storage.is_url(record.path):
        here = os.path.abspath(record.path)
        ways |= {here, os.path.join(os.path.realpath(os.path.dirname(record.path)), os.path.basename(here))}
    return any(
        stable_id(Path(*parts[start:])) == record.video_id
        for parts in (Path(way).parts for way in ways)
        for start in range(len(parts))
    )
