"""Shadows that people throw: they show a person's outline on the floor, and are no part of a background.

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
    known_HW3 = known_HW[..., None]
    weight_HW1 = cv2.blur(known_HW.astype(np.float32), (5, 5))[..., None] + 1e-6
    dark, light = (
        cv2.blur(np.where(known_HW3, picture, 0).astype(np.float32), (5, 5)) / weight_HW1
        for picture in (dark_HW3, light_HW3)
    )
    left = (dark + 1) / (light + 1)
    least = left.min(axis=2)
    shaded = ((light - dark).min(axis=2) > LEAST) & (least > DEEPEST)
    shaded &= left.max(axis=2) - least < TINT * (1 - least) + 0.02
    opened = cv2.morphologyEx((shaded & known_HW).view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.dilate(opened, _NEAR).view(bool) & known_HW)


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
