"""How many videos a run has that has not ended, for those who look from outside (`raymaskdp status`).

A folder's lock says whether a run is going on. A store has no locks, so the run writes there every
`BEAT_SECONDS` that it still works, however long a single video takes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from raymaskdp import storage
from raymaskdp.anonymize.output import folders
from raymaskdp.errors import UserError
from raymaskdp.files import write_json

BEAT_SECONDS = 30.0
"""How often a run on a store says that it still works."""

STORED = f"{folders.INSIDE}.progress.json"
"""The object on a store that says so."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def told(out: Path | str, videos: int) -> Iterator[None]:
    """Write down how many videos the run of this block has, until it ends; what breaks off leaves it."""
    if isinstance(out, Path):
        path = folders.lasting(out, "progress")
        _require_note(path)
        write_json(path, {"videos": videos}, ours=True)
        yield
        path.unlink(missing_ok=True)
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                _publish(out, videos)
            except UserError as error:
                _log.warning("How far the run is could not be written down: %s", error)

    _publish(out, videos)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    storage.remove(storage.join(out, STORED))


def read(out: Path | str) -> int | None:
    """How many videos a run has that is going on or broke off; None where the last one has ended."""
    if isinstance(out, Path):
        path = folders.lasting(out, "progress")
        content = path.read_bytes() if path.is_file() else b""
    else:
        content = next(iter(storage.read_all([storage.join(out, STORED)]).values()), b"")
    return _videos(content)


def _require_note(path: Path) -> None:
    """Raise `UserError` if something else than such a note is in its place."""
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
    """What a note says; None for one of others, or of which nothing is left."""
    try:
        note = json.loads(content)
    except ValueError:
        return None
    # Earlier versions also said there whether the run had ended.
    if not (isinstance(note, dict) and {"videos"} <= note.keys() <= {"videos", "ended"}):
        return None
    return note["videos"] if isinstance(note["videos"], int) else None


def _publish(out: str, videos: int) -> None:
    storage.write(storage.join(out, STORED), json.dumps({"videos": videos}).encode())
