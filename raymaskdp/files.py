"""Files that are complete or absent: written to a temporary name, synced, then renamed. And the cache folder.

An output may have the name of a user's file. So every folder that is written to has a list,
`.made-by-raymaskdp`, of the names and digests of written files, and an existing file is replaced only if the
list has it unchanged. If the list names the source of a file, such as the run of a report, the file is
replaced only by one with the same source.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raymaskdp.errors import Damaged, MachineError, UserError
from raymaskdp.places import LocalPath, Place, within

MADE = ".made-by-raymaskdp"
"""In a folder: the files that this project wrote there, a line each, in the format of `sha256sum`."""

OUTPUTS = "# outputs, never sources"
"""Line of such a list that marks the whole folder."""


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

OF = ":of:"
"""In such a list, after a digest: the source of the file."""

SCRATCH = ".scratch-of-raymaskdp"
"""Marks a folder that is removed with all its contents."""


@contextlib.contextmanager
def atomic_path(
    path: LocalPath, *, ours: bool = False, of: Place | None = None, scores: bool = False
) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block succeeds, removed otherwise.

    The temporary name keeps the suffix, which video writers need, and starts with a dot. Raises `UserError`,
    before the work and after it, if there is a file that this project did not write.

    Args:
      ours: whether it is known otherwise that no file of the user's can be there: from its content, or
        because the folder is a private one of this project. It is then neither looked up nor listed.
      of: the folder or file of its source, or a name for another source.
      scores: whether it has scores without noise. A digest lets anyone test a guess, so theirs is in the list
        in the folder `private`, not in the one beside it.
    """
    final = Path(path)
    make_folder(final.parent)
    if not ours:
        require_ours(final, of=of)
    temporary = final.with_name(f".{uuid.uuid4().hex[:12]}.{final.name}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        if not ours:
            require_ours(final, of=of)
            digest = sha256_file(temporary)
            folder = private_folder(final.parent) if scores else final.parent
            for name in _names(final, of):
                _enter(folder, final.name, f"{digest}{OF}{name}")
            _enter(folder, final.name, digest)  # first, so that the list has every visible file
        os.replace(temporary, final)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise MachineError(
                f"There is no room left for {final}; free some, and run the same command again."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents if they are missing. Raises `UserError` without permission.

    Tables, pages and videos contain the name of their folder, as UTF-8.
    """
    try:
        os.fsencode(folder).decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"Cannot write to the folder {folder}: its name is not UTF-8; give another."
        ) from error
    taken = next((at for at in (folder, *folder.parents) if os.path.isfile(at)), None)
    if taken is not None:
        raise UserError(f"{taken} is a file, and {folder} would be a folder; give another.")
    link = next(
        (at for at in (folder, *folder.parents) if os.path.islink(at) and not os.path.isdir(at)), None
    )
    if link is not None:
        raise UserError(
            f"{link} is a link that leads to no folder; make the one that it leads to, or give another place."
        )
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise MachineError(
            f"Cannot write to the folder {folder}: {error.strerror}; give another, or change its permissions."
        ) from error


def require_ours(path: Path, *, of: Place | None = None) -> None:
    """Raise `UserError` if there is a file at `path` that this project did not write, or that was changed.

    Or that has another source than `of`, as in `atomic_path`.
    """
    if not os.path.lexists(path):
        return
    known = _known(path)
    digest = sha256_file(path) if path.is_file() and not path.is_symlink() else ""
    if not known or digest not in known:
        raise UserError(
            f"{path} exists already and is not unchanged output of this project; "
            "move it away, or give another place."
        )
    made = {entry.partition(OF)[2] for entry in known if entry.startswith(f"{digest}{OF}")}
    if of is not None and made and made.isdisjoint(_names(path, of)):
        raise UserError(
            f"{path} exists already and was made of {max(made, key=len)}, not of {of}; "
            "move it away, or give another place."
        )


def require_free(folder: Path, names: Iterable[str]) -> None:
    """The same for files at the end of a run: checked before the work, so that it is not wasted."""
    for name in names:
        require_ours(folder / name)


def _names(path: Path, of: Place | None) -> tuple[str, ...]:
    """The source of a file, as an absolute path and relative to the file, because either may move."""
    if not isinstance(of, Path):
        return () if of is None else (of,)
    whole = os.path.realpath(of)
    return whole, os.path.relpath(whole, os.path.realpath(path.parent))


def set_aside(path: Path) -> None:
    """Rename the file at `path` within its folder, so that it is not overwritten."""
    if os.path.lexists(path):
        digest = sha256_file(path) if path.is_file() else "0" * 64
        os.replace(path, path.with_name(f"{path.name}.set-aside-{digest[:8]}"))


def make_way(path: Path) -> None:
    """The same for a file that is not unchanged output of this project; others may be overwritten."""
    try:
        require_ours(path)
    except UserError:
        set_aside(path)


def mark_outputs(folder: Path) -> None:
    """Mark a folder whose videos are never sources."""
    make_folder(folder)
    if not holds_outputs(folder):
        _append(folder, OUTPUTS)


def holds_outputs(folder: Path) -> bool:
    """Whether `mark_outputs` was called for a folder."""
    return OUTPUTS in _lists.of(folder).get("", ())


def require_unpublished(path: Path, outputs: Iterable[Path]) -> None:
    """Raise `UserError` for a place within a folder of outputs, for what shows people as they are."""
    for folder in outputs:
        if within(path, folder):
            raise UserError(
                f"{path} would show people as they are, and {folder} holds what may be passed on; "
                "give a place outside of it with --out."
            )


def remove_made(folder: Path) -> None:
    """Remove from a folder the unchanged files that this project wrote."""
    for name, digests in _lists.of(folder).items():
        path = folder / name
        if name and path.is_file() and not path.is_symlink() and sha256_file(path) in digests:
            path.unlink()
    if set(os.listdir(folder) if folder.is_dir() else ()) == {MADE}:
        (folder / MADE).unlink()
        folder.rmdir()


def own_folder(path: Path, *, mode: int = 0o777, known: bool = False, mark: str = MADE) -> Path:
    """A folder with files of this project only: a new or empty one, or one that was created here before.

    Raises `UserError` if there are other files in it.

    Args:
      mode: of a new one.
      known: whether it is known otherwise that it was created here.
      mark: name of the file that marks it.
    """
    make_folder(path, mode=mode)
    if not (path / mark).is_file():
        if not known and any(path.iterdir()):
            raise UserError(f"{path} is needed for files of this project, but has others; move it away.")
        (path / mark).touch()
    return path


def scratch_folder(path: Path) -> Path:
    """The same, accessible to its owner only; `remove_scratch` may remove it with all its contents."""
    return own_folder(path, mode=0o700, mark=SCRATCH)


def remove_scratch(path: Path) -> None:
    """Remove a folder of `scratch_folder`; other folders are kept."""
    if path.is_symlink() or not (path / SCRATCH).is_file():
        return
    for inner in path.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner, ignore_errors=True)
        elif inner.name != SCRATCH:  # last, so that the next process recognizes the folder after a kill
            inner.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


class _Lists:
    """The lists of this process's folders. Each is read incrementally, because they grow long."""

    def __init__(self) -> None:
        """Digests by name; marks have the name ""."""
        self._read: dict[Path, tuple[bytes, int, dict[str, set[str]]]] = {}
        self._lock = threading.Lock()

    def of(self, folder: Path) -> Mapping[str, set[str]]:
        """Digests by name; what is marked has the name "" there."""
        with self._lock, contextlib.suppress(OSError), open(folder / MADE, "rb") as made:
            head, offset, known = self._read.get(folder.absolute(), (b"", 0, {}))
            if not head or made.readline() != head or made.seek(0, os.SEEK_END) < offset:
                made.seek(0)  # the list was replaced
                head, offset, known = made.readline(), 0, {}
            made.seek(offset)
            *lines, _ = made.read().split(b"\n")
            for line in lines:
                digest, _, name = os.fsdecode(line).partition("  ")
                known.setdefault(_unescaped(name), set()).add(_unescaped(digest))
                offset += len(line) + 1
            self._read[folder.absolute()] = head, offset, known
            return known
        return {}


_lists = _Lists()


def _known(path: Path) -> set[str]:
    """Digests of a file in the lists of its folder."""
    folders = (path.parent, path.parent / "private")
    return set().union(*(_lists.of(folder).get(path.name, ()) for folder in folders))


def _enter(folder: Path, name: str, digest: str) -> None:
    if digest not in _lists.of(folder).get(name, ()):
        _append(folder, f"{_escaped(digest)}  {_escaped(name)}")


def _escaped(name: str) -> str:
    """A name on one line, without the two blanks that end a digest."""
    return re.sub(" (?= |$)", r"\\s", name.replace("\\", "\\\\").replace("\n", "\\n"))


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "s": " "}.get(found[1], found[1]), name)


