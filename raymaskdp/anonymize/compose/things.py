"""Objects that a detector names, such as a ball or a cup. They stay by default: they belong to the action.

Shape suffixes: T frames, H rows, W columns, N boxes, 4 coordinates, B bytes of a packed mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from raymaskdp.anonymize.people.masks import box_patch
from raymaskdp.anonymize.people.networks.nanodet import PERSON, Things
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm

LEAST_SCORE = 0.25
"""Score from which a thing is named for certain."""

HELD_FRAMES = 6
"""A thing that is not named for so many frames is still where it was."""

REACH = 2.0
"""Farthest that a thing moves between two looks, times its longer side."""

FURNITURE = (56, 57, 59, 60, 61)
"""Classes of COCO: chair, couch, bed, dining table, toilet. People sit and lie in their boxes, and limbs that
the masks miss would stay with them; furniture that does not move stays as background."""

RIDDEN = (1, 2, 3, 4, 5, 6, 7, 8, 17, 20)
"""Classes of COCO: bicycle, car, motorcycle, aeroplane, bus, train, lorry, boat, horse, elephant. Whoever is
on or in one is in its box, and would stay with it where the finding misses them."""

LARGEST = 1 / 8
"""A larger share of the picture than this is no thing that anybody holds or throws; somebody may be in it."""

ROUNDING = 0.3
"""Corners of a thing's box are rounded by this share of its shorter side: they show what is beside it."""


def thing_film(things: Mapping[int, Things], num_frames: int, height: int, width: int) -> MaskFilm:
    """Packed masks of all things, [T, B]: their boxes, moved along between the frames that were looked at."""
    film = MaskFilm(num_frames, packed_size(height, width))
    looked = sorted(things)
    for position, frame in enumerate(looked):
        after = looked[position + 1] if position + 1 < len(looked) else num_frames
        later = things.get(after)
        for index in range(frame, min(after, num_frames)):
            share = (index - frame) / (after - frame)
            mask_HW = np.zeros((height, width), bool)
            for box_4 in _between(things[frame], later, share, held=index - frame <= HELD_FRAMES):
                if np.prod(box_4[2:] - box_4[:2]) <= LARGEST * height * width:
                    box_patch(box_4, ROUNDING).paint(mask_HW)
            if mask_HW.any():
                film[index] = masks.pack(mask_HW)
    return film


def _between(earlier: Things, later: Things | None, share: float, *, held: bool) -> Iterator[np.ndarray]:
    """Boxes of things between two looks: on their way where both name them, else where they were."""
    before, after = _named(earlier), _named(later)
    for kind, box_4 in before:
        near = [
            other_4
            for other, other_4 in after
            if other == kind and np.abs(_centre(other_4) - _centre(box_4)).max() < REACH * _side(box_4)
        ]
        if near:
            there_4 = min(near, key=lambda other_4: float(np.abs(_centre(other_4) - _centre(box_4)).max()))
            yield (1 - share) * box_4 + share * there_4
        elif held:
            yield box_4


def _named(things: Things | None) -> list[tuple[int, np.ndarray]]:
    if things is None:
        return []
    certain = ~np.isin(things.class_N, (PERSON, *FURNITURE, *RIDDEN)) & (things.score_N >= LEAST_SCORE)
    kinds, boxes_N4 = things.class_N[certain].tolist(), things.boxes_N4[certain].astype(np.float64)
    return list(zip(kinds, boxes_N4, strict=True))


def _centre(box_4: np.ndarray) -> np.ndarray:
    return np.asarray((box_4[:2] + box_4[2:]) / 2)


def _side(box_4: np.ndarray) -> float:
    return float((box_4[2:] - box_4[:2]).max())
