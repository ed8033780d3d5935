"""Sound is added to a finished video, in time, and brings nothing else along."""

from pathlib import Path

import av
import numpy as np
import pytest

from raymaskdp.video.audio import add_sound
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.writer import VideoWriter

RATE, FPS, FRAMES = 44_100, 10, 12


def silent(path: Path, seed: int) -> list[np.ndarray]:
    frames = list(np.random.default_rng(seed).integers(0, 255, (FRAMES, 48, 64, 3), dtype=np.uint8))
    with VideoWriter(path, width=64, height=48, fps=FPS) as writer:
        for frame in frames:
            writer.write(frame)
    return frames


def talking(path: Path, codec: str, container: str) -> None:
    """A video with a tone in its second half, and a note about who made it."""
    pictures = path.with_suffix(".silent.mp4")
    silent(pictures, 1)
    with av.open(str(pictures)) as seen, av.open(str(path), "w", format=container) as made:
        made.metadata["title"] = "Anna Kowalski"
        video = made.add_stream_from_template(seen.streams.video[0])
        audio = made.add_stream(codec, rate=RATE)
        audio.layout = "mono"
        audio.metadata["title"] = "Anna's microphone"
        for packet in seen.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
        time = np.arange(RATE * FRAMES // FPS) / RATE
        wave = (0.5 * np.sin(2 * np.pi * 440 * time) * (time > 0.6)).astype(np.float32)
        resampler = av.AudioResampler(format=audio.format, layout="mono", rate=RATE, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            made.mux(audio.encode(piece))
        made.mux(audio.encode(None))


@pytest.mark.parametrize(("codec", "container"), [("aac", "mp4"), ("pcm_s16le", "matroska")])
def test_the_sound_comes_over_in_time_and_alone(tmp_path: Path, codec: str, container: str) -> None:
    source, video = tmp_path / f"source.{container}", tmp_path / "video.mp4"
    talking(source, codec, container)
    silent(video, 2)
    before = list(stream(video))
    assert add_sound(video, source)
    np.testing.assert_array_equal(list(stream(video)), before)
    assert probe(video).num_frames == FRAMES
    with av.open(str(video)) as made:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in made.decode(audio=0)])
        told = str({**made.metadata, **made.streams.audio[0].metadata, **made.streams.video[0].metadata})
    assert "Anna" not in told
    assert b"Anna" not in video.read_bytes()
    assert abs(len(heard) / RATE - FRAMES / FPS) < 0.1
    assert np.abs(heard[: int(0.5 * RATE)]).max() < 0.02
    tone = heard[int(0.7 * RATE) : int(1.1 * RATE)]
    assert abs(np.abs(np.fft.rfft(tone)).argmax() / len(tone) * RATE - 440) < 5


def test_a_source_without_sound_changes_nothing(tmp_path: Path) -> None:
    source, video = tmp_path / "source.mp4", tmp_path / "video.mp4"
    silent(source, 1)
    silent(video, 2)
    before = video.read_bytes()
    assert not add_sound(video, source)
    assert video.read_bytes() == before
