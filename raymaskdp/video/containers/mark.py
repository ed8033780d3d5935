"""The mark in every published video file, which is independent of its name and folder.

It is the comment of an MP4 file, so it remains when a file is copied, linked or renamed, and when FFmpeg
remuxes it to another MP4 file. It is read without a decoder, because users' files are checked, too: only box
headers are read (ISO 14496-12), and the one box with such comments.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from raymaskdp.places import LocalPath

COMMENT = "output of raymaskdp"
"""The comment of a published file. It is only in published videos; reports may contain sources, too."""

MOST_BOXES = 1000
"""Largest number of box headers that are read of a file; files by FFmpeg have about a dozen before their
comment."""

MOST_BYTES = 65_536
"""Largest number of bytes that are read of the box with the comments."""


def is_marked(path: LocalPath) -> bool:
    """Whether a file is a video that was published by this project; False for one that cannot be read."""
    if not os.path.isfile(path):
        return False  # such as a pipe that may never be written to
    try:
        with open(path, "rb") as file:
            if file.read(8)[4:] != b"ftyp":
                return False
            end = file.seek(0, os.SEEK_END)
            index = _box(file, b"moov", 0, end)
            comments = index and _box(file, b"udta", *index)
            if not comments:
                return False
            file.seek(comments[0])
            return COMMENT.encode() in file.read(min(MOST_BYTES, comments[1] - comments[0]))
    except OSError:
        return False


def _box(file: BinaryIO, kind: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Begin and end of the content of the first box of a kind, between two positions of a file."""
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:  # a 64-bit size follows
            size, begin = int.from_bytes(head[8:], "big"), at + 16
        after = at + size if size else end
        if len(head) < 8 or not begin <= after <= end:
            return None
        if head[4:8] == kind:
            return begin, after
        at = after
    return None
