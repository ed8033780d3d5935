"""Bit-packed masks: one bit a pixel, in row-major order, the first pixel in the highest bit."""

from __future__ import annotations

import math

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
    """Empty packed masks, uint8 [T, ceil(H·W / 8)]."""
    return np.zeros((num_frames, -(-height * width // 8)), dtype=np.uint8)


def dilate(mask_HW: np.ndarray, radius_px: float) -> np.ndarray:
    """The mask dilated by `radius_px` (Euclidean), bool [H, W]."""
    mask_HW = np.asarray(mask_HW, dtype=bool)
    grown_HW = mask_HW.copy()
    if radius_px > 0 and mask_HW.any():
        box = bounding_slices(mask_HW, math.ceil(radius_px))
        grown_HW[box] = distance(mask_HW[box]) <= radius_px
    return grown_HW


def distance(mask_HW: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest pixel of a mask that is not empty; float32 [H, W]."""
    return cv2.distanceTransform((~mask_HW).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def bounding_slices(mask_HW: np.ndarray, margin_px: int = 0) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty, enlarged by `margin_px` on each side, as slices."""
    x, y, width, height = cv2.boundingRect(mask_HW.view(np.uint8))
    rows = slice(max(0, y - margin_px), y + height + margin_px)
    return rows, slice(max(0, x - margin_px), x + width + margin_px)
