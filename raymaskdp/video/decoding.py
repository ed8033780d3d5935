"""Opening the files of users and decoding their pictures; damaged and truncated files are errors.

FFmpeg shows what it can of a broken file. Here a file is whole or it is refused, because pictures that are
missing or wrong would be released as if they were the video.
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
from raymaskdp.video.containers.cut_off import lacks_bytes, require_whole

# Containers only: no playlists, concatenation scripts, subtitles or pictures, whose demuxers open
# other files or URLs, or find a "video" in a text file.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,nut,mxf,rm"
)

OUTSPOKEN = {
    *("hevc", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "flv", "h263"),
}
"""Decoders whose logged errors mean damage; H.264 marks frames, and others report what does not matter."""

PROMISE_A_LENGTH = {"matroska", "webm", "flv", "nut", "mxf"}
"""Containers whose header says how long they are; of others FFmpeg estimates it."""

ROUNDED_LENGTH_S = 0.3
"""Seconds by which such a promise may be wrong: some writers count to the end of a picture or of a second."""

COUNT_FRAMES = {"ivf"}
"""Containers whose header says how many frames follow, and that have no way to hide one."""

Watch = Callable[[av.Packet, int], None]
"""Looks at a packet that was decoded behind so many frames; raises `UserError` where it was damaged."""


@contextlib.contextmanager
def opened(path: LocalPath) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its film, closed behind the block; one decoder thread, and no other file is opened.

    Raises `UserError` for a file that is missing, empty, no video, or has no film that can be decoded.
    """
    require_file(path)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"The file {path} is not a video that can be read, or it is truncated.") from error
    with container:
        films = [video for video in container.streams.video if not is_cover(video)]
        if not films:
            raise UserError(f"The file {path} has no video stream.")
        video = films[0]
        if video.codec_context is None:
            raise UserError(f"The video {path} uses a codec that this FFmpeg build does not have.")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        yield container, video


def decoded(
    path: LocalPath,
    container: av.container.InputContainer,
    video: av.VideoStream,
    watch: Watch | None = None,
) -> Iterator[av.VideoFrame]:
    """Decoded frames; an error in the middle or an end before the declared one is a `UserError`.

    Args:
      watch: what looks at each packet behind the decoder (`watched`).
    """
    require_whole(path)
    count = packets = 0
    ends: dict[int, Fraction] = {}
    try:
        for packet in container.demux():
            if packet.size:
                ends[packet.stream.index] = max(ends.get(packet.stream.index, Fraction(0)), _end(packet))
            if packet.stream.index != video.index:  # the last ones, which are empty, have no other number
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
        raise  # of this process; nothing is known about the file
    except av.error.FFmpegError as error:
        raise UserError(f"The video {path} is damaged or truncated near frame {count}.") from error
    _require_end(path, container, video, packets, ends)


@contextlib.contextmanager
def watched(path: LocalPath, video: av.VideoStream) -> Iterator[Watch]:
    """What looks for damage that a decoder shows in no frame, for one decoding in this thread.

    FFmpeg marks frames of H.264 that it mended. Of other codings it only writes into its log that something
    was wrong, and goes on with what came of it. libvpx notices wrong bits of VP9 that FFmpeg's decoder takes.
    HEVC may have a checksum for each picture, and Matroska one for each part, at which FFmpeg looks when it
    is told to, and never. Without them no decoder here notices changed bits of VP8 and HEVC (docs/limits.md).
    That of a part is of its sound, too: where that does not decode, it is what was damaged.
    """
    if (place := matroska.damaged_at(path)) is not None and not _sounds_broken(path):
        raise UserError(f"The video {path} is damaged behind byte {place}: its checksum differs.")
    name = video.codec_context.codec.name
    if name == "hevc":
        video.codec_context.options = {"err_detect": "crccheck"}
    second = None
    if name == "vp9" and video.codec_context.pix_fmt == "yuv420p":  # libvpx is seldom built for more bits
        second = av.CodecContext.create("libvpx-vp9", "r")
        second.thread_count = 1
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as lines:

            def look(packet: av.Packet, count: int) -> None:
                if second is not None and packet.size:
                    second.decode(packet)
                said = [text.strip() for _, of, text in lines if of == name and name in OUTSPOKEN]
                lines.clear()
                if said:
                    raise UserError(f"The video {path} is damaged near frame {count} ({name}: {said[0]}).")

            yield look
    finally:
        av.logging.set_level(level)


def heard(
    container: av.container.InputContainer, sound: av.AudioStream, lost: list[int]
) -> Iterator[av.AudioFrame]:
    """Decoded sound; the numbers of packets that do not decode are appended to `lost`."""
    for number, packet in enumerate(container.demux(sound)):
        try:
            yield from packet.decode()
        except av.error.MemoryError:
            raise  # of this process; nothing is known about the file
        except av.error.FFmpegError:
            lost.append(number)


def _sounds_broken(path: LocalPath) -> bool:
    """Whether the sound of a file has packets that do not decode."""
    lost: list[int] = []
    with opened(path) as (container, _):
        for sound in container.streams.audio[:1]:
            if sound.codec_context is not None and not lost:
                collections.deque(heard(container, sound, lost), maxlen=0)
    return bool(lost)


def _end(packet: av.Packet) -> Fraction:
    """When what a packet holds ends, in seconds of the file's clock; 0 where that is not known."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return Fraction(0) if stamp is None else (stamp + (packet.duration or 0)) * packet.time_base


def _require_end(
    path: LocalPath,
    container: av.container.InputContainer,
    video: av.VideoStream,
    packets: int,
    ends: Mapping[int, Fraction],
) -> None:
    """Raise `UserError` where less was there than the header promised.

    Args:
      packets: of pictures that were there.
      ends: seconds at which the streams ended, by their numbers.
    """
    # A header promises a number of frames; edit lists may hide some of them, so the time must be
    # short as well before the file is called truncated.
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
    if container.duration and set(container.format.name.split(",")) & PROMISE_A_LENGTH:
        promised = container.duration / av.time_base  # counted from 0, where the first picture may be later
        there = float(max(ends.values(), default=Fraction(0)))
        picture_S = 1 / float(video.average_rate or video.guessed_rate or 25)
        within = picture_S / 2 if lacks_bytes(path) else ROUNDED_LENGTH_S
        if there < promised - within:
            raise UserError(
                f"The video {path} is truncated: it ends at {there:.1f} s instead of {promised:.1f} s."
            )


def is_cover(video: av.VideoStream) -> bool:
    """Whether a stream is a picture that stands for the film, as on a disc's cover."""
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
            f"The video {path} cannot be read: {error.strerror}; change its rights, or leave it out."
        ) from error
    if not path.is_file():
        what = "is a folder, not a video" if path.is_dir() else "does not exist"
        raise UserError(f"The video {path} {what}.")
    if path.stat().st_size == 0:
        raise UserError(f"The video {path} is empty (0 bytes).")
