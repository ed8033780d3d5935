"""One writer for each run: the workers of a killed driver may live on for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from raymaskdp.errors import UserError
from raymaskdp.files import private_folder

WAIT_S = 60.0
"""Time limit for another writer to end, seconds."""


@contextlib.contextmanager
def only_writer(folder: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Lock the run in `folder` for the block; the system releases the lock of a killed process.

    Two writers would both append to the ledger, which would make it useless. Raises `UserError` if another
    process holds the lock for longer than `wait_s`.
    """
    try:
        held = FileLock(private_folder(folder) / "lock", poll_interval=0.1).acquire(timeout=wait_s)
    except Timeout:
        raise UserError(f"{folder} is being trained by another process; wait for it, or end it.") from None
    with held:
        yield