def _append(folder: Path, line: str) -> None:
    try:
        with open(folder / MADE, "ab+") as made:
            end = made.seek(0, os.SEEK_END)
            made.seek(max(0, end - 1))
            # A new line after an incomplete one of a killed process. Others may be writing, so nothing is
            # removed, and this is a single write, so that lines do not mix.
            begin = "" if made.read() in (b"", b"\n") else "\n"
            made.write(os.fsencode(f"{begin}{line}\n"))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise MachineError(
                f"There is no room left for {folder / MADE}; free some, and run the same command again."
            ) from error
        raise


def cut_torn_line(path: Path) -> bool:
    """Remove an incomplete last line of a killed process; returns whether there was one.

    For files with one writer that are synced line by line before the announced action.
    """
    with open(path, "r+b") as opened:
        content = opened.read()
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            return False
        opened.truncate(whole)
        opened.flush()
        os.fsync(opened.fileno())
    return True


def end_last_line(path: Path) -> bool:
    """Complete the last line of a file of JSON lines; returns whether it was invalid and was removed."""
    content = path.read_bytes() if path.is_file() else b""
    if not content or content.endswith(b"\n"):
        return False
    try:
        json.loads(content.rpartition(b"\n")[2])
    except ValueError:
        return cut_torn_line(path)
    with open(path, "ab") as opened:
        opened.write(b"\n")
    return False


