"""The declared size and the checksums of a Matroska or WebM file, by its elements (RFC 8794 and 9559)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from raymaskdp.places import LocalPath

HEAD = b"\x1a\x45\xdf\xa3"
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
"""The element of the whole file, and that of some seconds of video; both may be written without a size."""

CHECKSUM = b"\xbf\x84"
"""Name and size of the CRC-32 of the following data of a part."""
CHECKSUM_BYTES, PIECE = 4, 2**20

MOST_OF_A_NAME, LONGEST = 4, 12
"""Bytes of the longest name, and of that and the longest size."""


@dataclass(frozen=True)
class _Element:
    """Name of an element, position of its content, and size of its content; None if not declared."""

    name: bytes
    begin: int
    size: int | None


class _Part(NamedTuple):
    """Position and length of the content of an element."""

    begin: int
    size: int


def declared_size(head: bytes) -> int | None:
    """Declared size of a file, by its head; None for other files and without a declaration."""
    at = 0
    while head.startswith(HEAD) and (element := _element(head[at : at + LONGEST], at)) is not None:
        if element.size is None:
            return None  # a live recording
        at = element.begin + element.size
        if element.name == SEGMENT:
            return at
    return None


def damaged_at(path: LocalPath) -> int | None:
    """Position of the first part whose checksum does not match; None if all match, or without checksums.

    FFmpeg writes a checksum for each part of an MKV file, but does not verify any. The whole file is read.
    """
    with open(path, "rb") as file:
        for at, part in _parts(file):
            if not _is_intact(file, part):
                return at
    return None


def has_checksums(path: LocalPath) -> bool:
    """Whether every part of a file that contains frames has a checksum."""
    with open(path, "rb") as file:
        found = []
        for _, part in _parts(file):
            file.seek(part.begin)
            found.append(file.read(len(CHECKSUM)) == CHECKSUM)
    return bool(found) and all(found)


def _parts(file: BinaryIO) -> Iterator[tuple[int, _Part]]:
    """The parts of a file that contain frames and declare their size, with their positions."""
    if file.read(len(HEAD)) != HEAD:
        return
    at = 0
    while True:
        file.seek(at)
        element = _element(file.read(LONGEST), at)
        if element is None:
            return
        if element.name in (SEGMENT, CLUSTER) and (element.name == SEGMENT or element.size is None):
            at = element.begin
            continue
        if element.size is None:
            return
        if element.name == CLUSTER:
            yield at, _Part(element.begin, element.size)
        at = element.begin + element.size


def _is_intact(file: BinaryIO, part: _Part) -> bool:
    file.seek(part.begin)
    first = file.read(len(CHECKSUM) + CHECKSUM_BYTES)
    if not first.startswith(CHECKSUM):
        return True
    left, checksum = part.size - len(first), 0
    while left > 0 and (piece := file.read(min(left, PIECE))):
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    # A truncated part is reported elsewhere.
    return left > 0 or first[len(CHECKSUM) :] == checksum.to_bytes(CHECKSUM_BYTES, "little")


def ends_within(file: BinaryIO) -> bool:
    """Whether a live recording ends within an element, such as a frame.

    The file declares no size, but its parts do. An end between two parts cannot be detected.
    """
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at < end:
        file.seek(at)
        head = file.read(LONGEST)
        element = _element(head, at)
        if element is None:  # an incomplete one, or other data, such as zeros
            return len(head) < LONGEST and 0 < _length(head, 0) <= MOST_OF_A_NAME
        if element.size is None:
            if element.name not in (SEGMENT, CLUSTER):
                return False  # unknown data
            at = element.begin
        else:
            at = element.begin + element.size
    return at > end


def _element(head: bytes, at: int) -> _Element | None:
    """The element whose name begins at `at`; None for other bytes, or for too few."""
    name = _length(head, 0)
    size = _length(head, name)
    if not name or not size or name > MOST_OF_A_NAME or len(head) < name + size:
        return None
    bits = 7 * size
    value = int.from_bytes(head[name : name + size], "big") & ((1 << bits) - 1)
    untold = value == (1 << bits) - 1
    return _Element(head[:name], at + name + size, None if untold else value)


def _length(head: bytes, at: int) -> int:
    """Length in bytes of a number that encodes it in its first bits; 0 for an invalid one."""
    return 9 - head[at].bit_length() if at < len(head) and head[at] else 0
