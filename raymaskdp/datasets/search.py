"""The videos below a folder, of a glob or on a store; ignored files are reported.

Outputs of `anonymize` are never sources. They are recognized by the manifest of their folder, by the
provenance beside them, `ID.json`, and by their mark, even after copying or renaming.
"""

from __future__ import annotations

import glob
import json
import mimetypes
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from raymaskdp import places, storage
from raymaskdp.datasets.ids import AMBIGUOUS, IMAGE_SUFFIXES, LAYER, UNREAD_SUFFIXES, VIDEO_SUFFIXES
from raymaskdp.files import SCRATCH, holds_outputs
from raymaskdp.places import Place
from raymaskdp.video.containers.mark import is_marked
from raymaskdp.video.containers.signature import begins_as_video

MANIFEST = "manifest.parquet"
OUTPUT_COLUMNS = frozenset({"status", "source_sha256", "config_sha256"})
"""Columns of the manifest of an output folder that a source's manifest does not have."""

OUTPUT = "written by this project"
HIDDEN = "a hidden file, or in a hidden folder"
BROKEN = "not a file, or a broken link"
CLOSED = "a folder without read permission"
AGAIN = "a link to a folder that is searched anyway"
UNREAD = "of an unsupported format"
NO_STREAM = "called .ts, but not a transport stream"
NO_VIDEO = "with a possible video name, but not a video by its content"
NO_ENDING = "a video by its first bytes, but not by its ending"

LeftOut = dict[str, tuple[str, ...]]
_SYNC = b"G"  # 0x47, the first byte of each packet of a transport stream
_CLOCKED = 4  # bytes of a clock before the packets of some


def below(root: Path, suffixes: Collection[str] = VIDEO_SUFFIXES) -> tuple[list[Path], LeftOut]:
    """The videos in a folder at any depth, linked folders included, relative to it and sorted.

    Or the files with other `suffixes`; what is left out is named all the same.
    """
    found: list[Path] = []
    left_out = _LeftOut()
    seen = {os.path.realpath(root)}
    closed: list[OSError] = []
    for place, folders, names in os.walk(root, followlinks=True, onerror=closed.append):
        folder = Path(place)
        for name in sorted(folders):
            why = _not_entered(folder / name, root, seen)
            if why is not None:
                folders.remove(name)
            if why == AGAIN or (
                why == HIDDEN and any(_ends_in(suffixes, inner) for inner in _files(folder / name))
            ):
                left_out.add(why, f"{folder.relative_to(root) / name}{os.sep if why == HIDDEN else ''}")
        folders.sort()
        for name in names:
            if _ends_in(suffixes, name):
                _judge(folder / name, folder.relative_to(root) / name, found, left_out)
            elif (why := _why_unread(folder / name)) is not None:
                left_out.add(why, str(folder.relative_to(root) / name))
    for error in closed:
        left_out.add(CLOSED, f"{os.path.relpath(error.filename, root)}{os.sep}")
    return sorted(found), left_out.all()


def linked(root: Path) -> set[str]:
    """The targets outside the folder of links that `below` follows."""
    seen = {os.path.realpath(root)}
    for place, folders, _ in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if _not_entered(Path(place, name), root, seen) is None]
    return seen - {os.path.realpath(root)}


def matching(pattern: str, root: Path) -> tuple[list[Path], LeftOut]:
    """The files of a glob, relative to `root`."""
    found: list[Path] = []
    left_out = _LeftOut()
    for match in map(Path, glob.glob(pattern, recursive=True)):
        if not os.path.isdir(match):
            _judge(match, match.relative_to(root), found, left_out)
    return sorted(found), left_out.all()


def root_of(pattern: str) -> Path:
    """The folder of a glob, up to its first part with a wildcard."""
    parts = Path(pattern).parts
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def goes_down(pattern: str) -> bool:
    """Whether a glob can match files in several folders."""
    return any(glob.has_magic(part) for part in Path(pattern).parts[:-1])


def listed(url: str, names: Iterable[str]) -> tuple[list[Path], LeftOut]:
    """The videos among the objects below a URL."""
    there = set(names)
    manifests = [name for name in there if PurePosixPath(name).name == MANIFEST]
    written = {
        str(PurePosixPath(manifest).parent / name)
        for manifest in manifests
        for name in _named_in(places.join(url, manifest))
    }
    found: list[Path] = []
    left_out = _LeftOut()
    for name in sorted(there):
        if not _ends_in(VIDEO_SUFFIXES, name):
            if _unread_by_name(PurePosixPath(name).name):
                left_out.add(UNREAD, name)
            continue
        stem = name.removesuffix(".mp4").removesuffix(LAYER)
        complete = {f"{stem}{suffix}" for suffix in (".mp4", f"{LAYER}.mp4", ".npz", ".json")} <= there
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            left_out.add(HIDDEN, name)
        elif name in written or (complete and is_provenance(storage.read(places.join(url, f"{stem}.json")))):
            left_out.add(OUTPUT, name)
        else:
            found.append(Path(name))
    return found, left_out.all()


