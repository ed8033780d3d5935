"""Opening the files of users and decoding their pictures; what is damaged or cut off is said.

FFmpeg shows what it can of a broken file. Here a file is whole or it is refused, because pictures that are
missing or wrong would be released as if they were the video.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
from av.stream import Disposition

from raymaskdp.errors import UserError

# Containers only: no playlists, concatenation scripts, subtitles or pictures, whose demuxers open
# other files or URLs, or find a "video" in a text file.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,nut,mxf,rm"
)


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
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
    path: str | Path, container: av.container.InputContainer, video: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Decoded frames; an error in the middle or an end before the declared one is a `UserError`."""
    count = packets = 0
    end = 0
    try:
        for packet in container.demux(video):
            if packet.size:
                packets += 1
                if packet.is_corrupt:
                    raise UserError(f"The video {path} is damaged or truncated near frame {count}.")
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    end = max(end, stamp + (packet.duration or 0))
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise UserError(f"The video {path} is damaged near frame {count}.")
                yield frame
                count += 1
    except av.error.MemoryError:
        raise  # of this process; nothing is known about the file
    except av.error.FFmpegError as error:
        raise UserError(f"The video {path} is damaged or truncated near frame {count}.") from error
    # A header promises a number of frames; edit lists may hide some of them, so the time must be
    # short as well before the file is called truncated.
    if packets < video.frames and video.duration and video.time_base:
        begin = video.start_time or 0
        missing = float((begin + video.duration - end) * video.time_base)
        if missing > 2.5 / float(video.average_rate or 25):
            raise UserError(
                f"The video {path} is truncated: {packets} of its {video.frames} frames are there."
            )


def is_cover(video: av.VideoStream) -> bool:
    """Whether a stream is a picture that stands for the film, as on a disc's cover."""
    return bool(video.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def require_file(path: str | Path) -> None:
    """Raise `UserError` unless there is a file that is not empty."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a video" if path.is_dir() else "does not exist"
        raise UserError(f"The video {path} {what}.")
    if path.stat().st_size == 0:
        raise UserError(f"The video {path} is empty (0 bytes).")
