"""Opening users' files and decoding their frames; damaged and truncated files are errors.

FFmpeg decodes as much as it can of a damaged file. Here such a file is refused, because missing or wrong
frames would be published as if they were the video.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import av.logging
from av.stream import Disposition

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.video.containers import avi, matroska
from raymaskdp.video.containers.cut_off import lacks_bytes, require_complete
from raymaskdp.video.containers.same_file import SameFile

# Containers only: no playlists, concatenation scripts, subtitles or images, whose demuxers open other files
# or URLs, or detect a "video" in a text file.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,nut,mxf,rm"
)

LOGGED_DAMAGE = {
    *("hevc", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "flv", "h263"),
}
"""Decoders whose logged errors mean damage. H.264 marks damaged frames; others log irrelevant messages."""

DECLARE_LENGTH = {"matroska", "webm", "flv", "nut", "mxf"}
"""Containers whose header declares their duration; for others FFmpeg estimates it."""

ROUNDED_LENGTH_S = 0.3
"""Tolerance of such a duration in seconds; some writers round to the end of a frame or of a second."""

COUNT_FRAMES = {"ivf"}
"""Containers whose header declares the number of frames, and that cannot hide a frame."""

Watch = Callable[[av.Packet, int], None]
"""Called for a decoded packet and the number of frames before it; raises `UserError` if it was damaged."""


@contextlib.contextmanager
def opened(path: LocalPath) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream, closed after the block; one decoder thread, and no other file is opened.

    Raises `UserError` for a file that is missing, empty, not a video, or has no stream that can be decoded;
    and for a `SameFile` that has changed, when it is opened and at the end of the block.
    """
    require_file(path)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(
            f"The file {path} is not a video that can be read, or it is truncated; leave it out."
        ) from error
    with container:
        if isinstance(path, SameFile):  # after opening, because the open file stays what it is
            path.require_same()
        films = [video for video in container.streams.video if not is_cover(video)]
        if not films:
            raise UserError(f"The file {path} has no video stream.")
        video = films[0]
        if video.codec_context is None:
            raise UserError(f"The video {path} uses a codec that this FFmpeg build does not have.")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        yield container, video
        if isinstance(path, SameFile):
            path.require_unwritten()


def decoded(
    path: LocalPath,
    container: av.container.InputContainer,
    video: av.VideoStream,
    watch: Watch | None = None,
) -> Iterator[av.VideoFrame]:
    """Decoded frames; an error in the middle, or an end before the declared one, is a `UserError`.

    Args:
      watch: called for each packet after it is decoded (`damage_watch`).
    """
    require_complete(path)
    count = packets = 0
    ends: dict[int, Fraction] = {}
    try:
        for packet in container.demux():
            if packet.size:
                ends[packet.stream.index] = max(ends.get(packet.stream.index, Fraction(0)), _end(packet))
            if packet.stream.index != video.index:  # the final, empty packets have no other index
                continue
            packets += bool(packet.size)
            if packet.is_corrupt:
                raise UserError(f"The video {path} is damaged or truncated near frame {count}.")
            frames = cast(list[av.VideoFrame], packet.decode())
            if watch is not None:
                watch(packet, count)
            for frame in frames:
                if frame.is_corrupt:
                    raise UserError(f"The video {path} is damaged near frame {count}.")
                yield frame
                count += 1
    except av.error.MemoryError:
        raise  # an error of this process, not of the file
    except av.error.FFmpegError as error:
        raise UserError(f"The video {path} is damaged or truncated near frame {count}.") from error
    _require_end(path, container, video, packets, ends)