def is_output(path: Path) -> bool:
    """Whether a file is a video or an avatar layer that `anonymize` wrote, or a copy in a report."""
    return (
        is_marked(path)
        or _in_scratch(path)
        or any(
            holds_outputs(one.parent) or one.name in _outputs_in(one.parent) or _has_provenance(one)
            for one in ([path, path.resolve()] if os.path.islink(path) else [path])
        )
    )


def _in_scratch(path: Path) -> bool:
    """Whether a file is in a private folder of a run, at any depth; those contain chunks of unfinished
    videos.
    """
    return any(os.path.isfile(folder / SCRATCH) for folder in path.absolute().parents)


class _LeftOut:
    """Names by reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        self._names.setdefault(reason, []).append(name)

    def all(self) -> LeftOut:
        return {reason: tuple(sorted(names)) for reason, names in self._names.items()}


def _judge(path: Path, name: Path, found: list[Path], left_out: _LeftOut) -> None:
    if name.name.startswith("."):
        left_out.add(HIDDEN, str(name))  # such as `._clip.mp4`, which macOS puts beside `clip.mp4`
    elif not os.path.isfile(path) and os.access(path.parent, os.X_OK, effective_ids=True):
        left_out.add(BROKEN, str(name))
    elif not _ends_in(IMAGE_SUFFIXES, name.name) and is_output(path):
        left_out.add(OUTPUT, str(name))
    elif path.suffix.lower() == ".ts" and not _is_stream(path):
        left_out.add(NO_STREAM, str(name))
    elif path.suffix.lower() in AMBIGUOUS and not begins_as_video(path):
        left_out.add(NO_VIDEO, str(name))
    else:
        found.append(name)


def _not_entered(folder: Path, root: Path, seen: set[str]) -> str | None:
    """Why a folder below `root` is not searched; None if it is; a link's target is then added to `seen`."""
    if folder.name.startswith("."):
        return HIDDEN
    if not os.path.islink(folder):
        return None
    real = os.path.realpath(folder)
    if real in seen or _inside(real, root):
        return AGAIN
    seen.add(real)
    return None


def _ends_in(suffixes: Collection[str], name: str) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _why_unread(path: Path) -> str | None:
    """Why an unsupported file may be missed among videos; None if it is not a video."""
    kind = _unread_by_name(path.name)
    if kind is not None:
        return UNREAD if kind else None
    return NO_ENDING if os.path.isfile(path) and begins_as_video(path) else None


def _unread_by_name(name: str) -> bool | None:
    """Whether a name is that of an unsupported video or image; None if the content has to decide."""
    suffix, kind = os.path.splitext(name)[1].lower(), str(mimetypes.guess_type(name)[0])
    if name.startswith("."):
        return False
    if suffix in UNREAD_SUFFIXES | IMAGE_SUFFIXES or kind.startswith(("video/", "image/")):
        return True
    return False if kind.startswith("audio/") else None


def _files(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def _inside(real: str, root: Path) -> bool:
    return Path(real).is_relative_to(os.path.realpath(root)) or Path(os.path.realpath(root)).is_relative_to(
        real
    )


def _is_stream(path: Path) -> bool:
    """Whether a file is not TypeScript, by its first bytes; one that cannot be read fails later, by name."""
    try:
        with open(path, "rb") as opened:
            head = opened.read(_CLOCKED + 1)
    except OSError:
        return True
    return not head or _SYNC in (head[:1], head[_CLOCKED:])


_manifests: dict[tuple[Path, int], frozenset[str]] = {}


def _outputs_in(folder: Path) -> frozenset[str]:
    """The files that the manifest of a folder names as outputs; none without one."""
    if not os.path.isfile(folder / MANIFEST):
        return frozenset()  # also for a pipe, which may never have data
    try:
        key = (folder.absolute(), (folder / MANIFEST).stat().st_mtime_ns)
    except OSError:
        return frozenset()
    if key not in _manifests:
        _manifests[key] = _named_in(folder / MANIFEST)
    return _manifests[key]


def _named_in(manifest: Place) -> frozenset[str]:
    try:
        with storage.local_copy(manifest) as copy:
            table = pd.read_parquet(copy)
    except (OSError, ValueError):
        return frozenset()
    if not OUTPUT_COLUMNS | {"video_id"} <= set(table.columns):
        return frozenset()
    done = table[table["status"] == "done"]["video_id"].astype(str)
    return frozenset(f"{name}{suffix}" for name in done for suffix in (".mp4", f"{LAYER}.mp4"))


def _has_provenance(path: Path) -> bool:
    for stem in {path.name.removesuffix(".mp4"), path.name.removesuffix(f"{LAYER}.mp4")}:
        about = path.with_name(f"{stem}.json")
        if not os.path.isfile(about):
            continue
        try:
            content = about.read_bytes()
        except OSError:
            continue
        if is_provenance(content, path.name):
            return True
    return False


def is_provenance(content: bytes, name: str | None = None) -> bool:
    """Whether this is a provenance of `anonymize`, one of whose files is called `name`."""
    try:
        values = json.loads(content)
    except ValueError:
        return False
    if not isinstance(values, Mapping) or not {"video_id", "outputs", "config_sha256"} <= values.keys():
        return False
    named = (values["outputs"], values.get("claimed") or {})
    if not all(isinstance(names, Mapping) for names in named):
        return False
    return name is None or any(name in names for names in named)
