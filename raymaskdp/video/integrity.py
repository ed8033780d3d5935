"""How damage of a source's frames would be detected: by checksums, by the decoder, or not at all.

Measured with deliberately damaged videos (docs/limits.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Integrity = Literal["checksums", "decoder", "none"]

DAMAGE_DETECTING = ("h264", "vp9", "av1", "mpeg4", "mpeg2video", "prores", "wmv2")
"""Codecs whose decoders detect more than half of changed bits. Codecs that were not measured are not listed.
"""

_SEI, _PICTURE_HASH = (39, 40), 132
"""In HEVC: types of units with messages, and the message that contains a frame's checksum."""

LOOKED_AT = 10
"""Frames in which a checksum is searched; a video has one for each frame, or none."""


def integrity(codec: str, *, checked: bool) -> Integrity:
    """What detects damage in a video with this codec; `checked` if there are checksums."""
    if checked:
        return "checksums"
    return "decoder" if codec in DAMAGE_DETECTING else "none"


def has_picture_hash(packet: bytes, head: bytes | None) -> bool:
    """Whether a coded frame of HEVC has a checksum; `head`, the stream's, defines how units are separated."""
    for unit in _units(packet, head or b""):
        if len(unit) > 2 and (unit[0] >> 1) & 0x3F in _SEI and _PICTURE_HASH in _messages(unit[2:]):
            return True
    return False


def _units(packet: bytes, head: bytes) -> Iterator[bytes]:
    """The units of a packet, each after its length (MP4, MKV) or after a start code (streams)."""
    if head[:1] != b"\x01" or len(head) < 22:
        yield from (unit.rstrip(b"\0") for unit in packet.split(b"\0\0\1")[1:])
        return
    size, at = (head[21] & 3) + 1, 0
    while at + size <= len(packet):
        end = at + size + int.from_bytes(packet[at : at + size], "big")
        yield packet[at + size : end]
        at = end


def _messages(content: bytes) -> Iterator[int]:
    """The types of the messages in a unit; each type and each size may have several bytes of 255."""
    at = 0
    while at + 2 <= len(content) and content[at:] != b"\x80":
        said = []
        for _ in range(2):
            value = 0
            while at < len(content) - 1 and content[at] == 0xFF:
                value, at = value + 255, at + 1
            said.append(value + content[at] if at < len(content) else 0)
            at += 1
        yield said[0]
        at += said[1]
