"""Where a run keeps what is private: beside its output folder, as far as that can be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from raymaskdp.files import cache_dir, make_folder
from raymaskdp.places import Place

INSIDE = ".raymaskdp"
"""What the names of private folders in an output folder begin with."""


def home_of(out: Place) -> Path:
    """The output folder; for one on a store a folder of this machine, for what never goes there."""
    if isinstance(out, Path):
        return out
    return cache_dir() / "stores" / hashlib.sha256(out.encode()).hexdigest()[:16] / "out"


def beside(out: Path, kind: str) -> Path:
    """The hidden path next to an output folder: not in what is published."""
    full = out.resolve()
    return full.with_name(f".{full.name}.{kind}")


def inside(out: Path, kind: str) -> Path:
    """The hidden path in an output folder."""
    return out.resolve() / f"{INSIDE}.{kind}"


def passing(out: Path, kind: str) -> Path:
    """The path of a folder from which files can be moved into the output folder, and that goes with the run.

    In the output folder where that is a mount point, or where nothing may be written beside it.
    """
    return beside(out, kind) if _moves(out) else inside(out, kind)


def lasting(out: Path, kind: str) -> Path:
    """The path of what outlives runs and must never be published; in the cache where none may be beside."""
    near = beside(out, kind)
    far = _far(out, kind)
    if near.exists() or (not far.exists() and _writable(near.parent)):
        return near
    far.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return far


def kept(out: Path, kind: str) -> Path:
    """Where `lasting` has put something, looked up without writing anything."""
    near = beside(out, kind)
    return near if near.exists() else _far(out, kind)


def existing(out: Path, kind: str) -> Path:
    """Where a running run has its folder of this kind."""
    return inside(out, kind) if inside(out, kind).exists() else beside(out, kind)


def private(folder: Path) -> Path:
    """A folder that only its owner can look into."""
    make_folder(folder, mode=0o700)
    return folder


def ignores_case(folder: Path) -> bool:
    """Whether a folder takes names that differ in capitals for the same."""
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
    """Whether a file beside an output folder can be moved into it: tried, as mounts do not always show."""
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
