"""Whether the first bytes of a file are those of a video, whatever its name is."""

from __future__ import annotations

import os

HEAD = 400
"""Bytes that are read: two packets of a transport stream, with the clocks of some."""

_BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"DHAV",
    b".RMF",
)
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide")
_PACKETS = ((0, 188), (4, 192))


def begins_as_video(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes are those of a video container; False for a file that cannot be read."""
    try:
        with open(path, "rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return False
    return (
        head.startswith(_BEGINNINGS)
        or head[4:8] in _ATOMS
        or (head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AMV "))
        or any(head[at : at + 1] == head[at + size : at + size + 1] == b"G" for at, size in _PACKETS)
    )
