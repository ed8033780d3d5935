"""AVI files in which pictures were dropped, as programs that record write them."""

import struct
from collections.abc import Collection
from pathlib import Path

import av


def with_gaps(
    source: Path, target: Path, *, dropped: Collection[int], behind: int = 0, chunks: bool = True
) -> Path:
    """A copy of an AVI file of pictures alone, where some are only said to be there.

    Args:
      dropped: numbers of pictures of which nothing is left.
      behind: how many more of the kind follow.
      chunks: whether chunks without content stand for them, or entries of the index for the chunk before.
    """
    with av.open(str(source)) as seen:
        coded = [(bytes(packet), packet.is_keyframe) for packet in seen.demux(video=0) if packet.size]
    content = source.read_bytes()
    head = bytearray(content[: content.index(b"movi") - 8])
    numbered = [(b"", False) if n in dropped else one for n, one in enumerate(coded)] + [
        (b"", False)
    ] * behind
    pictures, index, last = b"movi", b"", (0, 0)
    for data, key in numbered:
        if data or chunks:
            last = len(pictures), len(data)
            pictures += b"00dc" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
        index += b"00dc" + struct.pack("<III", 16 * key, *last)
    struct.pack_into("<I", head, head.index(b"avih") + 24, len(numbered))
    struct.pack_into("<I", head, head.index(b"strh") + 40, len(numbered))
    whole = bytes(head) + b"".join(
        kind + struct.pack("<I", len(part)) + part for kind, part in ((b"LIST", pictures), (b"idx1", index))
    )
    target.write_bytes(whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:])
    return target
