"""Whether a file is truncated, by the sizes that its container declares, without decoding.

FFmpeg decodes the existing part of a file and reports its end as the end of the video. Containers differ in
what they declare:

* Matroska, WebM, ASF (WMV), FLV and MXF: the number of bytes.
* Matroska and WebM from a live recording: the size of each part, so that an incomplete last one is detected.
* NUT: its index is at the end.
* Ogg: the last page of each stream is marked, and pages are numbered (RFC 3533).
* MPEG-TS: packets have one length (188, 192 or 204 bytes), and a file consists of whole ones.
* MPEG-PS: packets declare their length, so that an incomplete last one is detected.

A transport or program stream that is cut between two packets, a live Matroska file that is cut between two
parts, and bare streams (.h264, .m2v) cannot be recognized as truncated.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.video.containers import matroska

HEAD = 65_536
"""Bytes in which a container declares its length."""

TAIL = 262_144
"""Bytes at the end of a program stream that contain a pack header; several packets."""

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MXF = bytes.fromhex("060e2b34020501010d0102010102")
"""Prefix of the key of the first partition of an MXF file (SMPTE 377)."""
_NUT = b"nut/multimedia container\0"
_INDEX = bytes.fromhex("4e58dd672f23e64e")
_BROADCAST = 1
_BEGINS, _ENDS = 2, 4
"""Flags of Ogg pages."""


def require_complete(path: LocalPath) -> None:
    """Raise `UserError` for a file that is shorter than its container declares."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEAD)
        promised = matroska.declared_size(head) or asf_size(head) or mxf_size(head)
        if promised is not None and promised > size:
            raise UserError(f"The video {path} is truncated: {size} of its {promised} bytes are there.")
        if head.startswith(b"OggS"):
            why = _ogg(file, size)
        elif head.startswith(matroska.HEAD):
            why = "truncated: its last part is cut off" if matroska.ends_within(file) else ""
        elif head.startswith(_NUT):
            why = _nut(file, size)
        else:
            why = _transport(file, head, size) or _program(file, head)
    if why:
        raise UserError(f"The video {path} is {why}.")


def lacks_bytes(path: LocalPath) -> bool:
    """Whether an FLV file is shorter than declared; some files declare the size of another copy."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    promised = flv_size(head)
    return promised is not None and promised > Path(path).stat().st_size


def asf_size(head: bytes) -> int | None:
    """Declared size of an ASF file, by its file properties; None for other files and for broadcasts."""
    at = head.find(_FILE_PROPERTIES)
    if not head.startswith(_ASF) or at < 0 or at + 92 > len(head):
        return None
    (size,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    return None if flags & _BROADCAST or not size else int(size)


def mxf_size(head: bytes) -> int | None:
    """Least size of an MXF file, by the position of the last partition in the first; None for other files."""
    if not head.startswith(_MXF) or len(head) < 64:
        return None
    begin = 17 + (head[16] & 0x7F if head[16] & 0x80 else 0)  # after the length of the partition's header
    (last,) = struct.unpack_from(">Q", head, begin + 24)
    return int(last) + len(_MXF) if last else None


def flv_size(head: bytes) -> int | None:
    """Declared size of an FLV file, by its metadata; None for other files and without metadata."""
    mark = b"\x00\x08filesize\x00"
    at = head.find(mark)
    if not head.startswith(b"FLV") or at < 0 or at + len(mark) + 8 > len(head):
        return None
    (size,) = struct.unpack_from(">d", head, at + len(mark))
    return int(size) if 0 < size < 2**60 else None


def _ogg(file: BinaryIO, size: int) -> str:
    """The problem of an Ogg file; "" for none, or if pages are not contiguous."""
    at = 0
    numbers: dict[bytes, int] = {}  # of the next page of each stream that has not ended
    while at < size:
        file.seek(at)
        page = file.read(27 + 255)
        if len(page) >= 4 and not page.startswith(b"OggS"):
            return ""
        segments = page[26] if len(page) > 26 else 255
        length = 27 + segments + sum(page[27 : 27 + segments])
        if len(page) < 27 + segments or at + length > size:
            return "truncated: its last page is cut off"
        flags, stream = page[5], page[14:18]
        (number,) = struct.unpack_from("<I", page, 18)
        if not flags & _BEGINS and number != numbers.get(stream, number):
            return f"damaged: a part before byte {at} is missing"
        if flags & _ENDS:
            numbers.pop(stream, None)
        else:
            numbers[stream] = (number + 1) % 2**32
        at += length
    return "truncated: the page that is marked as its last one is missing" if numbers else ""


def _nut(file: BinaryIO, size: int) -> str:
    """The problem of a NUT file without a complete index at its end; the last 12 bytes contain its length."""
    file.seek(max(0, size - 12))
    (length,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
    if length <= size:
        file.seek(size - length)
        if file.read(len(_INDEX)) == _INDEX:
            return ""
    return "truncated: the index at its end is missing"


def _transport(file: BinaryIO, head: bytes, size: int) -> str:
    """The problem of a transport stream; "" for none and for other files."""
    for packet, before in ((188, 0), (192, 4), (204, 0)):
        for start in range(packet):
            marks = range(start + before, len(head), packet)
            if len(marks) < 3 or any(head[mark] != 0x47 for mark in marks):
                continue
            rest = (size - start) % packet
            file.seek(size - rest - packet + before)
            if rest and file.read(1) == b"\x47":
                return "truncated: its last packet is cut off"
            return ""
    return ""


def _program(file: BinaryIO, head: bytes) -> str:
    """The problem of a program stream; "" for none, for other files, and if it cannot be determined."""
    if not head.startswith(b"\x00\x00\x01\xba"):
        return ""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - TAIL))
    tail = file.read()
    at = tail.find(b"\x00\x00\x01\xba")
    while 0 <= at < len(tail):
        if tail[at : at + 3] != b"\x00\x00\x01":
            return ""  # zeros, as on discs, or unknown data
        if at + 4 > len(tail):
            return "truncated: its last packet is cut off"
        kind = tail[at + 3]
        if kind == 0xB9:  # the end of the program
            return ""
        length = _pack_length(tail, at) if kind == 0xBA else _packet_length(tail, at)
        if length is None or at + length > len(tail):
            return "truncated: its last packet is cut off"
        at += length
    return ""


def _pack_length(tail: bytes, at: int) -> int | None:
    """Length of a pack header of MPEG-2 or MPEG-1; None if it is incomplete."""
    if at + 14 <= len(tail) and tail[at + 4] >> 6 == 1:
        return 14 + (tail[at + 13] & 7)
    return 12 if at + 12 <= len(tail) and tail[at + 4] >> 6 != 1 else None


def _packet_length(tail: bytes, at: int) -> int | None:
    """Length of any other packet; None if its length field is missing."""
    return 6 + int.from_bytes(tail[at + 4 : at + 6], "big") if at + 6 <= len(tail) else None
