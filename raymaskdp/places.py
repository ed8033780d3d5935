"""Places: a path, or the URL of an object store (`s3://`, `gs://`). This is the only type for both.

A `Place` is a user's input for a source or an output; `place` converts text to a `Path`, or to the `str` of a
URL. A `LocalPath` is a file or folder of this machine. Operations on the content of URLs are in `storage`.
docs/design.md explains why a place is not a `UPath`.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from raymaskdp import locks
from raymaskdp.errors import UserError

Place: TypeAlias = str | Path
"""A path, or a URL of an object store."""

LocalPath: TypeAlias = str | os.PathLike[str]
"""A path of this machine, as text or not; never a URL."""

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
"""Schemes and their libraries; the optional dependencies have the same names: s3, gcs."""


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_url(place: Place) -> bool:
    """Whether a place is a URL, of any scheme, and not a path."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


def place(text: str) -> Place:
    """A user's input: a valid URL, without a trailing slash, or a path.

    Raises `UserError` for a URL with secrets, of an unknown scheme, or without a bucket.
    """
    if not is_url(text):
        return Path(text)
    scheme, rest = text.split("://", 1)
    bucket = rest.split("/", 1)[0]
    # The wrong part is not repeated, because it may be a secret.
    if "@" in bucket or re.search(r"[?#]", rest):
        raise UserError(
            f"A URL {scheme}://… must have no user, password, query or signature; give credentials in the "
            "environment or in a mounted file, as the store's own tools read them."
        )
    if scheme not in LIBRARIES:
        known = ", ".join(f"{name}://" for name in LIBRARIES)
        raise UserError(f"Cannot work with {scheme}:// URLs, but with {known} and paths.")
    if not bucket or ".." in rest.split("/"):
        raise UserError(f"The URL {text} must name a bucket, and have no '..'.")
    return text.rstrip("/")


def printable(text: str) -> str:
    r"""A path, or a sentence with one, for tables and terminals: bytes that are not UTF-8 become `\\xe9`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    r"""A text for terminals and lists: control characters, including line ends, become `\\x1b`."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", printable(text))


def require_ordinary(path: LocalPath, what: str = "") -> None:
    """Raise `UserError` for anything but a file or folder, such as a pipe: reading it may never end.

    Also for a name that no file system takes. Where nothing is, nothing is raised. `what` names the setting
    or the kind of file.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{what} {path} has too long a name; give a shorter one.".lstrip()) from error
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(f"{what} {path} is a pipe, a socket or a device; give a file.".lstrip())


def named(text: str) -> str:
    """The path that `printable` converted to a text; the text itself if that exists, or if it is a URL."""
    if is_url(text) or os.path.lexists(text):
        return text
    parts = re.split(r"\\x([0-9a-f]{2})", text)
    raw = b"".join(bytes.fromhex(part) if n % 2 else os.fsencode(part) for n, part in enumerate(parts))
    return os.fsdecode(raw) if os.path.lexists(raw) else text


def join(folder: str, name: str) -> str:
    """The URL of `name` below `folder`; raises `UserError` if it would be elsewhere."""
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"The name {name!r} leads out of {folder}; give names below it, or URLs.")
    return f"{folder.rstrip('/')}/{name}"


def split(url: str) -> tuple[str, str]:
    """The URL of the folder of an object, and the object's name."""
    folder, name = url.rstrip("/").rsplit("/", 1)
    return folder, name


def within(inner: Place, outer: Place) -> bool:
    """Whether the folder `inner` is `outer`, or is below it, however both are written.

    Local folders are compared by identity, so links, mounts and equivalent spellings do not matter; neither
    has to exist. URLs are compared part by part.
    """
    if is_url(inner) != is_url(outer):
        return False
    if is_url(inner):
        parts, wanted = _parts(str(inner)), _parts(str(outer))
        return parts[: len(wanted)] == wanted
    full = Path(os.path.realpath(inner))  # which does not mind circles of links
    if not os.path.isdir(outer):
        return full.is_relative_to(os.path.realpath(outer))  # that is to come
    return any(os.path.exists(folder) and folder.samefile(outer) for folder in (full, *full.parents))


def _parts(url: str) -> list[str]:
    """Store, bucket and folders of a URL; empty parts, which some tools drop, are ignored."""
    scheme, rest = url.split("://", 1)
    return [
        LIBRARIES.get(scheme.lower(), scheme),
        *(part for part in rest.split("/") if part not in ("", ".")),
    ]


def only_local(where: Place, *, why: str) -> Path:
    """`where` as a path, for commands that need local folders; a URL is a `UserError`."""
    if is_url(where):
        raise UserError(f"{where} is on an object store, and {why}; copy the folder here and give the copy.")
    return Path(where)


def find_below(root: Path, *patterns: str) -> list[Path]:
    """Files and folders with names like these below a folder, at any depth, sorted.

    Links to folders are followed, except to one that is searched anyway, so that circles end.
    """
    found: list[Path] = []
    seen: set[str] = set()
    whole = os.path.realpath(root)
    for place, folders, files in os.walk(root, followlinks=True):
        folder = Path(place)
        found += (
            folder / name
            for name in (*folders, *files)
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        )
        for name in sorted(folders):
            real = os.path.realpath(folder / name)
            known = os.path.islink(folder / name) and Path(real).is_relative_to(whole)
            if known or real in seen or Path(whole).is_relative_to(real):
                folders.remove(name)
            else:
                seen.add(real)
        folders.sort()
    return sorted(found)


PREFIX = "raymaskdp-"
MARK = ".temporary-of-raymaskdp"
"""A file in each temporary folder, locked as long as its process lives."""

KEPT_SECONDS = 24 * 3600
"""Age from which the folder of a process that is gone is removed."""


@contextlib.contextmanager
def temporary_folder(kind: str = "") -> Iterator[Path]:
    """A private folder that goes with the block; the first one of a process removes what others left."""
    _remove_old_ones()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}") as made:
        mark = Path(made) / MARK
        mark.touch()
        folder = Path(made) / "content"
        folder.mkdir(mode=0o700)
        with locks.held(mark):
            yield folder


def remove_leftovers(now: float) -> None:
    """Remove the folders of this user's killed processes that are older than a day."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = os.lstat(folder)
            old = os.stat(folder / MARK).st_mtime < now - KEPT_SECONDS
            if old and status.st_uid == os.geteuid() and not folder.is_symlink():
                with locks.held(folder / MARK):  # otherwise its process lives
                    shutil.rmtree(folder)


@functools.cache
def _remove_old_ones() -> None:
    remove_leftovers(time.time())
