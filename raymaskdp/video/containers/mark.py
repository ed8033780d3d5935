"""The mark in every film that is published here, which it keeps under any name and in any folder.

It is the comment of an MP4 file, so it stays when a film is copied, linked or renamed, and when FFmpeg puts
it into another MP4 file. It is looked for without a decoder, because files of others are looked at, too: only
heads of boxes are read (ISO 14496-12), and the one box that holds such comments.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from raymaskdp.places import LocalPath

COMMENT = "output of raymaskdp"
"""What players show as the comment of a film. Of all that are published: reports may show sources, too."""

MOST_BOXES = 1000
"""Heads of boxes that are read of a file; those that FFmpeg writes have a dozen before their comment."""

MOST_BYTES = 65_536
"""Read of the box with the comments."""


def is_marked(path: LocalPath) -> bool:
    """Whether a file is a film that was published here; False for one that cannot be read."""
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
    """Where the content of the first box of a kind begins and ends, between two places of a file."""
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:  # then it is a long one
            size, begin = int.from_bytes(head[8:], "big"), at + 16
        after = at + size if size else end
        if len(head) < 8 or not begin <= after <= end:
            return None
        if head[4:8] == kind:
            return begin, after
        at = after
    return None
