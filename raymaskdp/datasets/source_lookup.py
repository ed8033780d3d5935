"""Find the source of an output again, by the path and the content in its row."""

from __future__ import annotations

import os
from pathlib import Path

from raymaskdp import places
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import Place


def original(source: str, sha256: str) -> str:
    """The path of a row's source on this machine, if the file there has the same content.

    Rows of earlier versions have relative paths, and files are replaced, so the content decides. Raises
    `UserError` if the file is missing or different.
    """
    path = places.named(source)
    if places.is_url(path):
        raise UserError(f"{source} is on an object store; copy the video to this machine to view it.")
    require_content(Path(path), source, sha256)
    return path


def require_content(copy: Path, source: Place, sha256: str) -> None:
    """Raise `UserError` unless a local file has the digest of a row's `source`."""
    if not os.path.isfile(copy):
        raise UserError(f"The source {source} is missing; restore it, or anonymize the present videos again.")
    try:
        same = sha256_file(copy) == sha256
    except OSError as error:
        raise UserError(f"Cannot read the source {source}: {error.strerror}.") from error
    if not same:
        raise UserError(
            f"{source} is not the video that was anonymized (its digest differs); restore that "
            "video, or anonymize again."
        )
