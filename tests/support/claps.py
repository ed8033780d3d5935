"""Films with a clap, written as cameras and editors write them, and where the clap is in a file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def clapped(
    path: Path,
    frames: Sequence[np.ndarray],
    clap: Fraction,
    *,
    stamps: Sequence[int],
    hole: tuple[Fraction, Fraction] | None = None,
    rate: int = 48_000,
    begin: Fraction = Fraction(0),
    codec: str = "pcm_s16le",
    form: str = "matroska",
    tick: Fraction = Fraction(1, 1000),
    channels: str = "mono",
    title: bytes = b"",
) -> Path:
    """Write frames (uint8 [H, W, 3]) at their times, and sound with a click at `clap`.

    Args:
      clap, begin: seconds of the file's clock: of the click, and of the first sample.
      stamps: of the frames, in ticks.
      hole: from when to when there is no packet of sound.
      title: written into the file as it is, in the place of a title.
    """
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=form) as made:
        if title:
            made.metadata["title"] = "T" * len(title)
        video = made.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = video.time_base = tick
        audio = made.add_stream(codec, rate=rate)
        audio.codec_context.layout = channels
        length = round((float((stamps[-1] + 1) * tick) + 0.3 - float(begin)) * rate)
        wave_CN = np.zeros((len(audio.codec_context.layout.channels), length), np.float32)
        at = round((clap - begin) * rate)
        wave_CN[:, at : at + rate // 500] = 0.9
        packets: list[av.Packet] = []
        for array, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = stamp, tick
            packets += video.encode(frame)
        packets += video.encode(None)
        size = audio.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=audio.format, layout=channels, rate=rate)
        for start in range(0, length, size):
            time = begin + Fraction(start, rate)
            if hole is not None and hole[0] <= time < hole[1]:
                continue
            piece = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wave_CN[:, start : start + size]), format="fltp", layout=channels
            )
            piece.sample_rate = rate
            for frame in resampler.resample(piece):
                frame.pts, frame.time_base = round(time * rate), Fraction(1, rate)
                packets += audio.encode(frame)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            made.mux(packet)
    if title:
        content = path.read_bytes()
        assert content.count(b"T" * len(title))
        path.write_bytes(content.replace(b"T" * len(title), title))
    return path


def heard(path: Path) -> tuple[np.ndarray, int, float]:
    """The sound of a file as a player gives it: float [N] of one channel, its rate, its begin in s."""
    with av.open(str(path), metadata_errors="replace") as container:
        frames = list(container.decode(audio=0))
    rate, begin = frames[0].sample_rate, float(frames[0].time)
    ends = [float(frame.time) - begin + frame.samples / rate for frame in frames]
    samples = np.zeros(round(max(ends) * rate) + 1)
    for frame in frames:
        array = frame.to_ndarray()
        one = array[0] if frame.format.is_planar else array[0, :: len(frame.layout.channels)]
        start = round((float(frame.time) - begin) * rate)
        samples[start : start + len(one)] = one[: len(samples) - start]
    return samples, rate, begin


def clap_of(path: Path) -> float:
    """When the clap begins, in seconds of the file's clock."""
    samples, rate, begin = heard(path)
    loud = np.abs(samples) > 0.4 * np.abs(samples).max()
    return begin + int(np.flatnonzero(loud)[0]) / rate


def picture_of(path: Path, number: int) -> float:
    """When a picture is shown, in seconds of the file's clock."""
    with av.open(str(path), metadata_errors="replace") as container:
        return float([frame.time for frame in container.decode(video=0)][number])
