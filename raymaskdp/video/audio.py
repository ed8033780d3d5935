"""Give a silent video the sound of another file, encoded anew, so that nothing but sound comes along."""

from __future__ import annotations

from pathlib import Path

import av

from raymaskdp.files import atomic_path
from raymaskdp.video.writer import CONTAINER_OPTIONS

FRAME_SAMPLES = 1024
"""Samples in a frame of AAC."""


def add_sound(video: Path, source: str | Path) -> bool:
    """Add the first audio stream of `source` to the MP4 file `video`, in place, in time with the picture.

    The picture's packets are copied as they are. False, and nothing is changed, where there is no sound.
    Voices identify people: this is for recordings of which that does not matter.
    """
    with av.open(f"file:{source}") as heard, av.open(f"file:{video}") as seen:
        if not heard.streams.audio:
            return False
        sound, picture = heard.streams.audio[0], heard.streams.video[0]
        late = float((sound.start_time or 0) * (sound.time_base or 0))
        late -= float((picture.start_time or 0) * (picture.time_base or 0))
        with (
            atomic_path(video, ours=True) as temporary,
            av.open(f"file:{temporary}", "w", format="mp4", options=CONTAINER_OPTIONS) as made,
        ):
            pictures = made.add_stream_from_template(seen.streams.video[0])
            sounds = made.add_stream("aac", rate=sound.rate)
            sounds.codec_context.layout = "mono" if sound.channels == 1 else "stereo"
            sounds.codec_context.options = {"flags": "+bitexact"}
            resampler = av.AudioResampler(
                format="fltp", layout=sounds.codec_context.layout, rate=sound.rate, frame_size=FRAME_SAMPLES
            )
            for packet in seen.demux(video=0):
                if packet.dts is not None:
                    packet.stream = pictures
                    made.mux(packet)
            position = max(0, round(late * sound.rate))
            for frame in (*heard.decode(audio=0), None):
                for piece in resampler.resample(frame):
                    piece.pts, piece.time_base = position, sounds.codec_context.time_base
                    position += piece.samples
                    made.mux(sounds.encode(piece))
            made.mux(sounds.encode(None))
    return True
