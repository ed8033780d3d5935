"""One writer a run: the workers of a driver that was killed may live on for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from raymaskdp.errors import UserError
from raymaskdp.files import private_folder

WAIT_S = 60.0
"""How long to wait for another writer to end."""


@contextlib.contextmanager
def only_writer(folder: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the run in `folder` for the block; the system releases the lock of a process that is killed.

    Two writers would both append to the ledger, which would make it useless to both. Raises `UserError` if
    another process holds it for longer than `wait_s`.
    """
    try:
        held = FileLock(private_folder(folder) / "lock", poll_interval=0.1).acquire(timeout=wait_s)
    except Timeout:
        raise UserError(f"{folder} is being trained by another process; wait for it, or end it.") from None
    with held:
        yield