def write_text(
    path: LocalPath, text: str, *, ours: bool = False, of: Place | None = None, scores: bool = False
) -> None:
    """Write a text file atomically; the other arguments as in `atomic_path`."""
    with atomic_path(path, ours=ours, of=of, scores=scores) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(
    path: LocalPath, value: Any, *, ours: bool = False, of: Place | None = None, scores: bool = False
) -> None:
    """Write JSON atomically, indented for people; the other arguments as in `atomic_path`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, ours=ours, of=of, scores=scores)


def read_json(path: LocalPath) -> dict[str, Any]:
    """The mapping in a JSON file that this project wrote. Raises `Damaged` for an unreadable one."""
    try:
        values = json.loads(read_file(path))
    except ValueError as error:
        raise Damaged(
            f"{path} is damaged: it is not JSON; restore it from a copy, or move it away."
        ) from error
    if not isinstance(values, dict):
        raise Damaged(f"{path} is damaged: it is not a mapping; move it away.")
    return values


def read_file(path: LocalPath) -> bytes:
    """The content of a file in a run's folder. Raises `Damaged` if it is missing or not a file."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        return Path(path).read_bytes()
    except OSError as error:
        raise Damaged(f"Cannot read {path}: {error.strerror}; restore it, or move it away.") from error


def private_folder(beside: LocalPath) -> Path:
    """The folder `private` in this folder, created if needed, accessible to its owner only.

    It contains the files of a run that must stay private: keys, and notes with times. The files beside it may
    be published.
    """
    folder = Path(beside) / "private"
    make_folder(folder, mode=0o700)
    return folder


def sha256_file(path: LocalPath) -> str:
    """SHA-256 (hex) of a file's content, read in blocks; `OSError` for an endless source such as a pipe."""
    if not os.path.isfile(path) and os.path.exists(path):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def cache_dir() -> Path:
    """The folder of models and built bodies: `$RAYMASKDP_CACHE`, or `~/.cache/raymaskdp`."""
    configured = os.environ.get("RAYMASKDP_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "raymaskdp"
