"""The film that something was made from, found again by what a row says of it: its path and its content."""

from __future__ import annotations

import os
from pathlib import Path

from raymaskdp import places
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import Place


def original(source: str, sha256: str) -> str:
    """The path of a row's source on this machine, if the file there is still the one.

    Rows of earlier versions keep paths as they were typed in some folder, and films are replaced: so it is
    the content that tells. Raises `UserError` where the file is gone or another.
    """
    path = places.named(source)
    if places.is_url(path):
        raise UserError(f"{source} is on an object store; copy the video here to look at it.")
    require_content(Path(path), source, sha256)
    return path


def require_content(copy: Path, source: Place, sha256: str) -> None:
    """Raise `UserError` unless a local file is the film that a row calls `source`, by its digest."""
    if not os.path.isfile(copy):
        raise UserError(f"The source {source} is gone; bring it back, or anonymize what there is again.")
    try:
        same = sha256_file(copy) == sha256
    except OSError as error:
        raise UserError(f"Cannot read the source {source}: {error.strerror}.") from error
    if not same:
        raise UserError(
            f"{source} is another film than the one that was anonymized (its digest differs); bring that one "
            "back, or anonymize again."
        )
