"""Finished videos in an output folder that are missing in its manifest, because a run was killed or the table
was removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raymaskdp import places, storage
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.manifest import DATA_SUFFIXES, Row
from raymaskdp.places import Place


def unlisted(out: Place, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Their rows by id, from their provenance. Other files in the folder are ignored."""
    names = set(storage.versions(out, below=False)) if isinstance(out, str) else _files(out)
    candidates = [
        name.removesuffix(".json")
        for name in sorted(names)
        if name.endswith(".json")
        and name.removesuffix(".json") not in rows
        and {f"{name.removesuffix('.json')}{suffix}" for suffix in DATA_SUFFIXES} <= names
    ]
    found = {video_id: _row(video_id, about) for video_id, about in _provenances(out, candidates)}
    return {video_id: row for video_id, row in found.items() if row is not None}


def _files(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_file() and not path.is_symlink()}


def _provenances(out: Place, names: list[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    if isinstance(out, str):
        content = storage.read_all([places.join(out, f"{name}.json") for name in names])
        for url, text in content.items():
            yield places.split(url)[1].removesuffix(".json"), manifest.parse_provenance(text)
    else:
        for name in names:
            yield name, manifest.read_provenance(out, name)


def _row(video_id: str, about: dict[str, Any] | None) -> Row | None:
    if about is None:
        return None
    try:
        row = Row(**about["row"])
    except TypeError:
        return None
    complete = (row.video_id, row.status, row.path) == (video_id, "done", f"{video_id}.mp4")
    return row if complete else None
