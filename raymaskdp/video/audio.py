"""Give a silent video the sound of another file, encoded anew, so that nothing but sound is copied.

Every sample stays with the picture at which it was heard: time is counted from the first picture on, sound
from before it is cut off, and holes become silence.
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
from raymaskdp.video.decoding import decoded, heard, opened
from raymaskdp.video.writer import CONTAINER_OPTIONS

FRAME_SAMPLES = 1024
"""Samples in a frame of AAC."""

JUMP_S = 0.01
"""Seconds by which sound may be off before it is set right; containers round its times to milliseconds."""


def damaged_sound(path: LocalPath) -> int:
    """How many packets of the sound of `path` do not decode; 0 where it has no sound.

    Raises `UserError` if it has sound of which nothing decodes.
    """
    with opened(path) as (container, _):
        sound = _sound(path, container)
        if sound is None:
            return 0
        lost: list[int] = []
        if not sum(1 for _ in heard(container, sound, lost)) and lost:
            raise UserError(
                f"The sound of {path} is damaged; set composite.keep_audio=false to leave it out."
            )
        return len(lost)


def add_sound(video: Path, source: LocalPath) -> bool:
    """Add the first audio stream of `source` that can be decoded to the MP4 file `video`, in place.

    The sound is in time with the pictures, of which the first ones of `video` and `source` belong together.
    Packets of pictures are copied as they are. Packets of sound that do not decode become silence. False, and
    nothing is changed, where there is no sound. Raises `UserError` for sound without a decoder.
    Voices identify people: this is for recordings of which that does not matter.
    """
    with opened(source) as (seen, picture):
        first = next(decoded(source, seen, picture), None)
        begin = Fraction(0) if first is None else _time(first) or Fraction(0)
    with opened(source) as (listened, _), av.open(f"file:{video}") as silent:
        sound = _sound(source, listened)
        frames = iter(()) if sound is None else heard(listened, sound, [])
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
            # By turns, as they are played, so that neither waits in memory for the other.
            for packet in heapq.merge(_pictures(silent, pictures), sounds, key=_when):
                made.mux(packet)
    return True


class _Track:
    """The sound of the output: AAC from the first picture on, without a hole."""

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
          begin: when the first picture is shown, in seconds of the frames' clock.
          end: how long the pictures last, in seconds; silence is not made beyond it.
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
        """Silence up to a sample; or drop as many of those to come as are before what there is."""
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
    """The first audio stream that can be decoded; None where there is no sound at all."""
    streams = container.streams.audio
    for stream in streams:
        if stream.codec_context is not None:  # what PyAV gives where FFmpeg has no decoder, whatever it says
            return stream
    if streams:
        raise UserError(
            f"The sound of {path} is coded in a way that this FFmpeg does not decode; "
            "convert it, or leave it out (composite.keep_audio=false)."
        )
    return None


def _pictures(silent: av.container.InputContainer, to: av.VideoStream) -> Iterator[av.Packet]:
    for packet in silent.demux(video=0):
        if packet.dts is not None:
            packet.stream = to
            yield packet


def _time(frame: av.AudioFrame | av.VideoFrame) -> Fraction | None:
    """When a frame begins, in seconds of its file's clock; None where the file does not say."""
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def _when(packet: av.Packet) -> Fraction:
    return (packet.dts or 0) * packet.time_base
