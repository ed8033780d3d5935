"""The one exception that users see as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the caller can mend: bad input, a missing file, an unknown option.

    The message is one sentence that says what was wrong, where, and what to do. The command line
    prints it alone and exits with status 2; a stage turns it into a `failed` row.
    """
