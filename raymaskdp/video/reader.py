"""Decoding. PyAV streams whole videos in constant memory; decord seeks in short-lived readers.

Measured: an idle decord reader holds 848 MB on a 5 MB clip and hangs after a fork, PyAV 35 MB; decord is
several times faster for a few frames from the middle. So there are two functions for the two purposes. Both
yield the frames as a player shows them: rotated, with square pixels, deinterlaced, in the colours of a
standard display, RGB.
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
import av.filter
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.video import tone
from raymaskdp.video.containers import matroska
from raymaskdp.video.containers.display import Display
from raymaskdp.video.decoding import damage_watch, decoded, opened, require_file
from raymaskdp.video.integrity import LOOKED_AT, Integrity, has_picture_hash, integrity
from raymaskdp.video.timing import Timing

MOST_STRETCHED = 8
"""Largest ratio of the sides of a pixel; a larger one is an error in the file."""
HD_HEIGHT = 720
"""Untagged video is BT.709 from this height on and BT.601 below, as browsers assume."""

_JPEG_RANGE = 2
_BT709 = 1
_SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # AVCOL_SPC_* → SWS_CS_*


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Properties of a video, measured by decoding it once.

    Attributes:
      width, height: of the frames that `stream` yields, after rotation, in square pixels.
      fps: mean frame rate, frames a second.
      num_frames: exact number of frames that decode.
      rotation: counter-clockwise degrees that the file specifies and `stream` applies; 0, 90, 180 or 270.
      mirrored: whether `stream` exchanges left and right after that, as the file specifies.
      full_range: whether luma uses 0…255 ("pc") instead of 16…235 ("tv").
      matrix: "bt709" or "bt601", the one used to convert to RGB; others by their FFmpeg number.
      times, tick: presentation times of frames, if the rate is not constant; see `Timing`.
      changed: differences from the file that make it look right on every display; a few words each.
      integrity: what would detect damaged frames; see `video.integrity`.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int
    rotation: int = 0
    mirrored: bool = False
    full_range: bool = False
    matrix: str = "bt709"
    times: tuple[int, ...] = ()
    tick: Fraction = Fraction(1, 1000)
    changed: tuple[str, ...] = ()
    integrity: Integrity = "decoder"

    @property
    def shown_T(self) -> np.ndarray:
        """Presentation time of each frame, float64 [T], in seconds after the first one."""
        if self.times:
            return np.array(self.times[:-1]) * float(self.tick)
        return np.arange(self.num_frames) / float(self.fps)

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.times[-1] * self.tick if self.times else self.num_frames / self.fps)


def probe(path: LocalPath) -> VideoInfo:
    """Decode `path` once, in constant memory, and return its properties.

    Raises `UserError` for a file that is missing, empty, truncated, damaged, not a video, or has no video
    stream.
    """
    first: av.VideoFrame | None = None
    display = Display()
    coded: list[int] = []  # time stamps of coded pictures
    stamps: list[int | None] = []
    last: int | None = None
    interlaced = checked = False
    with opened(path) as (container, video), damage_watch(path, video) as watch:
        codec, head = video.codec_context.codec.name, video.codec_context.extradata

        def look(packet: av.Packet, count: int) -> None:
            nonlocal checked
            if codec == "hevc" and count < LOOKED_AT and not checked:
                checked = has_picture_hash(bytes(packet), head)
            if packet.size and packet.dts is not None:
                coded.append(packet.dts)
            watch(packet, count)

        for frame in decoded(path, container, video, look):
            if first is None:
                first, display = frame, Display.of(path, frame)
            elif (frame.width, frame.height) != (first.width, first.height):
                raise UserError(f"The video {path} changes its frame size; convert it to one size.")
            elif Display.of(path, frame) != display:
                raise UserError(f"The video {path} changes its orientation; convert it to one.")
            stamps.append(frame.pts)
            last = frame.duration or None
            interlaced |= frame.interlaced_frame
        if first is None:
            raise UserError(f"The video {path} has no frame that decodes; it may be truncated.")
        width, height = _square(path, video, first)
        if container.format.name == "avi" and len(coded) == len(stamps):
            # AVI numbers coded frames. FFmpeg estimates their presentation times, wrongly if some are
            # missing.
            stamps = [*sorted(coded)]
        rates = (video.average_rate, video.guessed_rate)
        if video.duration and stamps[-1] is not None:
            left = (video.start_time or 0) + video.duration - stamps[-1]
            last = left if left > 0 else last
        timing = Timing.of(stamps, video.time_base, rates, last)
    changed = [f"brought from {kind} to BT.709" for kind in [_kind(first)] if kind]
    if (width, height) != (first.width, first.height):
        changed.append(f"{first.width}×{first.height} stretched to square pixels")
    if interlaced:
        changed.append("deinterlaced")
    return VideoInfo(
        width=height if display.swaps_sides else width,
        height=width if display.swaps_sides else height,
        fps=timing.fps,
        num_frames=len(stamps),
        rotation=90 * display.turns,
        mirrored=display.mirrored,
        full_range=_full_range(first) and not _kind(first),
        matrix=_matrix_name(first),
        times=timing.times,
        tick=timing.tick,
        changed=tuple(changed),
        integrity=integrity(codec, checked=checked or matroska.has_checksums(path)),
    )


def stream(path: LocalPath, start: int = 0) -> Generator[np.ndarray, None, None]:
    """Frames in presentation order, uint8 [H, W, 3] RGB; one decoder thread, constant memory.

    Those before number `start` are decoded and dropped, because seeking is exact in few files. Raises
    `UserError` as `probe` does, when decoding reaches the error.
    """
    reformatter = VideoReformatter()
    with opened(path) as (container, video):
        size: tuple[int, int] | None = None
        frames = _deinterlaced(decoded(path, container, video))
        for frame in itertools.islice(frames, start, None):
            size = size or _square(path, video, frame)
            yield Display.of(path, frame).upright(_to_rgb(frame, reformatter, size))


def read_frames(path: LocalPath, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The frames at `indices` (any order, repeats allowed), uint8 [T, H, W, 3] RGB, by seeking.

    The reader exists for this call only. If decord shows a video differently from a player, frames are
    decoded up to the last requested one. Raises `UserError` for a file that cannot be read and `IndexError`
    for an index outside the video.
    """
    import decord  # here, because it starts threads that do not survive a fork

    require_file(path)
    wanted = np.asarray(indices, dtype=np.int64)
    if not _is_ordinary(path):
        return _picked(path, wanted)
    with tempfile.TemporaryDirectory(prefix="raymaskdp-") as folder:
        readable = Path(folder) / "video"  # decord requires names in UTF-8
        readable.symlink_to(Path(path).absolute())
        try:
            reader = decord.VideoReader(str(readable), num_threads=1)
            if not wanted.size or (wanted.min() >= 0 and wanted.max() < len(reader)):
                frames: np.ndarray = reader.get_batch(wanted.tolist()).asnumpy()
                return frames
        except (decord.DECORDError, RuntimeError):
            pass  # it refuses some widths below 80 pixels; errors of the file are detected below
    return _picked(path, wanted)


