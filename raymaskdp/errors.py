"""The exception that users see as a sentence instead of a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

Source = TypeVar("Source")
Found = TypeVar("Found")


class UserError(Exception):
    """An error that the caller can fix: bad input, a missing file, an unknown option.

    The message is one sentence that says what is wrong, where, and what to do. The command line prints it
    alone and exits with status 2; a stage turns it into a `failed` row.
    """


class Damaged(UserError):
    """A file of this project is incomplete, empty or of another kind; other files can still be read."""


def readable(read: Callable[[Source], Found], those: Iterable[Source], damaged: list[str]) -> list[Found]:
    """The result of `read` for each; the sentences of those that are `Damaged` are added to `damaged`."""
    found = []
    for one in those:
        try:
            found.append(read(one))
        except Damaged as error:
            if str(error) not in damaged:
                damaged.append(str(error))
    return found


class MachineError(UserError):
    """A machine lacks something, such as disk space: no video is at fault, and the next would fail, too."""


MACHINE = f"{MachineError.__name__}: "
"""The beginning of a machine's faults as text."""

_LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)


def machine_lacks(error: BaseException) -> str:
    """What a machine lacks, from an error or its causes; "" if the error may have another reason."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MachineError):
            return str(seen)
        if isinstance(seen, OSError) and seen.errno in _LACKING:
            where = f" at {seen.filename}" if seen.filename else ""
            return f"{os.strerror(seen.errno)}{where}; fix that, and run the same command again."
        seen = seen.__cause__ or seen.__context__
    return ""
