"""Who the videos are: one row a video, from a file, a folder, a glob or a table."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from raymaskdp import storage
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
"""Pictures are videos of one frame, for training; folders and globs are searched for videos alone."""
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp"})
TABLE_SUFFIXES = frozenset({".parquet", ".csv"})


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One video, the default unit of privacy.

    Attributes:
      video_id: unique in its manifest; letters, digits, `.`, `_`, `-`; names the output files.
      path: the source video; a file, or a URL of an object store.
      label: the action, or None where unknown.
      split: "train", "test", …, or None.
      subject: who is seen, for subject-level privacy and one avatar a person; or None.
      camera: the fixed camera that took it, for shared backgrounds; or None.
      setup, replication: arrangement of the cameras, and which time the subject did it; or None.
      skeleton: file with the recorded joints, or None.

    A label that starts with `|`, as in `|Edema|Pleural Effusion|`, is a set of findings, any of which may
    be there; `|` is the empty set.
    """

    video_id: str
    path: str
    label: str | None = None
    split: str | None = None
    subject: str | None = None
    camera: str | None = None
    setup: str | None = None
    replication: str | None = None
    skeleton: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", self.video_id):
            raise UserError(
                f"The video id {self.video_id!r} must be 1 to 200 letters, digits, '.', '_' or '-', "
                "and not start with '.'; rename it in the manifest."
            )


def read_source(source: str | Path) -> tuple[VideoRecord, ...]:
    """The records of a video file, a folder (searched through), a glob, or a manifest table.

    A folder with a `manifest.parquet` or `manifest.csv` is read through that table. All but globs may lie on
    an object store. Raises `UserError` if the source is missing or holds no video.
    """
    if storage.is_url(source):
        return _read_url(str(storage.place(str(source))))
    path = Path(source)
    if path.is_dir():
        for name in ("manifest.parquet", "manifest.csv"):
            if (path / name).is_file():
                return read_table(path / name)
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
        if not found:
            raise UserError(f"The folder {source} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}).")
        return from_paths(found, root=path)
    if path.is_file():
        return (
            read_table(path)
            if path.suffix.lower() in TABLE_SUFFIXES
            else from_paths([path], root=path.parent)
        )
    matches = sorted(Path(match) for match in glob.glob(str(source), recursive=True) if Path(match).is_file())
    if not matches:
        raise UserError(f"The source {source} does not exist; give a video, a folder, a glob or a manifest.")
    return from_paths(matches, root=None)


def _read_url(url: str) -> tuple[VideoRecord, ...]:
    """The records of a folder, a table or a video on an object store."""
    suffix = Path(url).suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return read_table(url)
    found = storage.versions(url)
    for name in ("manifest.parquet", "manifest.csv"):
        if name in found:
            return read_table(storage.join(url, name))
    names = [Path(name) for name in sorted(found) if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if not names:
        folder, name = storage.split(url)
        if suffix not in VIDEO_SUFFIXES or storage.version(url) is None:
            listed = ", ".join(sorted(VIDEO_SUFFIXES))
            raise UserError(f"There is no video at {url} ({listed}); give a folder, a video or a manifest.")
        url, names = folder, [Path(name)]
    urls = [storage.join(url, name.as_posix()) for name in names]
    ids = identifiers(names, [Path(one) for one in urls])
    return _unique(VideoRecord(video_id=i, path=one) for i, one in zip(ids, urls, strict=True))


def from_paths(paths: Iterable[Path], *, root: Path | None) -> tuple[VideoRecord, ...]:
    """Records named after their files and the folders below `root`.

    Where two names would be equal, first the suffix and then a digest of the path tells them apart.
    """
    paths = list(paths)
    named = [path.relative_to(root) if root else Path(path.name) for path in paths]
    ids = identifiers(named, paths)
    return _unique(VideoRecord(video_id=i, path=str(p)) for i, p in zip(ids, paths, strict=True))


def identifiers(names: Sequence[Path], paths: Sequence[Path]) -> list[str]:
    """A different video id for each of the files `paths`, made from what they are called, `names`."""
    ids = [identifier(name, keep_suffix=False) for name in names]
    taken = Counter(ids)
    ids = [
        identifier(name, keep_suffix=True) if taken[short] > 1 else short
        for name, short in zip(names, ids, strict=True)
    ]
    taken = Counter(ids)
    return [
        f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}" if taken[name] > 1 else name
        for name, path in zip(ids, paths, strict=True)
    ]


