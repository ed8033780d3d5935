"""How many videos a run has that has not ended, for `raymaskdp status`, which looks from outside.

A folder's lock says whether a run is running. A store has no locks, so the run writes there every
`BEAT_SECONDS` that it still works, however long a single video takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raymaskdp import places, storage
from raymaskdp.anonymize.output import folders
from raymaskdp.errors import UserError
from raymaskdp.files import SCRATCH, write_json, write_text
from raymaskdp.places import Place

BEAT_SECONDS = 30.0
"""How often a run on a store says that it still works."""

SILENT_SECONDS = 120.0
"""A run that has not said so for this long is taken to be stopped."""

STORED = f"{folders.INSIDE}.progress.json"
"""The object on a store that says so."""

WORK = "progress.json"
"""The note of a running run, in its private folder."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def told(out: Place, videos: int) -> Iterator[None]:
    """Write down how many videos the run of this block has, until it ends; what breaks off leaves it."""
    if isinstance(out, Path):
        path = folders.lasting(out, "progress")
        _require_note(path)
        write_json(path, {"videos": videos}, ours=True)
        yield
        path.unlink(missing_ok=True)
        return
    note = {"videos": videos, "by": _machine(out)}
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                _publish(out, note)
            except UserError as error:
                _log.warning("How far the run is could not be written down: %s", error)

    _publish(out, note)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        thread.join()
        with contextlib.suppress(UserError):  # what broke it off is to be said
            _publish(out, note | {"ended": True})
        raise
    over.set()
    thread.join()
    storage.remove(places.join(out, STORED))


def require_alone(out: str) -> None:
    """Raise `UserError` if a run of another machine is running on a store; of this one a lock tells.

    Each of them would write a table of all videos, without those of the other. A killed run says nothing
    any more: it is waited for that, for `SILENT_SECONDS` since its last word.
    """
    url, last = places.join(out, STORED), 0.0
    while True:
        note = _note(_stored(out))
        if note is None or note.get("ended") or note.get("by") in (None, _machine(out)):
            return
        try:
            age = storage.age(url)
        except UserError:
            if storage.version(url) is None:
                return  # it has just ended
            raise
        if age >= SILENT_SECONDS:
            return
        if age < last:
            raise UserError(f"A run of another machine writes to {out}; wait for it, or give another folder.")
        if not last:
            _log.warning(
                "A run of another machine wrote to %s %.0f s ago; checking whether it is running.", out, age
            )
        last = max(age, 0.001)
        time.sleep(1)


def is_running(out: str) -> bool:
    """Whether a run on a store has said lately that it is running."""
    note = _note(_stored(out))
    return (
        note is not None and not note.get("ended") and storage.age(places.join(out, STORED)) < SILENT_SECONDS
    )


def read(out: Place) -> int | None:
    """How many videos a run has that is running or was killed; None where the last one has ended."""
    if isinstance(out, Path):
        path = folders.kept(out, "progress")
        return _videos(path.read_bytes() if path.is_file() else b"")
    return _videos(_stored(out))


def going_on(out: Path) -> tuple[bool, int | None]:
    """Whether a run works on a folder, and how many videos it has, once it knows."""
    try:
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"Cannot read the folder {out}: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False, None
    except BlockingIOError:
        path = folders.existing(out, "work") / WORK
        return True, _videos(path.read_bytes() if path.is_file() else b"")
    finally:
        os.close(handle)


def begun(out: Path) -> float | None:
    """When the run of a folder began that is running or was killed, in seconds; None where none did."""
    return min(_signs(out), default=None)


def last_sign(out: Path) -> float:
    """When it last wrote something that still is there; what it has decided is in the manifest."""
    times = [path.stat().st_mtime for path in folders.existing(out, "work").rglob("*") if path.is_file()]
    return max([0.0, *_signs(out), *times])


def _signs(out: Path) -> list[float]:
    signs = (folders.kept(out, "progress"), folders.existing(out, "work") / SCRATCH)
    return [path.stat().st_mtime for path in signs if path.is_file()]


def folders_below(root: Path) -> set[Path]:
    """Folders, `root` among them, that have signs of a run, whether or not it has decided anything."""
    found = {root} if begun(root) is not None else set()
    for kind in ("progress", "work"):
        for path in root.rglob(f".*.{kind}"):
            within = path.name == f"{folders.INSIDE}.{kind}"
            name = path.name.removeprefix(".").removesuffix(f".{kind}")
            found.add(path.parent if within else path.with_name(name))
    return {folder for folder in found if folder.is_dir() and begun(folder) is not None}


def _stored(out: str) -> bytes:
    return next(iter(storage.read_all([places.join(out, STORED)]).values()), b"")


def _machine(out: str) -> str:
    """What this machine is called in notes: something of chance, kept where its locks are."""
    path = folders.home_of(out).with_name("machine")
    if not path.is_file():
        write_text(path, uuid.uuid4().hex, ours=True)
    return path.read_text(encoding="utf-8")


def _require_note(path: Path) -> None:
    """Raise `UserError` if something else than such a note is in its place."""
    places.require_ordinary(path, "The note of a run")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"Cannot read {path}, the note of a run: {error.strerror}.") from error
    if (
        content.strip(b"\0 \n") and _videos(content) is None
    ):  # what a disk that failed leaves of it is nobody's
        raise UserError(f"{path} is needed for a note of the run, but is another file; move it away.")


def _videos(content: bytes) -> int | None:
    note = _note(content)
    return None if note is None else int(note["videos"])


def _note(content: bytes) -> dict[str, Any] | None:
    """A note: `videos`, whether the run has `ended`, and the machine it is `by`; None for another file."""
    try:
        note = json.loads(content)
    except ValueError:
        return None
    if not (isinstance(note, dict) and {"videos"} <= note.keys() <= {"videos", "ended", "by"}):
        return None
    return note if isinstance(note["videos"], int) else None


def _publish(out: str, note: Mapping[str, Any]) -> None:
    storage.write(places.join(out, STORED), json.dumps(note).encode())
