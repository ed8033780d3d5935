"""How many videos a run has and whether it has ended, for those who look from outside (`raymaskdp status`).

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
    """Write down how many videos the run of this block has, and that it has ended if nothing was raised."""
    if isinstance(out, Path):
        path = folders.lasting(out, "progress")
        write_json(path, {"videos": videos, "ended": False}, ours=True)
        yield
        write_json(path, {"videos": videos, "ended": True}, ours=True)
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                _publish(out, videos, ended=False)
            except UserError as error:
                _log.warning("How far the run is could not be written down: %s", error)

    _publish(out, videos, ended=False)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    _publish(out, videos, ended=True)


def read(out: Path | str) -> tuple[int, bool] | None:
    """How many videos the last run had, and whether it ended; None where that was not written down."""
    if isinstance(out, Path):
        path = folders.lasting(out, "progress")
        content = path.read_bytes() if path.is_file() else b""
    else:
        content = next(iter(storage.read_all([storage.join(out, STORED)]).values()), b"")
    if not content:
        return None
    said = json.loads(content)
    return int(said["videos"]), bool(said["ended"])


def _publish(out: str, videos: int, *, ended: bool) -> None:
    storage.write(storage.join(out, STORED), json.dumps({"videos": videos, "ended": ended}).encode())
