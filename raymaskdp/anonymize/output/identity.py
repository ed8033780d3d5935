"""Which videos an output folder already has, possibly under another id, so that none is entered twice."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raymaskdp import places, storage
from raymaskdp.anonymize.output import folders, ownership
from raymaskdp.anonymize.output.manifest import SOURCE_VERSION, Row
from raymaskdp.datasets.ids import stable_id
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import Place


def known_ids(records: Sequence[VideoRecord], rows: Mapping[str, Row]) -> tuple[VideoRecord, ...]:
    """The records; those that the output folder has under ids of another kind take over these ids.

    Ids from paths were built differently in earlier versions, and depend on whether a folder or one of its
    files is given. So a row that no record claims is matched by its file, and by its content. Ids from a
    table are never changed.
    """
    mine = {record.video_id for record in records}
    left = [row for row in rows.values() if row.video_id not in mine]
    by_place: dict[str, Row] = {_place_of(row.source): row for row in left}
    by_content: dict[str, Row] = {row.source_sha256: row for row in left if row.source_sha256}
    by_version: dict[tuple[str, str | None], Row] = {
        version: row for row in left if (version := _version(row)) is not None
    }
    found = []
    for record in records:
        row = None
        if record.video_id not in rows and left and _is_from_path(record):
            if places.is_url(record.path):
                row = by_version.get((record.path, storage.version(record.path)))
            else:
                row = by_place.get(_place(record)) or by_content.get(_content(record.path))
        if row is not None and row.video_id not in mine:
            mine.add(row.video_id)
            record = dataclasses.replace(record, video_id=row.video_id)
        found.append(record)
    return tuple(found)


def require_same(out: Place, record: VideoRecord, row: Row | None, about: bytes | None) -> None:
    """Raise `UserError` if a video would replace another one with the same id.

    The other one is a video whose files exist, or that has a verdict and whose source still exists. The file
    at one path may change, and its outputs with it.

    Args:
      row: the manifest's row of the id.
      about: the content of its `ID.json`, which has more details.
    """
    known = [] if row is None or not (row.status == "done" or _is_there(row)) else [_Made.by(row)]
    written = _Made.said_in(about)
    if written is not None and (row is None or row.source_sha256 != written.sha256):
        known.append(written)
    for made in known:
        if made.sha256 and made.place != _place(record) and not _is_content(record, made):
            raise UserError(
                f"In {out} the id {record.video_id} is of {made.source or 'another video'}, and "
                f"{record.path} would replace it; give another output folder or a manifest with other "
                f"ids, or remove the files {record.video_id}.* there."
            )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """The source of an output: its path, "" if unknown, and its content."""

    source: str
    sha256: str
    version: str | None

    @classmethod
    def by(cls, row: Row) -> _Made:
        version = json.loads(row.metrics or "{}").get(SOURCE_VERSION)
        return cls(source=row.source, sha256=row.source_sha256, version=version)

    @classmethod
    def said_in(cls, about: bytes | None) -> _Made | None:
        """The same from an `ID.json`, or from the claim in it while files are replaced."""
        try:
            values = json.loads(about or b"")
            if not isinstance(values, dict) or not values.keys() >= ownership.MARKS:
                return None
            if "row" in values:
                return cls.by(Row(**values["row"]))
            return cls(source=values["source"], sha256=values["source_sha256"], version=None)
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def place(self) -> str:
        return _place_of(self.source)


def require_distinct(out: Path, names: Iterable[str]) -> None:
    """Raise `UserError` if files of two videos would be one on the file system of the output folder."""
    by_folded: dict[str, str] = {}
    for name in sorted(names):
        other = by_folded.setdefault(name.casefold(), name)
        if other != name and folders.ignores_case(out):
            raise UserError(
                f"The videos {other} and {name} would be the same files in {out}, which ignores capitals; "
                "give another output folder, or ids that differ."
            )


def _place(record: VideoRecord) -> str:
    return record.path if places.is_url(record.path) else os.path.realpath(record.path)


def _place_of(source: str) -> str:
    """The path of a row's video; "" if an earlier version stored a relative path."""
    if places.is_url(source):
        return source
    return os.path.realpath(places.named(source)) if os.path.isabs(source) else ""


def _is_there(row: Row) -> bool:
    """Whether the path of a row's video still exists."""
    if places.is_url(row.source):
        return storage.version(row.source) is not None
    return Path(places.named(row.source)).is_file()


def _is_content(record: VideoRecord, made: _Made) -> bool:
    """Whether a video has the content of an output's source; also true for one that cannot be read.

    Such a video fails later, with its name, and a failed video replaces nothing.
    """
    if not places.is_url(record.path):
        return _content(record.path) in ("", made.sha256)
    version = storage.version(record.path)
    if version is None or version == made.version:
        return True
    with storage.local_copy(record.path) as copy:
        return sha256_file(copy) == made.sha256


def _content(path: str) -> str:
    try:
        return sha256_file(path) if Path(path).is_file() else ""
    except OSError:
        return ""  # an unreadable file is reported when it is processed


def _version(row: Row) -> tuple[str, str] | None:
    version = json.loads(row.metrics or "{}").get(SOURCE_VERSION)
    return None if version is None else (row.source, version)


def _is_from_path(record: VideoRecord) -> bool:
    """Whether the id was derived from a path."""
    ways = {record.path.split("://")[-1]}
    if not places.is_url(record.path):
        here = os.path.abspath(record.path)
        ways |= {here, os.path.join(os.path.realpath(os.path.dirname(record.path)), os.path.basename(here))}
    return any(
        stable_id(Path(*parts[start:])) == record.video_id
        for parts in (Path(way).parts for way in ways)
        for start in range(len(parts))
    )
