"""Leaks that are detected without learning: pixels of the person, or of the background, where none may be.

Shape suffixes: T frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.audit.video_pairs import Pair

CORE = 0.03
"""Masks are dilated; pixels this far inside a mask, as a share of the frame's height, belong to the person.
"""
EVIDENT = 28
"""Least difference in levels from the background of a source pixel that shows the person."""
EQUAL = 12
"""Largest difference in levels of an output pixel that equals the source's, after compression."""
LEAST = 40
"""Least number of pixels of a frame that is evaluated."""
KEPT = 0.7
"""Least share of the person's pixels that equal the source, if the person was left in; it is 1 for a complete
person. Masks are larger than people, by more than `CORE`. Beside people they contain background, which
legitimately equals the source if other videos of the camera show it: up to 0.44 on sample data without a
leak, 0.2 on people at most."""
EDGE, OF_USUAL = 8, 5.0
"""Detail above this many levels, and this many times the median of its frame, is an edge, and left out: a
garment has its edges at the same places on a person and on the avatar in the person's place, whatever their
pixels."""
TEXTURE, TEXTURE_OF_ALL = 0.3, 0.1
"""Least correlation of fine detail of avatar layer and source, if the layer contains source pixels: of one
video, and the mean of many. By chance it is 0.03 ± 0.05 on sample data, at most 0.10 (with edges up to 0.37);
with half of a source pixel in each pixel of the layer it is 0.38 to 0.77."""


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Leaks of one video.

    Attributes:
      kept: largest share, over the frames, of the person's pixels that equal the source; 0 to 1.
      texture: correlation of fine detail between avatar layer and source, inside the avatars; −1 to 1.
      spilled: pixels of the avatar layer that are not black outside the avatars.
    """

    kept: float
    texture: float
    spilled: int

    @property
    def person(self) -> bool:
        """Whether the person was left in, at the places of the masks."""
        return self.kept > KEPT

    @property
    def layer(self) -> bool:
        """Whether the avatar layer contains pixels of the source."""
        return self.texture > TEXTURE or self.spilled > 0


def find_leaks(pair: Pair) -> Leaks:
    """Compare the frames of a pair at the places of the person and of the avatar."""
    room_HW3 = _room(pair.source_THW3, pair.person_THW)
    kept = [
        _kept(source_HW3, output_HW3, room_HW3, person_HW)
        for source_HW3, output_HW3, person_HW in zip(
            pair.source_THW3, pair.output_THW3, pair.person_THW, strict=True
        )
    ]
    outside_THW = ~pair.avatar_THW
    return Leaks(
        kept=max(kept, default=0.0),
        texture=_texture(pair),
        spilled=int(np.count_nonzero(pair.layer_THW3.any(-1) & outside_THW)),
    )


def _room(source_THW3: np.ndarray, person_THW: np.ndarray) -> np.ndarray:
    """The background where it is visible, float32 [H, W, 3]; NaN elsewhere."""
    seen_THW3 = np.where(person_THW[..., None], np.nan, source_THW3.astype(np.float32))
    hidden_HW = person_THW.all(axis=0)
    seen_THW3[:, hidden_HW] = 0
    room_HW3 = np.nanmedian(seen_THW3, axis=0)
    room_HW3[hidden_HW] = np.nan
    return np.asarray(room_HW3)


def _kept(
    source_HW3: np.ndarray, output_HW3: np.ndarray, room_HW3: np.ndarray, person_HW: np.ndarray
) -> float:
    inside_HW = cv2.distanceTransform(person_HW.view(np.uint8), cv2.DIST_L2, 3) > CORE * len(person_HW)
    source = source_HW3.astype(np.float32)
    # Where the background is never visible, the person never left.
    evident_HW = inside_HW & ~(np.abs(source - room_HW3).max(-1) <= EVIDENT)
    if np.count_nonzero(evident_HW) < LEAST:
        return 0.0
    equal_HW = np.abs(source - output_HW3).max(-1) <= EQUAL
    return float(equal_HW[evident_HW].mean())


def _texture(pair: Pair) -> float:
    layer, source = [], []
    for layer_HW3, source_HW3, avatar_HW in zip(
        pair.layer_THW3, pair.source_THW3, pair.avatar_THW, strict=True
    ):
        inside_HW = cv2.erode(avatar_HW.view(np.uint8), np.ones((7, 7), np.uint8)) > 0
        one_HW, other_HW = _detail(layer_HW3), _detail(source_HW3)
        edges_HW = _edges(one_HW, inside_HW) | _edges(other_HW, inside_HW)
        fine_HW = inside_HW & (cv2.dilate(edges_HW.view(np.uint8), np.ones((3, 3), np.uint8)) == 0)
        layer.append(one_HW[fine_HW])
        source.append(other_HW[fine_HW])
    one, other = np.concatenate(layer), np.concatenate(source)
    if len(one) < LEAST or not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _edges(detail_HW: np.ndarray, inside_HW: np.ndarray) -> np.ndarray:
    if not inside_HW.any():
        return np.zeros_like(inside_HW)
    size_HW = np.abs(detail_HW)
    return np.asarray(size_HW > max(EDGE, OF_USUAL * float(np.median(size_HW[inside_HW]))))


def _detail(frame_HW3: np.ndarray) -> np.ndarray:
    """Brightness minus that of the surroundings: noise, texture and edges, no shapes."""
    grey_HW = frame_HW3.astype(np.float32).mean(-1)
    return np.asarray(grey_HW - cv2.blur(grey_HW, (3, 3)))
