"""The private folders of a run: next to its output folder if possible."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from raymaskdp.files import cache_dir, make_folder
from raymaskdp.places import Place

INSIDE = ".raymaskdp"
"""Prefix of the names of private folders inside an output folder."""

CHUNKS = "pieces"
"""Kind of the folder of chunks. The name is that of earlier versions, so that what they left is found."""


def home_of(out: Place) -> Path:
    """The output folder; for an output on a store, a local folder for files that are never published."""
    if isinstance(out, Path):
        return out
    return cache_dir() / "stores" / hashlib.sha256(out.encode()).hexdigest()[:16] / "out"


def beside(out: Path, kind: str) -> Path:
    """The hidden path next to an output folder; it is not part of the published folder."""
    full = out.resolve()
    return full.with_name(f".{full.name}.{kind}")


def inside(out: Path, kind: str) -> Path:
    """The hidden path in an output folder."""
    return out.resolve() / f"{INSIDE}.{kind}"


def staging(out: Path, kind: str) -> Path:
    """The path of a folder for unverified files, from which files can be moved into the output folder.

    It is inside the output folder if that is a mount point, or if its parent folder is not writable. It is
    deleted at the end of the run.
    """
    return beside(out, kind) if _moves(out) else inside(out, kind)


def persistent(out: Path, kind: str) -> Path:
    """The path of data that outlive runs and must never be published; in the cache if the parent is not
    writable.
    """
    near = beside(out, kind)
    far = _far(out, kind)
    if near.exists() or (not far.exists() and _writable(near.parent)):
        return near
    far.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return far


def find_persistent(out: Path, kind: str) -> Path:
    """The path that `persistent` returned earlier, without writing anything."""
    near = beside(out, kind)
    return near if near.exists() else _far(out, kind)


def existing(out: Path, kind: str) -> Path:
    """The path of this kind of folder of a running run."""
    return inside(out, kind) if inside(out, kind).exists() else beside(out, kind)


def private(folder: Path) -> Path:
    """A folder that only its owner can read."""
    make_folder(folder, mode=0o700)
    return folder


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder is case-insensitive."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{INSIDE}-a") as probe:
        return Path(probe.name).with_name(Path(probe.name).name.upper()).exists()


def _far(out: Path, kind: str) -> Path:
    return cache_dir() / "outputs" / hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16] / kind


def _writable(folder: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=INSIDE):
            return True
    except OSError:
        return False


def _moves(out: Path) -> bool:
    """Whether a file next to an output folder can be moved into it. It is tried, because mounts are not
    always visible.
    """
    full = out.resolve()
    try:
        with tempfile.NamedTemporaryFile(dir=full.parent, prefix=INSIDE, delete=False) as probe:
            pass
    except OSError:
        return False
    moved = full / Path(probe.name).name
    try:
        os.rename(probe.name, moved)
        return True
    except OSError:
        return False
    finally:
        for path in (Path(probe.name), moved):
            with contextlib.suppress(OSError):
                path.unlink()
