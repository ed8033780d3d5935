"""The videos of a data set: one row for each video, from a file, a folder, a glob or a table."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from raymaskdp import places, storage
from raymaskdp.datasets import search
from raymaskdp.datasets.display_names import plain
from raymaskdp.datasets.ids import VIDEO_SUFFIXES, stable_id, why_no_id
from raymaskdp.datasets.tables import text_of
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.places import Place

TABLE_SUFFIXES = frozenset({".parquet", ".csv"})
TABLES = ("manifest.parquet", "manifest.csv")
"""The names of a table that replaces the search of a folder."""


NAMES = ("label", "split", "subject", "camera")
"""Fields in which equal names mean the same."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One video, the default unit of privacy.

    Attributes:
      video_id: unique in its manifest; letters, digits, `.`, `_`, `-`; names the output files.
      path: the source video; a file, or a URL of an object store.
      label: the action, or None if unknown.
      split: "train", "test", …, or None.
      subject: the person in the video, for subject-level privacy and one avatar for each person; or None.
      camera: the fixed camera of the recording, for shared backgrounds; or None.
      setup, replication: arrangement of the cameras, and repetition by the subject; or None.
      skeleton: file with the recorded joints, or None.

    A label that starts with `|`, as in `|Edema|Pleural Effusion|`, is a set of findings, any of which may be
    present; `|` is the empty set.
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
        for name in NAMES:
            text: str | None = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, plain(text))
        if wrong := why_no_id(self.video_id):
            raise UserError(f"The video id {self.video_id!r} {wrong}; rename it in the manifest.")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The contents of a source.

    Attributes:
      records: its videos.
      left_out: names of ignored files that look like videos, or could be, by the reason.
    """

    records: tuple[VideoRecord, ...]
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_source(source: Place) -> tuple[VideoRecord, ...]:
    """The records of `find_source`."""
    return find_source(source).records


def find_source(source: Place) -> Found:
    """The records of a video file, a folder (with subfolders), a glob, or a manifest table.

    A folder with a `manifest.parquet` or `manifest.csv` is read by that table. All but globs may be on an
    object store. Outputs of `anonymize` are never sources: below a folder they are ignored. Raises
    `UserError` if the source is missing, has no video, or is an output folder.
    """
    if places.is_url(source):
        return _find_url(str(places.place(str(source))))
    path = Path(source)
    if os.path.isdir(path):
        for name in TABLES:
            if os.path.isfile(path / name):
                return Found(records=read_table(path / name))
        names, left_out = search.below(path)
        if not names:
            raise UserError(f"The folder {source} has no video{_and(left_out)}.")
        return Found(records=_named(names, path), left_out=left_out)
    if os.path.isfile(path):
        if path.suffix.lower() in TABLE_SUFFIXES:
            return Found(records=read_table(path))
        return Found(records=_named([Path(path.name)], path.parent))
    root = search.root_of(str(source))
    names, left_out = search.matching(str(source), root)
    if not names:
        raise UserError(
            f"The source {source} does not exist{_and(left_out)}; "
            "give a video, a folder, a glob or a manifest."
        )
    return Found(records=_named(names, root), left_out=left_out)


def _find_url(url: str) -> Found:
    """The records of a folder, a table or a video on an object store."""
    suffix = Path(url).suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return Found(records=read_table(url))
    found = storage.versions(url)
    for name in TABLES:
        if name in found:
            return Found(records=read_table(places.join(url, name)))
    names, left_out = search.listed(url, found)
    if not names:
        folder, name = places.split(url)
        if suffix not in VIDEO_SUFFIXES or storage.version(url) is None:
            raise UserError(
                f"There is no video at {url}{_and(left_out)}; give a folder, a video or a manifest."
            )
        url, names = folder, [Path(name)]
    return Found(
        records=_unique(
            VideoRecord(video_id=stable_id(name), path=places.join(url, name.as_posix())) for name in names
        ),
        left_out=left_out,
    )


def _and(left_out: Mapping[str, Sequence[str]]) -> str:
    return "".join(f", but {len(names)} ignored: {reason}" for reason, names in left_out.items())


def _named(names: Iterable[Path], root: Path) -> tuple[VideoRecord, ...]:
    """Records named after files and their folders below `root`."""
    return _unique(VideoRecord(video_id=stable_id(name), path=str(root / name)) for name in names)


def read_table(path: Place) -> tuple[VideoRecord, ...]:
    """Records from a Parquet or CSV table; `path` is required, relative paths start at the table.

    The table, and what it names, may be on an object store. A table there names nothing of this machine. A
    list in the column `label` is a set of findings. Raises `UserError` for a table that cannot be read so.
    """
    content = io.BytesIO(storage.read(str(path))) if places.is_url(path) else Path(path)
    try:
        read = _read_parquet if Path(path).suffix.lower() == ".parquet" else _read_csv
        table = _columns(read(content), path)
        rows = _rows(table)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise UserError(f"Cannot read the manifest {path}: {why}.") from error
    if set(table.columns) >= search.OUTPUT_COLUMNS:
        raise UserError(
            f"{path} is the manifest of an output folder of anonymize, or a copy of one, and outputs are "
            "never sources; give the folder or the manifest of the videos, or, to prepare, the output folder "
            "itself."
        )
    if "path" not in table.columns:
        raise UserError(
            f"The manifest {path} needs a column 'path'; it has {', '.join(map(str, table.columns))}."
        )
    if table.empty:
        raise UserError(f"The manifest {path} has no row.")
    records = []
    for values in rows:
        if "path" not in values:
            raise UserError(f"The manifest {path} has a row without a path; fill it in or remove the row.")
        for place in values.keys() & {"path", "skeleton"}:
            values[place] = _beside(path, values[place])
        name = _name_of(path, values["path"])
        if not name.name:
            raise UserError(f"The manifest {path} names the folder {values['path']} as a video; correct it.")
        values.setdefault("video_id", stable_id(name))
        records.append(VideoRecord(**values))
    return _unique(records)


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The fields of each row, without empty ones. Raises `ValueError` for a column that holds no text."""
    fields = [field.name for field in dataclasses.fields(VideoRecord)]
    rows = []
    for row in table[[name for name in fields if name in table.columns]].to_dict("records"):
        given = {str(name): text_of(row[name], str(name), findings=("label",)) for name in row}
        texts = {name: text for name, text in given.items() if text is not None}
        rows.append(
            {name: text for name, text in texts.items() if (plain(text) if name in NAMES else text.strip())}
        )
    return rows


