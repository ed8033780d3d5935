"""Add the sound of another file to a silent video. It is re-encoded, so that nothing but sound is copied.

The sound stays synchronous with the frames: time is counted from the first frame on, earlier sound is cut
off, and gaps become silence.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.places import LocalPath
from raymaskdp.video.decoding import decoded, decoded_sound, opened
from raymaskdp.video.writer import CONTAINER_OPTIONS

FRAME_SAMPLES = 1024
"""Samples in a frame of AAC."""

JUMP_S = 0.01
"""Offset of the sound in seconds from which it is corrected; containers round times to milliseconds."""


def damaged_sound(path: LocalPath) -> int:
    """Number of packets of the sound of `path` that do not decode; 0 without sound.

    Raises `UserError` if it has sound of which no packet decodes.
    """
    with opened(path) as (container, _):
        sound = _sound(path, container)
        if sound is None:
            return 0
        lost: list[int] = []
        if not sum(1 for _ in decoded_sound(container, sound, lost)) and lost:
            raise UserError(
                f"The sound of {path} is damaged; set composite.keep_audio=false to leave it out."
            )
        return len(lost)


def add_sound(video: Path, source: LocalPath) -> bool:
    """Add the first audio stream of `source` that can be decoded to the MP4 file `video`, in place.

    The sound is synchronized by the first frames of `video` and `source`. Video packets are copied unchanged.
    Sound packets that do not decode become silence. Without sound, the result is False and nothing is
    changed. Raises `UserError` for sound without a decoder. Voices identify people: use this only for
    recordings in which that does not matter.
    """
    with opened(source) as (seen, picture):
        first = next(decoded(source, seen, picture), None)
        begin = Fraction(0) if first is None else _time(first) or Fraction(0)
    with opened(source) as (listened, _), av.open(f"file:{video}") as silent:
        sound = _sound(source, listened)
        frames = iter(()) if sound is None else decoded_sound(listened, sound, [])
        opening = next(frames, None)
        if opening is None:
            return False
        with (
            atomic_path(video, ours=True) as temporary,
            av.open(f"file:{temporary}", "w", format="mp4", options=CONTAINER_OPTIONS) as made,
        ):
            if comment := silent.metadata.get("comment"):
                made.metadata["comment"] = comment
            pictures = made.add_stream_from_template(silent.streams.video[0])
            end = Fraction(silent.duration or 0, int(av.time_base))
            track = _Track(made, opening)
            sounds = track.packets(itertools.chain([opening], frames), begin, end)
            # Interleaved in the order of time, so that neither stream is buffered in memory.
            for packet in heapq.merge(_pictures(silent, pictures), sounds, key=_when):
                made.mux(packet)
    return True


class _Track:
    """The sound of the output: AAC from the first frame on, without a gap."""

    def __init__(self, made: av.container.OutputContainer, like: av.AudioFrame) -> None:
        rates = sorted(av.codec.Codec("aac", "w").audio_rates or ())
        self._rate = next((rate for rate in rates if rate >= like.sample_rate), rates[-1])
        self._layout = "mono" if len(like.layout.channels) == 1 else "stereo"
        self._stream = made.add_stream("aac", rate=self._rate)
        self._stream.codec_context.layout = self._layout
        self._stream.codec_context.options = {"flags": "+bitexact"}
        self._waiting_CN = np.zeros((len(self._stream.codec_context.layout.channels), 0), np.float32)
        self._encoded = 0
        self._skip = 0

    def packets(self, frames: Iterator[av.AudioFrame], begin: Fraction, end: Fraction) -> Iterator[av.Packet]:
        """Encoded sound.

        Args:
          begin: time of the first frame, in seconds of the source's clock.
          end: duration of the frames, in seconds; no silence is added beyond it.
        """
        resampler: av.AudioResampler | None = None
        kind: tuple[str, str, int] | None = None
        expected = Fraction(0)
        for frame in frames:
            stamp = _time(frame)
            time = expected if stamp is None else stamp - begin
            this = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or this != kind or abs(time - expected) > JUMP_S:
                if resampler is not None:
                    if time > max(expected, end):
                        break
                    yield from self._lay(resampler.resample(None))
                resampler, kind, expected = self._resampler(), this, time
                yield from self._go_to(round(time * self._rate))
            expected += Fraction(frame.samples, frame.sample_rate)
            frame.pts = None
            yield from self._lay(resampler.resample(frame))
        if resampler is not None:
            yield from self._lay(resampler.resample(None))
        if self._waiting_CN.shape[1]:
            yield from self._encode(self._waiting_CN)
        yield from self._stream.encode(None)

    def _resampler(self) -> av.AudioResampler:
        return av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)

    def _go_to(self, position: int) -> Iterator[av.Packet]:
        """Add silence up to a sample; or drop as many of the next samples as are before the present one."""
        missing = position - self._encoded - self._waiting_CN.shape[1]
        self._skip = max(0, -missing)
        while missing > 0:
            count = min(missing, self._rate)
            missing -= count
            yield from self._add(np.zeros((len(self._waiting_CN), count), np.float32))

    def _lay(self, pieces: list[av.AudioFrame]) -> Iterator[av.Packet]:
        for piece in pieces:
            samples_CN = piece.to_ndarray()
            dropped = min(self._skip, samples_CN.shape[1])
            self._skip -= dropped
            yield from self._add(samples_CN[:, dropped:])

    def _add(self, samples_CN: np.ndarray) -> Iterator[av.Packet]:
        self._waiting_CN = np.concatenate([self._waiting_CN, samples_CN], axis=1)
        while self._waiting_CN.shape[1] >= FRAME_SAMPLES:
            yield from self._encode(self._waiting_CN[:, :FRAME_SAMPLES])
            self._waiting_CN = self._waiting_CN[:, FRAME_SAMPLES:]

    def _encode(self, samples_CN: np.ndarray) -> Iterator[av.Packet]:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples_CN), format="fltp", layout=self._layout
        )
        frame.sample_rate = self._rate
        frame.pts, frame.time_base = self._encoded, Fraction(1, self._rate)
        self._encoded += samples_CN.shape[1]
        yield from self._stream.encode(frame)


def _sound(path: LocalPath, container: av.container.InputContainer) -> av.AudioStream | None:
    """The first audio stream that can be decoded; None without sound."""
    streams = container.streams.audio
    for stream in streams:
        if stream.codec_context is not None:  # PyAV's value if FFmpeg has no decoder, despite its type
            return stream
    if streams:
        raise UserError(
            f"The sound of {path} has a codec that this FFmpeg build does not have; "
            "convert it, or remove it (composite.keep_audio=false)."
        )
    return None


def _pictures(silent: av.container.InputContainer, to: av.VideoStream) -> Iterator[av.Packet]:
    for packet in silent.demux(video=0):
        if packet.dts is not None:
            packet.stream = to
            yield packet


def _time(frame: av.AudioFrame | av.VideoFrame) -> Fraction | None:
    """Time of the beginning of a frame, in seconds of its file's clock; None if the file has none."""
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def _when(packet: av.Packet) -> Fraction:
    return (packet.dts or 0) * packet.time_base
