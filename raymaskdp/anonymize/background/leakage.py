"""Erase the pixels under a mask, and count the source pixels that survive it.

`surviving_pixels` is a black-box test: it changes every masked pixel of the source and counts the changes in
the output.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from raymaskdp.video import masks

# Shape suffixes: H rows, W columns, 3 RGB.


def erase(frame_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """A copy of the frame that is black under the mask, the only input of later steps."""
    # OpenCV sets a new array to zero before it copies under a mask.
    return cv2.copyTo(frame_HW3, (~mask_HW).view(np.uint8))


def surviving_pixels(
    make: Callable[[np.ndarray], np.ndarray], frame_HW3: np.ndarray, mask_HW: np.ndarray, made: np.ndarray
) -> int:
    """Output pixels that depend on a masked source pixel; 0 if `make` (frame → output) is right.

    Every masked value is replaced by one at least 64 levels away, and the output is compared with `made`,
    that of the frame itself.
    """
    other_HW3 = frame_HW3.copy()
    if mask_HW.any():
        box = masks.bounding_slices(mask_HW)
        other_HW3[box] ^= mask_HW[box][..., None] * np.uint8(0xC0)
    difference_HW3 = cv2.absdiff(made, make(other_HW3))
    if not cv2.countNonZero(difference_HW3.reshape(len(made), -1)):
        return 0
    return int(np.count_nonzero(difference_HW3.any(axis=2)))
