"""Locks between the processes of a machine; the system releases those of a killed process.

`only_one` makes a lock file, for folders of this project. `held` locks a file or folder that exists, and adds
nothing to it: an output folder of the user, or the mark in a temporary folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from raymaskdp.errors import UserError

RETRY_S = 0.1
"""Seconds between two attempts."""


@contextlib.contextmanager
def only_one(lock_file: Path, *, wait_s: float = -1, refusal: str = "") -> Iterator[None]:
    """Hold `lock_file` for the block.

    Args:
      lock_file: is created if it does not exist.
      wait_s: seconds to wait for another process; for ever if negative.
      refusal: the sentence of the `UserError` that is raised if another process holds it for longer.

    Raises `UserError` as well if the file cannot be opened.
    """
    try:
        lock = FileLock(lock_file, poll_interval=RETRY_S).acquire(timeout=wait_s)
    except Timeout:
        raise UserError(refusal) from None
    except OSError as error:
        raise UserError(f"Cannot lock {lock_file} ({error.strerror}); remove it.") from error
    with lock:
        yield


@contextlib.contextmanager
def held(path: Path, *, wait_s: float = 0) -> Iterator[None]:
    """Hold a file or folder for the block.

    Raises `BlockingIOError` if another process holds it for longer than `wait_s`, and `OSError` if it cannot
    be opened.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        _lock(handle, time.monotonic() + wait_s)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds a file or folder; raises `OSError` if it cannot be opened."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(handle: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_S)
