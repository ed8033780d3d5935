"""Bit-packed masks: one bit a pixel, in row-major order, the first pixel in the highest bit."""

from __future__ import annotations

import cv2
import numpy as np


def pack(mask_HW: np.ndarray) -> np.ndarray:
    """Bool [..., H, W] as uint8 [..., ceil(H·W / 8)]."""
    *lead, height, width = mask_HW.shape
    return np.packbits(np.asarray(mask_HW, dtype=bool).reshape(*lead, height * width), axis=-1)


def unpack(packed: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `pack`: uint8 [..., ceil(H·W / 8)] as bool [..., H, W]."""
    flat = np.unpackbits(packed, axis=-1, count=height * width)
    return flat.reshape(*packed.shape[:-1], height, width).view(bool)


def empty(num_frames: int, height: int, width: int) -> np.ndarray:
    """Packed masks without a pixel, uint8 [T, ceil(H·W / 8)]."""
    return np.zeros((num_frames, -(-height * width // 8)), dtype=np.uint8)


def dilate(mask_HW: np.ndarray, radius_px: float) -> np.ndarray:
    """Pixels at most `radius_px` (Euclidean) from a pixel of the mask; bool [H, W]."""
    mask_HW = np.asarray(mask_HW, dtype=bool)
    if radius_px <= 0 or not mask_HW.any():
        return mask_HW.copy()
    distance_HW = cv2.distanceTransform((~mask_HW).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance_HW <= radius_px
