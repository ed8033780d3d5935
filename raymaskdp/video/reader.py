"""Decoding. PyAV streams whole videos in constant memory; decord seeks in short-lived readers.

Measured: an idle decord reader holds 848 MB on a 5 MB clip and hangs after a fork, PyAV 35 MB; decord
is several times faster at a few frames from the middle. So there are two functions, each where it
is right, and both yield the frames that a player shows: rotated as the file says, RGB.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from raymaskdp.errors import UserError

# Containers only: no playlists, concatenation scripts, subtitles or pictures, whose demuxers open
# other files or URLs, or find a "video" in a text file.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,nut,mxf,rm"
)
HD_HEIGHT = 720
"""Untagged video is BT.709 from this height on and BT.601 below, as browsers assume."""

_JPEG_RANGE = 2
_BT709 = 1
_SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # AVCOL_SPC_* → SWS_CS_*


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video is, measured by decoding it once.

    Attributes:
      width, height: of the frames that `stream` yields, after rotation, in pixels.
      fps: mean frame rate, frames a second.
      num_frames: frames that decode, exactly.
      rotation: counter-clockwise degrees that the file asks for and `stream` applies; 0, 90, 180 or 270.
      full_range: whether luma uses 0…255 ("pc") instead of 16…235 ("tv").
      matrix: "bt709" or "bt601", the one used to convert to RGB; others by their FFmpeg number.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int
    rotation: int = 0
    full_range: bool = False
    matrix: str = "bt709"

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.num_frames / self.fps)


def probe(path: str | Path) -> VideoInfo:
    """Decode `path` once, in constant memory, and say what it is.

    Raises `UserError` for a file that is missing, empty, truncated, damaged, no video, or has no
    video stream.
    """
    first: av.VideoFrame | None = None
    num_frames = 0
    with _opened(path) as (container, video):
        for frame in _decoded(path, container, video):
            if first is None:
                first = frame
            elif (frame.width, frame.height) != (first.width, first.height):
                raise UserError(f"The video {path} changes its frame size; convert it to one size.")
            num_frames += 1
        if first is None:
            raise UserError(f"The video {path} has no frame that decodes; it may be truncated.")
        fps = video.average_rate or video.guessed_rate or Fraction(25)
    turned = _quarter_turns(first) % 2 == 1
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    return VideoInfo(
        width=width,
        height=height,
        fps=Fraction(fps),
        num_frames=num_frames,
        rotation=90 * _quarter_turns(first),
        full_range=_full_range(first),
        matrix=_matrix_name(first),
    )


def stream(path: str | Path, start: int = 0) -> Generator[np.ndarray, None, None]:
    """Frames in the order they are shown, uint8 [H, W, 3] RGB; one decoder thread, constant memory.

    Those before number `start` are decoded and dropped: no seeking, which is exact in few files.
    Raises `UserError` where `probe` does, when the trouble is reached.
    """
    reformatter = VideoReformatter()
    with _opened(path) as (container, video):
        for frame in itertools.islice(_decoded(path, container, video), start, None):
            yield _to_rgb(frame, reformatter)


def read_frames(path: str | Path, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The frames at `indices` (any order, repeats allowed), uint8 [T, H, W, 3] RGB, by seeking.

    The reader lives for this call only. decord refuses a few widths below 80 pixels. Raises `UserError`
    for a file that cannot be read and `IndexError` for an index outside the video.
    """
    import decord  # here, because it starts threads that do not survive a fork

    _require_file(path)
    wanted = np.asarray(indices, dtype=np.int64)
    with tempfile.TemporaryDirectory(prefix="raymaskdp-") as folder:
        readable = Path(folder) / "video"  # decord takes no name that is not UTF-8
        readable.symlink_to(Path(path).absolute())
        try:
            reader = decord.VideoReader(str(readable), num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise UserError(f"The file {path} cannot be read as a video.") from error
    if wanted.size and (wanted.min() < 0 or wanted.max() >= len(reader)):
        raise IndexError(
            f"frames {wanted.min()}…{wanted.max()} of {path} asked for, but it has {len(reader)}"
        )
    try:
        frames: np.ndarray = reader.get_batch(wanted.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise UserError(f"The video {path} is damaged: its frames do not decode.") from error
    return frames


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    _require_file(path)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"The file {path} is not a video that can be read, or it is truncated.") from error
    with container:
        if not container.streams.video:
            raise UserError(f"The file {path} has no video stream.")
        video = container.streams.video[0]
        if video.codec_context is None:
            raise UserError(f"The video {path} uses a codec that this FFmpeg build does not have.")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        yield container, video


def _decoded(
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


def _to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    rgb = reformatter.reformat(
        frame,
        format="rgb24",
        src_colorspace=Colorspace(_matrix(frame)),
        src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        # Without accurate rounding swscale takes a short cut that darkens by up to two levels. Between chroma
        # samples a straight line is 0.3 levels from a cubic, and takes half of the time.
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    ).to_ndarray()
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _full_range(frame: av.VideoFrame) -> bool:
    return int(frame.color_range) == _JPEG_RANGE or frame.format.name.startswith("yuvj")


def _matrix(frame: av.VideoFrame) -> int:
    """swscale's number of the YUV matrix; the usual guess where the file does not say."""
    untagged = 1 if frame.height >= HD_HEIGHT else 5
    return _SWSCALE_MATRICES.get(int(frame.colorspace), untagged)


def _matrix_name(frame: av.VideoFrame) -> str:
    number = _matrix(frame)
    return {1: "bt709", 5: "bt601"}.get(number, str(number))


def _require_file(path: str | Path) -> None:
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a video" if path.is_dir() else "does not exist"
        raise UserError(f"The video {path} {what}.")
    if path.stat().st_size == 0:
        raise UserError(f"The video {path} is empty (0 bytes).")


class VideoFrames:
    """The frames of a video, uint8 RGB [H, W, 3], to go through as often as one likes.

    Args:
      path: a readable video file. `UserError` is raised where it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[np.ndarray]:
        return stream(self._path)
