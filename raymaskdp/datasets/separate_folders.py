"""Sources and outputs are separate: a command must not write to a folder that it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from raymaskdp import places
from raymaskdp.datasets import search
from raymaskdp.datasets.manifest import TABLE_SUFFIXES, VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.places import Place


def keep_apart(
    out: Place,
    source: Place,
    records: Sequence[VideoRecord],
    others: Iterable[Path] = (),
    *,
    writes: str = "The output folder",
) -> None:
    """Raise `UserError` if the output folder, or another that is written to, is, contains, or is inside a
    folder that is read.

    The source folder, or the folder that a glob searches, must not contain the output folder at any depth,
    nor the reverse; the same applies to a folder that a link in it leads to. A single file, and one that a
    table names, must not be in the output folder or below it. The output folder may be beside it, in the same
    folder, which is the usual case.

    Args:
      others: further files and folders that are read, such as those that settings name.
      writes: the name of `out` in messages.
    """
    given = places.place(source) if isinstance(source, str) else source
    searched = _searched(given)
    for folder in () if searched is None else (searched, *_linked(searched)):
        if places.within(out, folder) or places.within(folder, out):
            raise _meet(writes, out, folder)
    files = {record.path for record in records} | {record.skeleton for record in records if record.skeleton}
    for folder in {folder for place in (*files, given, *others) for folder in _folders(place)} - {searched}:
        if places.within(folder, out):
            raise _meet(writes, out, folder)


def require_sources(records: Iterable[VideoRecord], instead: str = "the video that it was made from") -> None:
    """Raise `UserError` if one of the videos is an output of `anonymize`; give `instead`."""
    for record in records:
        if not places.is_url(record.path) and search.is_output(Path(record.path)):
            raise UserError(
                f"{record.path} was written by this project, and outputs are never sources; give {instead}."
            )


def _searched(source: Place) -> Place | None:
    """The folder that is searched for videos, if any."""
    if places.is_url(source):
        return source if Path(source).suffix.lower() not in TABLE_SUFFIXES | search.VIDEO_SUFFIXES else None
    path = Path(source)
    if os.path.isdir(path):
        return path
    return search.root_of(str(source)) if not os.path.exists(path) and search.goes_down(str(source)) else None


def _linked(searched: Place) -> set[str]:
    return set() if places.is_url(searched) else search.linked(Path(searched))


def _folders(place: Place) -> list[Place]:
    """The folder of a file, and that of its link target; a folder itself."""
    if places.is_url(place):
        return [places.split(str(place))[0]]
    path = Path(place)
    if os.path.isdir(path):
        return [path]
    return [path.parent, path.resolve().parent] if os.path.islink(path) else [path.parent]


def _meet(writes: str, out: Place, folder: Place) -> UserError:
    return UserError(
        f"{writes} {out} and {folder}, which is read, are the same or one is in the other; "
        "give a folder beside it, so that no source is overwritten, or published with outputs."
    )
