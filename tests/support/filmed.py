"""Films of moving blocks with every property that is asked for, made with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLOCK = Fraction(1, 90_000)


def blocks(number: int, width: int, height: int) -> np.ndarray:
    """A frame, uint8 [H, W, 3]: a bright block that moves by 8 pixels a frame over soft stripes."""
    columns = np.arange(width)
    frame = np.repeat((80 + 40 * np.sin(columns / 9))[None, :, None], height, 0).repeat(3, 2)
    left = (8 * number) % max(1, width - 16)
    frame[height // 4 : height // 2, left : left + 16] = (230, 120, 60)
    return frame.astype(np.uint8)


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    stamps: Sequence[int] | None = None,
    tick: Fraction = CLOCK,
    fps: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    aspect: Fraction | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int] | None = None,
    form: str | None = None,
) -> Path:
    """Write frames (uint8 or, for rgb48le, uint16) to a file.

    Args:
      stamps: when each is shown, in ticks; None for a constant rate.
      tags: colour space, transfer and primaries, by their FFmpeg numbers.
    """
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream(codec, rate=fps, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pixels
        context = video.codec_context
        if stamps is not None:
            context.time_base = tick
            video.time_base = tick
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if tags is not None:
            context.colorspace, context.color_trc, context.color_primaries = tags
        if rotation:
            video.set_display_rotation(rotation)
        for number, array in enumerate(frames):
            if array.dtype == np.uint8:
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            else:
                frame = av.VideoFrame.from_ndarray(array, format="rgb48le")
            if tags is not None:
                frame = frame.reformat(format=pixels, dst_colorspace=9, src_color_range=2, dst_color_range=1)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = Fraction(1, fps) if stamps is None else tick
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def times(path: Path) -> list[Fraction]:
    """When the pictures of a file are shown, in seconds behind the first, without decoding."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        stamps = sorted(packet.pts for packet in container.demux(video) if packet.pts is not None)
        return [(stamp - stamps[0]) * video.time_base for stamp in stamps]
