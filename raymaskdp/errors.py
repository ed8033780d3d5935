"""The one exception that users see as a sentence instead of a traceback."""

from __future__ import annotations

import errno
import os


class UserError(Exception):
    """Something that the caller can fix: bad input, a missing file, an unknown option.

    The message is one sentence that says what was wrong, where, and what to do. The command line
    prints it alone and exits with status 2; a stage turns it into a `failed` row.
    """


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
