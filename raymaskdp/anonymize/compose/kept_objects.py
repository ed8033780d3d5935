"""Objects that a detector finds, such as a ball or a cup. They stay by default, because they belong to the
action.

Shape suffixes: T frames, H rows, W columns, N boxes, 4 coordinates, B bytes of a packed mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from raymaskdp.anonymize.people.boxes import same_things
from raymaskdp.anonymize.people.masks import box_patch
from raymaskdp.anonymize.people.networks.nanodet import PERSON, BoxDetections
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm

LEAST_SCORE = 0.25
"""Least score of an object that is kept."""

HELD_FRAMES = 6
"""Frames for which an object without a detection is assumed to stay at its place."""

REACH = 2.0
"""Largest motion of an object between two detections, in longer sides of the larger box."""

FURNITURE = (56, 57, 59, 60, 61)
"""Classes of COCO: chair, couch, bed, dining table, toilet. People sit and lie inside their boxes, and limbs
that the masks miss would be kept with them. Static furniture stays as background."""

RIDDEN = (1, 2, 3, 4, 5, 6, 7, 8, 17, 20)
"""Classes of COCO: bicycle, car, motorcycle, aeroplane, bus, train, lorry, boat, horse, elephant. A missed
person on or in one is inside its box, and would be kept with it."""

LARGEST = 1 / 8
"""Objects larger than this share of the image are not kept, because they are too large to be held or thrown,
and may contain a person."""

ROUNDING = 0.3
"""Radius of the rounded corners of an object's box, as a share of its shorter side. Corners show its
surroundings."""


def thing_film(things: Mapping[int, BoxDetections], num_frames: int, height: int, width: int) -> MaskFilm:
    """Packed masks of all kept objects, [T, B]: their boxes, interpolated between the processed frames."""
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


def _between(
    earlier: BoxDetections, later: BoxDetections | None, share: float, *, held: bool
) -> Iterator[np.ndarray]:
    """Boxes of objects between two detections: interpolated if both have the object, else unchanged."""
    before, after = _kept(earlier), _kept(later)
    for kind, before_N4 in before.items():
        after_M4 = after.get(kind, np.zeros((0, 4)))
        same = {row: other for other, row in same_things(before_N4, after_M4, REACH).items()}
        for row, box_4 in enumerate(before_N4):
            if row in same:
                yield (1 - share) * box_4 + share * after_M4[same[row]]
            elif held:
                yield box_4


def _kept(things: BoxDetections | None) -> dict[int, np.ndarray]:
    """The boxes of objects that stay, float64 [N, 4], by class."""
    if things is None:
        return {}
    certain = ~np.isin(things.class_N, (PERSON, *FURNITURE, *RIDDEN)) & (things.score_N >= LEAST_SCORE)
    kinds, boxes_N4 = things.class_N[certain], things.boxes_N4[certain].astype(np.float64)
    return {int(kind): boxes_N4[kinds == kind] for kind in np.unique(kinds)}
