"""The number of frames of an AVI file, including those that repeat the previous one.

Recorders drop frames that arrive too late, and write for each an empty chunk, or an index entry that refers
to the previous chunk. FFmpeg ignores these, so that a file seems to be shorter than declared (Microsoft, "AVI
RIFF File Reference").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from raymaskdp.places import LocalPath

LISTS = {b"AVI ", b"AVIX", b"movi", b"rec "}
"""Lists that contain chunks with frames, at any depth."""

ENTRY = 16
"""Bytes of an index entry."""


def pictures(path: LocalPath, stream: int) -> int:
    """Number of complete chunks of a video stream, or of its index entries if these are more."""
    chunk = re.compile(rb"%02dd[bc]" % stream)
    chunks = entries = 0
    with open(path, "rb") as file:
        for kind, at, size in _chunks(file):
            chunks += bool(chunk.fullmatch(kind))
            if kind == b"idx1":
                file.seek(at)
                index = file.read(size)
                entries = sum(bool(chunk.fullmatch(index[n : n + 4])) for n in range(0, len(index), ENTRY))
    return max(chunks, entries)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, position and size of chunks without chunks of their own; truncated ones are ignored."""
    at, end = 0, file.seek(0, os.SEEK_END)
    while at + 8 <= end:
        file.seek(at)
        head = file.read(12)
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if kind in (b"RIFF", b"LIST") and head[8:] in LISTS:
            at += 12
            continue
        if at + 8 + size <= end:
            yield kind, at + 8, size
        at += 8 + size + size % 2
