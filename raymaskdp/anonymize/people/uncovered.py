"""Parts of people that a detector sees and no mask hides: an arm that reaches into a close-up.

Landmarks and segmenter see a torso and a head; the detector of boxes calls an arm a person, and rightly so.

Shape suffixes: H×W pixels, 4 coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.nanodet import Things
from raymaskdp.anonymize.people.people import Doubt, Person
from raymaskdp.video.masks import around, unpack

SURE = 0.35
"""Score from which a box is looked at."""

HIDDEN = 0.4
"""Share of a part's box from which the masks hide it."""

SAME = 0.5
"""Overlap (IoU) with the box around a mask from which a box is the whole person's, who may fill it thinly."""


def uncovered_parts(
    persons: Sequence[Person], things: Mapping[int, Things], *, num_frames: int, height: int, width: int
) -> list[Doubt]:
    """Boxes of people that touch somebody's mask and are hardly under it, from each look to the next.

    Args:
      persons: who is followed, with masks.
      things: what the detector saw in the frames that it looked at.
    """
    found = []
    looked = sorted(things)
    for frame, after in zip(looked, [*looked[1:], num_frames], strict=True):
        people_N5 = things[frame].people()
        people_N5 = people_N5[people_N5[:, 4] >= SURE]
        if not len(people_N5):
            continue
        here = [person for person in persons if person.visible_T[frame]]
        masks = [unpack(np.asarray(person.masks_T[frame]), height, width) for person in here]
        masks = [mask_HW for mask_HW in masks if mask_HW.any()]
        for *corners, _ in people_N5.tolist():
            if _is_uncovered(np.array(corners), masks, height, width):
                box = (corners[0], corners[1], corners[2], corners[3])
                found += [
                    Doubt(frame=at, reason="part of a person, outside the mask", box=box, is_part=True)
                    for at in range(frame, after)
                ]
    return found


def _is_uncovered(box_4: np.ndarray, masks: Sequence[np.ndarray], height: int, width: int) -> bool:
    x0, y0, x1, y1 = boxes.within(box_4, height=height, width=width)
    hidden_hw = np.zeros((y1 - y0, x1 - x0), bool)
    for mask_HW in masks:
        hidden_hw |= mask_HW[y0:y1, x0:x1]
    if not hidden_hw.any() or hidden_hw.mean() >= HIDDEN:
        return False
    return all(float(boxes.iou(box_4[None], _box_of(mask_HW)[None])[0, 0]) < SAME for mask_HW in masks)


def _box_of(mask_HW: np.ndarray) -> np.ndarray:
    rows, columns = around(mask_HW)
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.float64)
