"""Films that do harm, for tests of several parts."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def bomb(path: Path, *, size: int = 2048, frames: int = 2000) -> None:
    """Few bytes for many large frames: one packet that says "the same again"."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        still = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90, np.uint8), format="rgb24")
        packets = []
        for number in range(2):
            still.pts, still.time_base = number, Fraction(1, 25)
            packets += video.encode(still)
        packets += video.encode(None)
        first, again = bytes(packets[0]), bytes(packets[1])
        for number in range(frames):
            packet = av.Packet(again if number else first)
            packet.stream, packet.time_base = video, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration = 1
            packet.is_keyframe = number == 0
            container.mux(packet)
