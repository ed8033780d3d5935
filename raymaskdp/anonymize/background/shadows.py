"""Shadows of people, which show a person's outline on the floor and are removed with the person.

A shadow takes a share of the light, of all colours alike, and leaves the texture. So it is told from things
by comparing two pictures of the same place: one is darker, in all colours by the same share.
"""

from __future__ import annotations

import cv2
import numpy as np

# Shape suffixes: H rows, W columns, 3 RGB.

LEAST = 3.0
"""Levels that a shadow takes at least; noise and coding take less from some pixels together."""

DEEPEST = 0.4
"""Share of the light that the deepest shadow leaves."""

TINT = 0.4
"""By how much the shares that are taken from the three colours may differ, of the largest; sky is blue."""

_NEAR = np.ones((5, 5), np.uint8)


def in_shade(dark_HW3: np.ndarray, light_HW3: np.ndarray, known_HW: np.ndarray) -> np.ndarray:
    """Where a picture is in a shadow that another, in the same light, does not have; bool [H, W].

    Args:
      dark_HW3, light_HW3: uint8 or float RGB.
      known_HW: bool, pixels that may be compared; no other has any influence.
    """
    weight_HW = cv2.blur(known_HW.astype(np.float32), (5, 5)) + np.float32(1e-6)
    # Plane by plane: OpenCV takes a minimum of planes five times as fast as NumPy along the last axis.
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


def thrown(frame_HW3: np.ndarray, plate_HW3: np.ndarray, mask_HW: np.ndarray, most: float) -> np.ndarray:
    """The shadows in a frame that begin at its masks, bool [H, W]; no pixel under a mask has any influence.

    Args:
      most: share of the frame; more than that is no shadow of people, and nothing comes back.
    """
    shaded_HW = in_shade(frame_HW3, plate_HW3, ~mask_HW)
    joined_HW = (shaded_HW | mask_HW).view(np.uint8)
    _, labels_HW = cv2.connectedComponents(joined_HW, connectivity=8)
    touching = np.zeros(int(labels_HW.max()) + 1, bool)
    touching[labels_HW[mask_HW]] = True
    thrown_HW = shaded_HW & touching[labels_HW]
    return thrown_HW if thrown_HW.mean() <= most else np.zeros_like(mask_HW)
