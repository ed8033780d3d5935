"""The one exception that users see as a sentence instead of a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

Source = TypeVar("Source")
Found = TypeVar("Found")


class UserError(Exception):
    """Something that the caller can fix: bad input, a missing file, an unknown option.

    The message is one sentence that says what was wrong, where, and what to do. The command line
    prints it alone and exits with status 2; a stage turns it into a `failed` row.
    """


class Damaged(UserError):
    """A file that this project wrote is torn, empty or another: what lies beside it can still be read."""


def readable(read: Callable[[Source], Found], those: Iterable[Source], damaged: list[str]) -> list[Found]:
    """What `read` makes of each; of those that are `Damaged`, the sentence goes to `damaged`, once."""
    found = []
    for one in those:
        try:
            found.append(read(one))
        except Damaged as error:
            if str(error) not in damaged:
                damaged.append(str(error))
    return found


class MachineError(UserError):
    """What a machine lacks, such as room on a disk: no video is at fault, and the next would fail alike."""


MACHINE = f"{MachineError.__name__}: "
"""What the faults of a machine begin with, where they travel as text."""

_LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)


def machine_lacks(error: BaseException) -> str:
    """What a machine lacks by an error, or by what led to it; "" where it may be something else."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MachineError):
            return str(seen)
        if isinstance(seen, OSError) and seen.errno in _LACKING:
            where = f" at {seen.filename}" if seen.filename else ""
            return f"{os.strerror(seen.errno)}{where}; fix that, and run the same command again."
        seen = seen.__cause__ or seen.__context__
    return ""
