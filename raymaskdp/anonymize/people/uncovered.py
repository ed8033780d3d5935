"""Parts of people that a detector finds outside all masks, such as an arm that reaches into a close-up.

Landmarks and segmenter find a torso and a head; the box detector also detects an arm as a person.

Shape suffixes: H×W pixels, 4 coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections
from raymaskdp.anonymize.people.people import Doubt, Person
from raymaskdp.video.masks import bounding_slices, unpack

SURE = 0.35
"""Least score of a box that is considered."""

HIDDEN = 0.4
"""Share of a part's box that is under masks from which the part counts as masked."""

SAME = 0.5
"""Overlap (IoU) with the bounding box of a mask from which a box is that of the whole person, even if the
mask fills it sparsely."""


def uncovered_parts(
    persons: Sequence[Person],
    things: Mapping[int, BoxDetections],
    *,
    num_frames: int,
    height: int,
    width: int,
) -> list[Doubt]:
    """Doubts for detections of people that touch a mask but are mostly outside it, until the next processed
    frame.

    Args:
      persons: the tracked people, with masks.
      things: detections of the box network in the frames that it processed.
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
    x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=height, width=width)
    hidden_hw = np.zeros((y1 - y0, x1 - x0), bool)
    for mask_HW in masks:
        hidden_hw |= mask_HW[y0:y1, x0:x1]
    if not hidden_hw.any() or hidden_hw.mean() >= HIDDEN:
        return False
    return all(float(boxes.iou(box_4[None], _box_of(mask_HW)[None])[0, 0]) < SAME for mask_HW in masks)


def _box_of(mask_HW: np.ndarray) -> np.ndarray:
    rows, columns = bounding_slices(mask_HW)
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.float64)
