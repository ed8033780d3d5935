"""The secret of a run: a file that every worker reads itself.

Ray stores the arguments of workers: in its object store, which may spill to a disk, and in its logs. So the
secret itself is never passed. Its path is, with a check value that all workers compare.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from raymaskdp import places
from raymaskdp.errors import UserError
from raymaskdp.files import make_folder

LENGTH = 32
"""Length in bytes."""

SHARE = "give secret_file= a file on storage that every worker sees"


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """The location of the secret of a run.

    Attributes:
      path: absolute path of a file of `LENGTH` bytes.
      check: a digest of it, from which it cannot be computed.
    """

    path: Path
    check: str

    @classmethod
    def at(cls, path: Path) -> SecretFile:
        """The secret in a file. A missing file is created from the system's randomness (mode 600).

        Raises `UserError` for a file that cannot be read or has another length.
        """
        full = path.absolute()
        if not os.path.lexists(full):  # a dangling link belongs to the user
            make_folder(full.parent)
            with tempfile.NamedTemporaryFile(dir=full.parent, prefix=".secret.", delete=False) as fresh:
                fresh.write(secrets.token_bytes(LENGTH))
            os.replace(fresh.name, full)
        return cls(path=full, check=_check(_content(full)))

    def read(self, machine: str = "this machine") -> bytes:
        """The secret. Raises `UserError`, which names the machine, if its file is missing or has another
        content.
        """
        content = _content(self.path, machine)
        if _check(content) != self.check:
            raise UserError(f"The secret file {self.path} of {machine} is not that of the run; {SHARE}.")
        return content

    def refusal(self, machine: str) -> str:
        """Why a machine cannot read it, as a sentence; "" if it can."""
        try:
            self.read(machine)
        except UserError as error:
            return str(error)
        return ""


def _content(path: Path, machine: str = "this machine") -> bytes:
    places.require_ordinary(path, "The secret file")
    try:
        content = path.read_bytes()
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise UserError(f"The secret file {path} cannot be read on {machine} ({said}); {SHARE}.") from error
    if len(content) != LENGTH:
        raise UserError(f"The secret file {path} must hold {LENGTH} bytes, but it holds {len(content)}.")
    return content


def _check(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16, person=b"raymaskdp check").hexdigest()