def _is_ordinary(path: LocalPath) -> bool:
    """Whether the frames of a video are shown as coded, apart from rotation, by its first frame."""
    with contextlib.suppress(UserError), opened(path) as (container, video):
        frame = next(decoded(path, container, video), None)
        if frame is None:
            return True
        return (
            video.index == container.streams.video[0].index
            and _square(path, video, frame) == (frame.width, frame.height)
            and not _kind(frame)
            and not frame.interlaced_frame
            and not Display.of(path, frame).mirrored
        )
    return True


def _picked(path: LocalPath, wanted: np.ndarray) -> np.ndarray:
    """Some frames of `stream`."""
    kept: dict[int, np.ndarray] = {}
    count = 0
    with contextlib.closing(stream(path)) as frames:
        for count, frame_HW3 in enumerate(frames, start=1):
            if count - 1 in wanted:
                kept[count - 1] = frame_HW3
            if count > wanted.max(initial=0):
                break
    if wanted.size and (wanted.min() < 0 or wanted.max() >= count):
        raise IndexError(f"frames {wanted.min()}…{wanted.max()} of {path} requested, but it has {count}")
    return np.stack([kept[index] for index in wanted.tolist()])


def _deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Progressive frames: from the first interlaced frame on, frames are deinterlaced.

    The first field of an interlaced frame is kept, and the other lines are interpolated from it and from the
    neighbouring fields (bwdif). Frames that are not marked as interlaced are unchanged. The number of frames
    is unchanged.
    """
    graph: av.filter.Graph | None = None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
            )
            bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        graph.vpush(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _square(path: LocalPath, video: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of a frame before rotation, in square pixels; the shorter of the two is stretched."""
    shape = video.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, MOST_STRETCHED) <= shape <= MOST_STRETCHED:
        raise UserError(f"The video {path} has pixels {shape} times as wide as high; fix the file.")
    if shape == 1:
        return frame.width, frame.height
    if shape > 1:
        return _even(frame.width * shape), frame.height
    return frame.width, _even(frame.height / shape)


def _even(side: Fraction) -> int:
    """The nearest even number of pixels, which all players support."""
    return 2 * round(side / 2)


def _kind(frame: av.VideoFrame) -> str | None:
    """The kind of colours that have to be converted; None for those of a standard display."""
    return tone.name_of(int(frame.color_trc), int(frame.color_primaries))


def _to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int]) -> np.ndarray:
    kind = _kind(frame)
    stretched = size != (frame.width, frame.height)
    kernel = Interpolation.BICUBIC if stretched else Interpolation.BILINEAR
    rgb = reformatter.reformat(
        frame,
        width=size[0],
        height=size[1],
        format="gbrp16le" if kind else "rgb24",
        src_colorspace=Colorspace(_matrix(frame)),
        src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        # Without accurate rounding swscale uses a fast path that darkens by up to two levels. Between chroma
        # samples linear interpolation differs from a cubic by 0.3 levels, and takes half of the time.
        interpolation=kernel | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    ).to_ndarray()
    if kind:
        rgb = tone.to_sdr(rgb, kind)
    return rgb


def _full_range(frame: av.VideoFrame) -> bool:
    return int(frame.color_range) == _JPEG_RANGE or frame.format.name.startswith("yuvj")


def _matrix(frame: av.VideoFrame) -> int:
    """swscale's number of the YUV matrix; the usual default if the file has none."""
    untagged = 1 if frame.height >= HD_HEIGHT else 5
    return _SWSCALE_MATRICES.get(int(frame.colorspace), untagged)


def _matrix_name(frame: av.VideoFrame) -> str:
    number = _matrix(frame)
    return {1: "bt709", 5: "bt601"}.get(number, str(number))


class VideoFrames:
    """The frames of a video, uint8 RGB [H, W, 3], as an iterable that can be iterated repeatedly.

    Args:
      path: a readable video file. `UserError` is raised if it cannot be read.
    """

    def __init__(self, path: LocalPath) -> None:
        self._path = path

    def __iter__(self) -> Iterator[np.ndarray]:
        return stream(self._path)
