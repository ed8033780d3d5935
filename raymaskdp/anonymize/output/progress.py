"""The number of videos of an unfinished run, for `raymaskdp status`, which is another process.

A folder's lock shows whether a run is active. A store has no locks, so the run writes a heartbeat there every
`BEAT_SECONDS`, however long a single video takes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raymaskdp import locks, places, storage
from raymaskdp.anonymize.output import folders
from raymaskdp.errors import UserError
from raymaskdp.files import SCRATCH, write_json, write_text
from raymaskdp.places import Place

BEAT_SECONDS = 30.0
"""Interval of the heartbeat of a run on a store."""

SILENT_SECONDS = 120.0
"""A run without a heartbeat for this long is considered dead."""

STORED = f"{folders.INSIDE}.progress.json"
"""The object of the heartbeat on a store."""

WORK = "progress.json"
"""The note of a running run, in its private folder."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def record_progress(out: Place, videos: int) -> Iterator[None]:
    """Write the number of videos of the run in this block until it ends; after an interruption the note
    remains.
    """
    if isinstance(out, Path):
        path = folders.persistent(out, "progress")
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
                _log.warning("The progress of the run could not be written: %s", error)

    _publish(out, note)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        thread.join()
        with contextlib.suppress(UserError):  # the original error is reported
            _publish(out, note | {"ended": True})
        raise
    over.set()
    thread.join()
    storage.remove(places.join(out, STORED))


def require_alone(out: str) -> None:
    """Raise `UserError` if a run of another machine is active on a store; on this machine a lock prevents
    that.

    Each of them would write a table of all videos without those of the other. A killed run has no heartbeat:
    after its last one, `SILENT_SECONDS` must pass.
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
                "A run of another machine wrote to %s %.0f s ago; checking whether it is active.", out, age
            )
        last = max(age, 0.001)
        time.sleep(1)


def is_running(out: str) -> bool:
    """Whether a run on a store has a recent heartbeat."""
    note = _note(_stored(out))
    return (
        note is not None and not note.get("ended") and storage.age(places.join(out, STORED)) < SILENT_SECONDS
    )


def read(out: Place) -> int | None:
    """Number of videos of a run that is active or was killed; None if the last one has ended."""
    if isinstance(out, Path):
        path = folders.find_persistent(out, "progress")
        return _videos(path.read_bytes() if path.is_file() else b"")
    return _videos(_stored(out))


def run_state(out: Path) -> tuple[bool, int | None]:
    """Whether a run is active on a folder, and its number of videos, if known."""
    try:
        active = locks.is_held(out)
    except OSError as error:
        raise UserError(f"Cannot read the folder {out}: {error.strerror}.") from error
    if not active:
        return False, None
    path = folders.existing(out, "work") / WORK
    return True, _videos(path.read_bytes() if path.is_file() else b"")


def started_at(out: Path) -> float | None:
    """Start time of the run of a folder that is active or was killed, in seconds; None if there is none."""
    return min(_activity_times(out), default=None)


def last_activity(out: Path) -> float:
    """Time of the last file that it wrote and that still exists. Its decisions are in the manifest."""
    times = [path.stat().st_mtime for path in folders.existing(out, "work").rglob("*") if path.is_file()]
    return max([0.0, *_activity_times(out), *times])


def _activity_times(out: Path) -> list[float]:
    signs = (folders.find_persistent(out, "progress"), folders.existing(out, "work") / SCRATCH)
    return [path.stat().st_mtime for path in signs if path.is_file()]


def folders_below(root: Path) -> set[Path]:
    """Folders, including `root`, with traces of a run, even if it has decided nothing."""
    found = {root} if started_at(root) is not None else set()
    for kind in ("progress", "work"):
        for path in places.find_below(root, f".*.{kind}"):
            within = path.name == f"{folders.INSIDE}.{kind}"
            name = path.name.removeprefix(".").removesuffix(f".{kind}")
            found.add(path.parent if within else path.with_name(name))
    return {folder for folder in found if folder.is_dir() and started_at(folder) is not None}


def _stored(out: str) -> bytes:
    return next(iter(storage.read_all([places.join(out, STORED)]).values()), b"")


def _machine(out: str) -> str:
    """A random name of this machine in notes, stored with its locks."""
    path = folders.home_of(out).with_name("machine")
    if not path.is_file():
        write_text(path, uuid.uuid4().hex, ours=True)
    return path.read_text(encoding="utf-8")


def _require_note(path: Path) -> None:
    """Raise `UserError` if another file is in the place of such a note."""
    places.require_ordinary(path, "The note of a run")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"Cannot read {path}, the note of a run: {error.strerror}.") from error
    if (
        content.strip(b"\0 \n") and _videos(content) is None
    ):  # an incomplete note after a disk failure is ignored
        raise UserError(f"{path} is the place of a note of the run, but is another file; move it away.")


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