@contextlib.contextmanager
def damage_watch(path: LocalPath, video: av.VideoStream) -> Iterator[Watch]:
    """A callback for damage that is visible in no frame, for one decoder in this thread.

    FFmpeg marks frames of H.264 that it repaired. For other codecs it only logs an error, and continues with
    the result. libvpx detects damage of VP9 that FFmpeg's decoder does not. HEVC may have a checksum for each
    frame, which FFmpeg verifies if requested, and Matroska may have one for each part, which FFmpeg never
    verifies. Without them no decoder here detects changed bits of VP8 and HEVC (docs/limits.md). The checksum
    of a part includes its sound: if sound packets do not decode, they are the damaged data.
    """
    if (place := matroska.damaged_at(path)) is not None and not _sounds_broken(path):
        raise UserError(f"The video {path} is damaged after byte {place}: its checksum differs.")
    name = video.codec_context.codec.name
    if name == "hevc":
        video.codec_context.options = {"err_detect": "crccheck"}
    second = None
    if name == "vp9" and video.codec_context.pix_fmt == "yuv420p":  # libvpx is rarely built for more bits
        second = av.CodecContext.create("libvpx-vp9", "r")
        second.thread_count = 1
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as lines:

            def look(packet: av.Packet, count: int) -> None:
                if second is not None and packet.size:
                    second.decode(packet)
                said = [text.strip() for _, of, text in lines if of == name and name in LOGGED_DAMAGE]
                lines.clear()
                if said:
                    raise UserError(f"The video {path} is damaged near frame {count} ({name}: {said[0]}).")

            yield look
    finally:
        av.logging.set_level(level)


def decoded_sound(
    container: av.container.InputContainer, sound: av.AudioStream, lost: list[int]
) -> Iterator[av.AudioFrame]:
    """Decoded sound; the numbers of packets that do not decode are appended to `lost`."""
    for number, packet in enumerate(container.demux(sound)):
        try:
            yield from packet.decode()
        except av.error.MemoryError:
            raise  # an error of this process, not of the file
        except av.error.FFmpegError:
            lost.append(number)


def _sounds_broken(path: LocalPath) -> bool:
    """Whether a file has sound packets that do not decode."""
    lost: list[int] = []
    with opened(path) as (container, _):
        for sound in container.streams.audio[:1]:
            if sound.codec_context is not None and not lost:
                collections.deque(decoded_sound(container, sound, lost), maxlen=0)
    return bool(lost)


def _end(packet: av.Packet) -> Fraction:
    """Time of the end of a packet, in seconds of the file's clock; 0 if unknown."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return Fraction(0) if stamp is None else (stamp + (packet.duration or 0)) * packet.time_base


def _require_end(
    path: LocalPath,
    container: av.container.InputContainer,
    video: av.VideoStream,
    packets: int,
    ends: Mapping[int, Fraction],
) -> None:
    """Raise `UserError` if the file contains less than its header declares.

    Args:
      packets: number of video packets.
      ends: seconds at which the streams ended, by their indices.
    """
    # A header declares a number of frames, some of which edit lists may hide. So a file is truncated only if
    # the time is short as well.
    if packets < video.frames and video.duration and video.time_base:
        begin = video.start_time or 0
        missing = float((begin + video.duration) * video.time_base - ends.get(video.index, Fraction(0)))
        if container.format.name == "avi":
            packets = max(packets, avi.pictures(path, video.index))
        short = container.format.name in COUNT_FRAMES or missing > 2.5 / float(video.average_rate or 25)
        if short and packets < video.frames:
            raise UserError(
                f"The video {path} is truncated: {packets} of its {video.frames} frames are there."
            )
    if container.duration and set(container.format.name.split(",")) & DECLARE_LENGTH:
        promised = container.duration / av.time_base  # counted from 0, although the first frame may be later
        there = float(max(ends.values(), default=Fraction(0)))
        picture_S = 1 / float(video.average_rate or video.guessed_rate or 25)
        within = picture_S / 2 if lacks_bytes(path) else ROUNDED_LENGTH_S
        if there < promised - within:
            raise UserError(
                f"The video {path} is truncated: it ends at {there:.1f} s instead of {promised:.1f} s."
            )


def is_cover(video: av.VideoStream) -> bool:
    """Whether a stream is a cover image, not a video."""
    return bool(video.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def require_file(path: LocalPath) -> None:
    """Raise `UserError` unless there is a file that is not empty."""
    path = Path(path)
    try:
        if path.is_file():
            with open(path, "rb") as opened:
                opened.read(1)
    except OSError as error:
        raise UserError(
            f"The video {path} cannot be read: {error.strerror}; change its permissions, or "
            "remove it from the source."
        ) from error
    if not path.is_file():
        what = "is a folder, not a video" if path.is_dir() else "does not exist"
        raise UserError(f"The video {path} {what}.")
    if path.stat().st_size == 0:
        raise UserError(f"The video {path} is empty (0 bytes).")
