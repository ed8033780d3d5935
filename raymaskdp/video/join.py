"""Films one behind the other, as they are coded: what is written in pieces becomes one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from raymaskdp.video.writer import CONTAINER_OPTIONS


def join(parts: Sequence[Path], path: Path) -> None:
    """Write the pictures of MP4 files, in order, to the MP4 file `path`; no picture is coded anew.

    Args:
      parts: of the same size, coding and constant rate, each beginning with a key frame (`VideoWriter`'s do).

    The same parts give the same bytes. Raises `ValueError` for parts that are not coded alike.
    """
    with av.open(f"file:{path}", "w", format="mp4", options=CONTAINER_OPTIONS) as joined:
        with av.open(f"file:{parts[0]}") as first:
            pictures = joined.add_stream_from_template(first.streams.video[0])
            coded = first.streams.video[0].codec_context.extradata
        # Pictures are decoded before they are shown, in short parts a little less. In one file it is as long
        # for all, so that one is decoded in every tick and the rate stays what it is.
        ahead = max(-(next(_packets(part, coded)).dts or 0) for part in parts)
        count = 0
        for part in parts:
            begin = count
            for packet in _packets(part, coded):
                assert packet.pts is not None
                tick = packet.duration or 0
                packet.pts += begin * tick
                packet.dts = count * tick - ahead
                packet.stream = pictures
                joined.mux(packet)
                count += 1


def _packets(part: Path, coded: bytes | None) -> Iterator[av.Packet]:
    """The coded pictures of a film, in the order in which they are decoded."""
    with av.open(f"file:{part}") as opened:
        video = opened.streams.video[0]
        if video.codec_context.extradata != coded:
            raise ValueError(f"{part} is not coded as those before it")
        yield from (packet for packet in opened.demux(video) if packet.dts is not None)
