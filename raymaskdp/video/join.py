"""Join videos without decoding: the chunks of a video become one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av

from raymaskdp.video.containers.mark import COMMENT
from raymaskdp.video.writer import CONTAINER_OPTIONS


def join(
    parts: Sequence[Path], path: Path, *, times: Sequence[int] = (), tick: Fraction = Fraction(1, 1000)
) -> None:
    """Write the frames of MP4 files, in order, to the marked MP4 file `path`, without re-encoding.

    Args:
      parts: of the same size, codec and constant rate, each beginning with a key frame (`VideoWriter`'s do).
      times: new times of the frames, and the end of the last one, in ticks; empty to keep the rate.
      tick: seconds.

    The same parts give the same bytes. Raises `ValueError` for parts that are coded differently.
    """
    with av.open(f"file:{path}", "w", format="mp4", options=CONTAINER_OPTIONS) as joined:
        joined.metadata["comment"] = COMMENT
        with av.open(f"file:{parts[0]}") as first:
            pictures = joined.add_stream_from_template(first.streams.video[0])
            coded = first.streams.video[0].codec_context.extradata
        # The decoding time of frames precedes their presentation time, by less in short parts. In one file
        # the offset is constant, so that one frame is decoded in every tick and the rate is unchanged.
        ahead = max(-(next(_packets(part, coded)).dts or 0) for part in parts)
        if times:
            pictures.time_base = tick
        count, last = 0, len(times) - 2
        for part in parts:
            begin = count
            for packet in _packets(part, coded):
                assert packet.pts is not None
                step = packet.duration or 1
                packet.pts += begin * step
                packet.dts = count * step - ahead
                if times:
                    _move(packet, packet.pts // step, count - ahead // step, times, tick)
                    if count == last:
                        packet.duration = times[-1] - (packet.dts or 0)  # so that the duration is unchanged
                packet.stream = pictures
                joined.mux(packet)
                count += 1


def _move(packet: av.Packet, shown: int, decoded: int, times: Sequence[int], tick: Fraction) -> None:
    """Set the times of a coded frame.

    Args:
      shown: its number in presentation order.
      decoded: its number in decoding order, minus the offset of decoding.
    """
    packet.time_base = tick
    packet.pts = times[shown]
    packet.duration = times[shown + 1] - times[shown]
    packet.dts = (
        times[decoded] if decoded >= 0 else decoded
    )  # one tick each, before the first presentation time


def _packets(part: Path, coded: bytes | None) -> Iterator[av.Packet]:
    """The coded frames of a video, in decoding order."""
    with av.open(f"file:{part}") as opened:
        video = opened.streams.video[0]
        if video.codec_context.extradata != coded:
            raise ValueError(f"{part} is not coded as those before it")
        yield from (packet for packet in opened.demux(video) if packet.dts is not None)
