"""Small copies of videos for the page's players, beside the page or embedded in it."""

from __future__ import annotations

import base64
import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.files import atomic_path, mark_outputs, remove_made
from raymaskdp.places import LocalPath
from raymaskdp.video import reader
from raymaskdp.video.containers.mark import COMMENT
from raymaskdp.video.writer import VideoWriter

MOST_ROWS, MOST_SECONDS, CRF = 240, 20, 26
"""Limits of a copy: height in pixels, length in seconds; and x264's quality."""


@dataclass(kw_only=True, eq=False)
class PlayerFiles:
    """The copies: files in `folder` that a page refers to as `link`, or embedded in the page (`embed`).

    Files of an earlier report in the folder are removed, so that no source remains that should not be shown.
    """

    folder: Path
    link: str
    embed: bool = False
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        remove_made(self.folder)

    def put(self, video: LocalPath, *, fps: float) -> str:
        """Copy the beginning of a video; returns the value of `src`.

        Raises `UserError` if the video cannot be read.
        """
        if self.embed:
            with tempfile.TemporaryDirectory() as work:
                _copy(video, Path(work) / "copy.mp4", fps)
                data = base64.b64encode((Path(work) / "copy.mp4").read_bytes()).decode("ascii")
            return f"data:video/mp4;base64,{data}"
        self._count += 1
        mark_outputs(self.folder)
        name = f"{self._count:03d}.mp4"
        with atomic_path(self.folder / name) as temporary:
            _copy(video, temporary, fps)
        return f"{self.link}/{name}"


def _copy(video: LocalPath, target: Path, fps: float) -> None:
    frames = itertools.islice(reader.stream(video), max(1, round(MOST_SECONDS * fps)))
    first_HW3 = next(frames)
    scale = min(1.0, MOST_ROWS / first_HW3.shape[0])
    # Even sizes, because every browser plays 4:2:0.
    height, width = (max(2, 2 * round(scale * side / 2)) for side in first_HW3.shape[:2])
    with VideoWriter(target, width=width, height=height, fps=fps, crf=CRF, comment=COMMENT) as writer:
        for frame_HW3 in itertools.chain([first_HW3], frames):
            small_HW3 = cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_AREA)
            writer.write(np.ascontiguousarray(small_HW3))