def _name_of(table: Place, path: str) -> Path:
    """The name of a table's video: relative to the table's folder, or the whole path if it is elsewhere."""
    if places.is_url(path):
        folder = f"{places.split(str(table))[0]}/"
        return Path(path.removeprefix(folder).split("://")[-1])
    full, folder = os.path.abspath(path), os.path.abspath(Path(table).parent)
    if not Path(full).is_relative_to(folder):  # one name, independent of links
        full = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(full))
        folder = os.path.realpath(folder)
    return Path(os.path.relpath(full, folder) if Path(full).is_relative_to(folder) else full.lstrip("/"))


def _beside(table: Place, name: str) -> str:
    """The place that a name in a table refers to: a URL, or a path relative to the table."""
    if places.is_url(name):
        return str(places.place(name))
    if places.is_url(table):
        return places.join(places.split(str(table))[0], name)
    return str(Path(table).parent / name)


def labels_of(label: str | None) -> tuple[str, ...]:
    """The label of a record, or the findings of its set; none if it is not labelled."""
    if label is None:
        return ()
    return tuple(part for part in label.split("|") if part) if label.startswith("|") else (label,)


def write_table(path: Place, records: Iterable[VideoRecord], *, of: Path | None = None) -> None:
    """Write records as a Parquet manifest; paths inside its folder become relative to it.

    `of` is their source, as in `files.atomic_path`.
    """
    folder = Path(os.path.abspath(path)).parent
    rows = []
    for record in records:
        row = dataclasses.asdict(record)
        row["path"] = _from(folder, record.path)
        row["skeleton"] = None if record.skeleton is None else _from(folder, record.skeleton)
        rows.append(row)
    columns = [field.name for field in dataclasses.fields(VideoRecord)]
    with atomic_path(path, of=of) as temporary:
        pd.DataFrame(rows, columns=columns).to_parquet(temporary, index=False)


def _from(folder: Path, path: str) -> str:
    """The path as written in a manifest in `folder`."""
    if places.is_url(path):
        return path
    full = Path(os.path.abspath(path))
    return str(full.relative_to(folder)) if full.is_relative_to(folder) else str(full)


def _read_parquet(path: Path | io.BytesIO) -> pd.DataFrame:
    return pd.read_parquet(path).convert_dtypes()  # missing values must not convert integers to floats


def _read_csv(path: Path | io.BytesIO) -> pd.DataFrame:
    """A CSV file as spreadsheets and people write it: a byte-order mark, blanks after commas, and commas at
    the ends of lines are ignored.

    Values are literal: a label may be `None`, `NA` or `null`. Only an empty field is None. Raises
    `ValueError` for a line with more fields than there are columns.
    """
    content = path.read_bytes() if isinstance(path, Path) else path.read()
    lines = csv.reader(io.StringIO(_text(content), newline=""), skipinitialspace=True, strict=True)
    rows: list[list[str | None]] = []
    try:
        for fields in lines:
            fields = [field.strip() for field in fields]
            width = len(rows[0]) if rows else len(fields)
            if any(fields[width:]):
                raise ValueError(
                    f"line {lines.line_num} has {len(fields)} fields for {width} columns; "
                    "put fields with commas in quotes"
                )
            if any(fields):
                rows.append([field or None for field in fields[:width]] + [None] * (width - len(fields)))
    except csv.Error as error:
        raise ValueError(
            f"line {lines.line_num} is not CSV, perhaps because of an extra quote ({error})"
        ) from error
    if not rows:
        raise ValueError("it is empty")
    header, *rows = rows
    return pd.DataFrame(rows, columns=[name or "" for name in header], dtype=object)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8; save the table as CSV in UTF-8") from error
    if "\0" in text:
        raise ValueError(
            f"line {text[: text.index(chr(0))].count(chr(10)) + 1} has a zero byte; fix the file"
        )
    return text


def _columns(table: pd.DataFrame, path: Place) -> pd.DataFrame:
    """The table with normalized column names, without surrounding blanks and capitals."""
    fields = {field.name for field in dataclasses.fields(VideoRecord)}
    names = [str(name).strip() for name in table.columns]
    names = [name.lower() if name.lower() in fields else name for name in names]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in fields]
    if twice:
        raise UserError(f"The manifest {path} has more than one column {twice[0]!r}; keep one of them.")
    others = sorted({name for name, count in Counter(names).items() if count > 1})
    if others:
        _log.warning("The manifest %s has more than one column %r, which is not used here.", path, others[0])
    return table.set_axis(names, axis=1)


def _unique(records: Iterable[VideoRecord]) -> tuple[VideoRecord, ...]:
    records = tuple(records)
    twice = [name for name, count in Counter(record.video_id for record in records).items() if count > 1]
    if twice:
        raise UserError(
            f"The video id {twice[0]!r} is used for more than one video; give each its own video_id."
        )
    return records
