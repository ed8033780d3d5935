"""The run secret, and the independent random streams that are drawn from it.

Every random choice that matters for privacy is a function of (secret, stream, step, …): the same on
one worker or many, and the same again when a step is repeated after a crash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath

KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Key:
    """The secret of one training run.

    With it the lots can be redrawn and the noise subtracted, so protect it like the data:
    keep it with the checkpoints, not in logs or published artefacts. Printing it shows a fingerprint.

    Streams are Philox-4x64 counters (Salmon et al. 2011) whose 128-bit keys are BLAKE2b hashes, keyed
    with the secret, of the stream's name and coordinates. BLAKE2b is a cryptographic hash; Philox is a
    statistical generator, not a cryptographic one: the guarantee assumes that nobody tells its
    bits from random ones. What is made of them is exact (`raymaskdp.privacy.rounded_gaussian`).
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise UserError(f"A run key must have {KEY_BYTES} bytes, but this one has {len(self.secret)}.")

    @classmethod
    def draw(cls) -> Key:
        """A new key from the operating system's randomness."""
        return cls(secret=os.urandom(KEY_BYTES))

    @classmethod
    def load_or_draw(cls, path: LocalPath) -> Key:
        """The key in the file `path` (raw bytes, readable by its owner only); drawn if there is no file."""
        path = Path(path)
        if not path.exists():
            # Written whole under another name and then linked, which only one of several workers can do.
            descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".key-")
            try:
                with os.fdopen(descriptor, "wb") as opened:
                    opened.write(cls.draw().secret)
                    opened.flush()
                    os.fsync(opened.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(beside, path)
            finally:
                os.unlink(beside)
        return cls(secret=path.read_bytes())

    @property
    def fingerprint(self) -> str:
        """A public name for the key (hex), from which the key cannot be found."""
        return hashlib.blake2b(b"fingerprint", key=self.secret, digest_size=16).hexdigest()

    @classmethod
    def load(cls, path: LocalPath) -> Key | None:
        """The key in a file, or None if there is no file."""
        path = Path(path)
        return cls(secret=path.read_bytes()) if path.is_file() else None

    def commit(self, name: str, text: str) -> str:
        """A commitment (hex) to a text: checked with the key and the text, and else like a random number.

        It is a keyed hash (BLAKE2b): without the key, the same as a random number for every text. Commitments
        to one text under several keys are unrelated.
        """
        parts = [part.encode() for part in ("commitment", name, text)]
        message = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        return hashlib.blake2b(
            message, key=self.secret, digest_size=32, person=b"raymaskdp commit"
        ).hexdigest()

    def attempt(self, number: int) -> Key:
        """The key of the attempt `number` ≥ 0 at a run: this one at first, then others that follow from it.

        A repeated step that may have another result gets lot and noise of another attempt, and counts
        again.
        """
        if number == 0:
            return self
        message = f"attempt {number}".encode()
        secret = hashlib.blake2b(
            message, key=self.secret, digest_size=KEY_BYTES, person=b"raymaskdp redo"
        ).digest()
        return Key(secret=secret)

    def stream(self, name: str, *coordinates: int | str) -> np.random.Generator:
        """The generator of one stream, e.g. `stream("augmentation", step, record)`.

        Streams with different names or coordinates are independent; equal ones are equal.
        """
        # Lengths go first, so that ("a", "bc") and ("ab", "c") are different streams.
        parts = [f"{type(part).__name__}:{part}".encode() for part in (name, *coordinates)]
        message = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        digest = hashlib.blake2b(
            message, key=self.secret, digest_size=16, person=b"raymaskdp stream"
        ).digest()
        return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8")))

    def number(self, name: str, *coordinates: int | str) -> int:
        """A number from 0 to 2⁶³ − 1 of a separate stream, to seed other generators."""
        return int(self.stream(name, *coordinates).integers(2**63))