def read_table(path: str | Path) -> tuple[VideoRecord, ...]:
    """Records from a Parquet or CSV table; `path` is required, relative paths start at the table.

    The table, and what it names, may lie on an object store. A table there names nothing of this machine.
    """
    content = io.BytesIO(storage.read(str(path))) if storage.is_url(path) else Path(path)
    try:
        read = pd.read_parquet if Path(path).suffix.lower() == ".parquet" else _read_csv
        table = read(content)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(f"Cannot read the manifest {path}: {' '.join(str(error).split())}.") from error
    if "path" not in table.columns:
        raise UserError(
            f"The manifest {path} needs a column 'path'; it has {', '.join(map(str, table.columns))}."
        )
    if table.empty:
        raise UserError(f"The manifest {path} has no row.")
    fields = [field.name for field in dataclasses.fields(VideoRecord)]
    records = []
    for row in table.to_dict("records"):
        values = {name: str(row[name]) for name in fields if name in row and not pd.isna(row[name])}
        if "path" not in values:
            raise UserError(f"The manifest {path} has a row without a path; fill it in or remove the row.")
        for place in values.keys() & {"path", "skeleton"}:
            values[place] = _beside(path, values[place])
        named = str(row["path"]).split("://")[-1]
        values.setdefault("video_id", identifier(Path(named), keep_suffix=False))
        records.append(VideoRecord(**values))
    return _unique(records)


def _beside(table: str | Path, name: str) -> str:
    """What a table means by a name: a URL, or a path that starts at the table."""
    if storage.is_url(name):
        return str(storage.place(name))
    if storage.is_url(table):
        return storage.join(storage.split(str(table))[0], name)
    return str(Path(table).parent / name)


def labels_of(label: str | None) -> tuple[str, ...]:
    """The one label of a record, or the findings of its set; none if it is not labelled."""
    if label is None:
        return ()
    return tuple(part for part in label.split("|") if part) if label.startswith("|") else (label,)


def write_table(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write records as a Parquet manifest; paths inside its folder become relative to it."""
    folder = Path(os.path.abspath(path)).parent
    rows = []
    for record in records:
        row = dataclasses.asdict(record)
        row["path"] = _from(folder, record.path)
        row["skeleton"] = None if record.skeleton is None else _from(folder, record.skeleton)
        rows.append(row)
    columns = [field.name for field in dataclasses.fields(VideoRecord)]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=columns).to_parquet(temporary, index=False)


def _from(folder: Path, path: str) -> str:
    """The path as the manifest in `folder` says it."""
    if storage.is_url(path):
        return path
    full = Path(os.path.abspath(path))
    return str(full.relative_to(folder)) if full.is_relative_to(folder) else str(full)


def _read_csv(path: Path | io.BytesIO) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str)


def identifier(path: Path, *, keep_suffix: bool = False) -> str:
    """What a file is called in a manifest, from its name and folders; may be that of other files, too."""
    parts = [part for part in path.parts if part not in ("/", "..", ".")]
    if not keep_suffix:
        parts[-1] = Path(parts[-1]).stem or parts[-1]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "__".join(parts)).lstrip(".")
    return name[-180:].lstrip(".") or "video"


def _unique(records: Iterable[VideoRecord]) -> tuple[VideoRecord, ...]:
    records = tuple(records)
    twice = [name for name, count in Counter(record.video_id for record in records).items() if count > 1]
    if twice:
        raise UserError(
            f"The video id {twice[0]!r} stands for more than one video; give each its own video_id."
        )
    return records
