"""Shadows of people. They show a person's outline on the floor and are removed with the person.

A shadow removes the same share of light from all colours, and keeps the texture. It is therefore detected by
comparing two images of the same place: one is darker, by the same share in all colours.
"""

from __future__ import annotations

import cv2
import numpy as np

# Shape suffixes: H rows, W columns, 3 RGB.

LEAST = 3.0
"""Least darkening by a shadow, in levels; noise and compression cause less."""

DEEPEST = 0.4
"""Share of the light that remains in the deepest shadow."""

TINT = 0.4
"""Largest difference between the colours' shares of removed light, relative to the largest; sky light is
blue."""

_NEAR = np.ones((5, 5), np.uint8)


def in_shade(dark_HW3: np.ndarray, light_HW3: np.ndarray, known_HW: np.ndarray) -> np.ndarray:
    """Where an image has a shadow that another, in the same light, does not have; bool [H, W].

    Args:
      dark_HW3, light_HW3: uint8 or float RGB.
      known_HW: bool, pixels that may be compared; no other has any influence.
    """
    weight_HW = cv2.blur(known_HW.astype(np.float32), (5, 5)) + np.float32(1e-6)
    # Plane by plane, because OpenCV's minimum of planes is five times as fast as NumPy's along the last axis.
    dark, light = (
        [plane / weight_HW for plane in cv2.split(_smooth(picture, known_HW))]
        for picture in (dark_HW3, light_HW3)
    )
    left = [(a + 1) / (b + 1) for a, b in zip(dark, light, strict=True)]
    lost = [b - a for a, b in zip(dark, light, strict=True)]
    least = cv2.min(cv2.min(left[0], left[1]), left[2])
    most = cv2.max(cv2.max(left[0], left[1]), left[2])
    shaded = (cv2.min(cv2.min(lost[0], lost[1]), lost[2]) > LEAST) & (least > DEEPEST)
    shaded &= most - least < TINT * (1 - least) + 0.02
    opened = cv2.morphologyEx((shaded & known_HW).view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.dilate(opened, _NEAR).view(bool) & known_HW)


def _smooth(picture_HW3: np.ndarray, known_HW: np.ndarray) -> np.ndarray:
    """Sums of the known pixels around each, as means of 25; float32 [H, W, 3]."""
    return cv2.blur(np.where(known_HW[..., None], picture_HW3, 0).astype(np.float32), (5, 5))


def cast_shadows(
    frame_HW3: np.ndarray, plate_HW3: np.ndarray, mask_HW: np.ndarray, most: float
) -> np.ndarray:
    """The shadows in a frame that touch its masks, bool [H, W]; no pixel under a mask has any influence.

    Args:
      most: share of the frame; a larger area is not a shadow of people, and the result is empty.
    """
    shaded_HW = in_shade(frame_HW3, plate_HW3, ~mask_HW)
    joined_HW = (shaded_HW | mask_HW).view(np.uint8)
    _, labels_HW = cv2.connectedComponents(joined_HW, connectivity=8)
    touching = np.zeros(int(labels_HW.max()) + 1, bool)
    touching[labels_HW[mask_HW]] = True
    thrown_HW = shaded_HW & touching[labels_HW]
    return thrown_HW if thrown_HW.mean() <= most else np.zeros_like(mask_HW)
