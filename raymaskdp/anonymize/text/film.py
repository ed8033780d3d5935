"""Where text is in every frame of a video.

Shape suffixes: H×W pixels, N lines, 4 coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people.boxes import same_things
from raymaskdp.anonymize.people.masks import box_patch
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.masks import pack
from raymaskdp.video.reader import VideoInfo

EVERY_S = 0.25
"""Seconds between two frames that the detector processes."""

REACH = 1.0
"""Largest motion of a line between two of them, in longer sides of the larger box."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextFilm:
    """The text of a video.

    Attributes:
      masks_TB: packed masks of its lines.
      lines: the largest number of lines in one frame.
    """

    masks_TB: MaskFilm
    lines: int


def find_text(
    frames: Iterable[np.ndarray], info: VideoInfo, detect: Callable[[np.ndarray], np.ndarray]
) -> TextFilm:
    """The text in `frames` (uint8 RGB [H, W, 3] each).

    Between two processed frames a line moves steadily. One that only one of them has is there in all frames
    between them.

    Args:
      detect: the boxes of the lines of an image, float64 [N, 4], such as `TextDetector`.
    """
    every = max(1, round(EVERY_S * float(info.fps)))
    lines_at: dict[int, np.ndarray] = {}
    count, last_HW3 = 0, None
    for index, frame_HW3 in enumerate(frames):
        count, last_HW3 = index + 1, frame_HW3
        if index % every == 0:
            lines_at[index] = detect(frame_HW3)
    if last_HW3 is not None and count - 1 not in lines_at:
        lines_at[count - 1] = detect(last_HW3)
    film = MaskFilm(count, packed_size(info.height, info.width))
    processed = sorted(lines_at)
    for first, last in zip(processed, processed[1:] or processed, strict=False):
        pairs = list(_pairs(lines_at[first], lines_at[last]))
        for index in range(first, last + 1):
            share = (index - first) / max(last - first, 1)
            mask_HW = np.zeros((info.height, info.width), bool)
            for before_4, after_4 in pairs:
                box_patch((1 - share) * before_4 + share * after_4, rounding=0.0).paint(mask_HW)
            film[index] = film[index] | pack(mask_HW)
    return TextFilm(masks_TB=film, lines=max((len(lines_N4) for lines_N4 in lines_at.values()), default=0))


def _pairs(before_N4: np.ndarray, after_N4: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each line at two times; twice the same box if it is known at one of them alone."""
    same = same_things(before_N4, after_N4, REACH)
    for after, box_4 in enumerate(after_N4):
        yield (before_N4[same[after]] if after in same else box_4), box_4
    yield from ((box_4, box_4) for before, box_4 in enumerate(before_N4) if before not in same.values())
