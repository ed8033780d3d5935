"""Encoding: H.264 in MP4 that browsers play, or bit-exact RGB. No audio; no metadata except a comment."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from raymaskdp.places import LocalPath
from raymaskdp.video.reader import HD_HEIGHT

CRF = 14
"""x264's quality; at least 40 dB on real clips, which 18 does not reach."""

CONTAINER_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}
"""The index first, for browsers; no dates, no version strings."""

# AVColorSpace, AVColorTransferCharacteristic and AVColorPrimaries of written files.
_TAGS_HD = (1, 1, 1)  # BT.709
_TAGS_SD = (6, 6, 6)  # SMPTE 170M, the BT.601 of 525 lines


class VideoWriter:
    """Writes RGB frames to an MP4 file.

    >>> with VideoWriter("clip.mp4", width=320, height=240, fps=25) as writer:  # doctest: +SKIP
    ...     writer.write(frame_HW3)

    Args:
      path: the file, written in place; give a temporary name if it must be complete or absent.
      width, height: pixels. Odd sizes are kept (in 4:4:4, as 4:2:0 has none).
      fps: frames a second, constant.
      lossless: write the RGB values themselves (H.264 High 4:4:4 at quantizer 0).
      full_range: tag and write luma in 0…255, as some cameras do.
      crf: x264's quality of a lossy file; lower is better.
      comment: of the file, such as `mark.COMMENT`.

    The same frames give the same bytes: one encoder thread, no dates, no version strings.
    """

    def __init__(
        self,
        path: LocalPath,
        *,
        width: int,
        height: int,
        fps: Fraction | float,
        lossless: bool = False,
        full_range: bool = False,
        crf: int = CRF,
        comment: str = "",
    ) -> None:
        rate = Fraction(fps).limit_denominator(100_000)
        self._shape = (height, width, 3)
        self._count = 0
        self._lossless = lossless
        self._reformatter = VideoReformatter()
        self._range = ColorRange.JPEG if full_range else ColorRange.MPEG
        self._matrix = Colorspace.ITU709 if height >= HD_HEIGHT else Colorspace.ITU601
        self._container = av.open(f"file:{path}", "w", format="mp4", options=CONTAINER_OPTIONS)
        if comment:
            self._container.metadata["comment"] = comment
        codec = "libx264rgb" if lossless else "libx264"
        # Without mbtree, whose vectorized code reads uninitialized memory: equal frames gave up to fourteen
        # different files in forty attempts.
        lossy = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        options = {"qp": "0", "preset": "ultrafast"} if lossless else lossy
        video = cast(av.VideoStream, self._container.add_stream(codec, rate=rate, options=options))
        video.width, video.height = width, height
        context = video.codec_context
        context.thread_count = 1
        context.time_base = 1 / rate
        if lossless:
            video.pix_fmt = "rgb24"
        else:
            video.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
            tags = _TAGS_HD if height >= HD_HEIGHT else _TAGS_SD
            context.colorspace, context.color_trc, context.color_primaries = tags
            context.color_range = int(self._range)
        self._video = video

    def write(self, frame_HW3: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3] RGB; `ValueError` for another shape or type."""
        if frame_HW3.shape != self._shape or frame_HW3.dtype != np.uint8:
            raise ValueError(f"frame {frame_HW3.shape} {frame_HW3.dtype} given, {self._shape} uint8 expected")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HW3), format="rgb24")
        if not self._lossless:
            frame = self._reformatter.reformat(
                frame,
                format=self._video.pix_fmt,
                src_color_range=ColorRange.JPEG,
                dst_colorspace=self._matrix,
                dst_color_range=self._range,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
                threads=1,
            )
        frame.pts = self._count
        frame.time_base = self._video.codec_context.time_base
        self._count += 1
        self._container.mux(self._video.encode(frame))

    def close(self) -> None:
        """Flush the encoder and finish the file."""
        self._container.mux(self._video.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()
