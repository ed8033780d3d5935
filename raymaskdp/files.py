"""Files that are complete or absent: written beside, synced, then renamed. And where caches live."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block succeeds, removed when not.

    The temporary name keeps the suffix, which video writers look at, and starts with a dot.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{uuid.uuid4().hex[:12]}.{final.name}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def private_folder(beside: str | Path) -> Path:
    """The folder `private` in this folder, made if need be, open to its owner alone.

    It holds what a run needs and must not leave: keys, and notes with times. What lies beside it may.
    """
    folder = Path(beside) / "private"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def sha256_file(path: str | Path) -> str:
    """SHA-256 (hex) of a file's content, read in pieces."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def cache_dir() -> Path:
    """Where models and built bodies are kept: `$RAYMASKDP_CACHE`, or `~/.cache/raymaskdp`."""
    configured = os.environ.get("RAYMASKDP_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "raymaskdp"
