"""How many pictures an AVI file has, those included that show the one before once more.

A program that records drops pictures which come too late, and writes a chunk without content in the place of
each, or an entry in the index that leads to the chunk before. FFmpeg passes over them, so that a file seems
to be shorter than it says (Microsoft, "AVI RIFF File Reference").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from raymaskdp.places import LocalPath

LISTS = {b"AVI ", b"AVIX", b"movi", b"rec "}
"""What holds chunks with pictures, at any depth."""

ENTRY = 16
"""Bytes in the index for a chunk."""


def pictures(path: LocalPath, stream: int) -> int:
    """Chunks of a stream of pictures that are there in full, or entries of the index if these are more."""
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
    """Kind, place and size of what holds no chunks of its own; what is cut off is left out."""
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
