"""One writer a run: the workers of a driver that was killed may live on for a moment."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from raymaskdp.errors import UserError
from raymaskdp.files import private_folder

WAIT_S = 60.0
"""How long to wait for another writer to end."""


@contextlib.contextmanager
def only_writer(folder: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the run in `folder` for the block; whoever is killed lets go.

    Two writers would both append to the ledger, which then is of no use to either. Raises `UserError` if
    another process holds it for longer than `wait_s`.
    """
    with open(private_folder(folder) / "lock", "a") as opened:
        end = time.monotonic() + wait_s
        while not _taken(opened.fileno()):
            if time.monotonic() > end:
                raise UserError(f"{folder} is being trained by another process; wait for it, or end it.")
            time.sleep(0.1)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
