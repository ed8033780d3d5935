"""The output frame: background outside the person masks, plate inside, avatars over both.

Inside a mask no value of the source is ever used; `background.leakage.surviving_pixels` verifies it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from raymaskdp.anonymize.background import shadows
from raymaskdp.anonymize.background.leakage import erase
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.video import masks

# Shape suffixes: H rows, W columns, 3 RGB.


def changed(
    frame_HW3: np.ndarray,
    plate_HW3: np.ndarray,
    mask_HW: np.ndarray,
    config: CompositeConfig,
    things_HW: np.ndarray | None = None,
) -> np.ndarray:
    """Pixels outside the masks that changed, bool [H, W]: areas that differ from the plate, dilated a little,
    and shadows that touch the masks, even soft ones. With `keep_objects` "all" there are none; with "named",
    detected objects (`things_HW`, bool [H, W]) are excluded.

    The difference is computed at a height of about 360 rows, where noise is averaged out.
    """
    if config.keep_objects == "all":
        return np.zeros_like(mask_HW)
    height, width = mask_HW.shape
    # The plate under the masks, so that the blur spreads no masked value to its neighbours.
    unmasked_HW3 = cv2.copyTo(plate_HW3, mask_HW.view(np.uint8), frame_HW3.copy())
    shrink = max(1, height // 360)
    small = (max(1, width // shrink), max(1, height // shrink))
    seen_hw3, behind_hw3 = (
        cv2.resize(view, small, interpolation=cv2.INTER_AREA) for view in (unmasked_HW3, plate_HW3)
    )
    masked_hw = cv2.resize(mask_HW.view(np.uint8), small, interpolation=cv2.INTER_NEAREST).view(bool)
    found_HW = np.zeros_like(mask_HW)
    for found_hw, margin_px in (
        (_patches(seen_hw3, behind_hw3, config), config.margin * height + shrink),
        (shadows.cast_shadows(seen_hw3, behind_hw3, masked_hw, config.max_shade), 2.0 * shrink),
    ):
        if found_hw.any():
            patches = cv2.resize(found_hw.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
            found_HW |= masks.dilate(patches.view(bool), margin_px)
    if config.keep_objects == "named" and things_HW is not None:
        found_HW &= ~things_HW
    return found_HW


def _patches(frame_HW3: np.ndarray, plate_HW3: np.ndarray, config: CompositeConfig) -> np.ndarray:
    """Connected areas of a minimum size that differ much, bool [H, W]."""
    red, green, blue = cv2.split(cv2.absdiff(cv2.blur(frame_HW3, (3, 3)), cv2.blur(plate_HW3, (3, 3))))
    largest = cv2.max(cv2.max(red, green), blue)
    different: np.ndarray = (largest > config.change_level).view(np.uint8)
    different = cv2.morphologyEx(different, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    if not different.any():
        return different.view(bool)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(different, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(6, config.change_area * different.size)
    large[0] = False  # the unchanged rest
    return np.asarray(large[labels])


def backdrop(
    frame_HW3: np.ndarray, mask_HW: np.ndarray, plate_HW3: np.ndarray, config: CompositeConfig
) -> np.ndarray:
    """The frame without people, uint8 [H, W, 3]: the source outside `mask_HW`, the plate inside.

    The seam is soft and outside the mask.
    """
    backdrop_HW3 = erase(frame_HW3, mask_HW)
    if mask_HW.any():
        _blend(backdrop_HW3, plate_HW3, *_outer_ramp(mask_HW, config.feather_px))
    return backdrop_HW3


def overlay(
    backdrop_HW3: np.ndarray, avatar_HW3: np.ndarray, avatar_mask_HW: np.ndarray, config: CompositeConfig
) -> np.ndarray:
    """The backdrop with the avatar layer over it, uint8 [H, W, 3]; its outline is softened inwards."""
    composite_HW3 = backdrop_HW3.copy()
    if avatar_mask_HW.any():
        _blend(composite_HW3, avatar_HW3, *_inner_ramp(avatar_mask_HW, config.soften_px))
    return composite_HW3


Box = tuple[slice, slice]
"""Rows and columns. Only they are processed, so the cost depends on the people's size, not the frame's."""


def _outer_ramp(mask_HW: np.ndarray, width_px: float) -> tuple[Box, np.ndarray]:
    """1 in the mask, falling to 0 over `width_px` outside it; float32, in the returned box."""
    box = masks.bounding_slices(mask_HW, math.ceil(width_px) + 1)
    if width_px <= 0:
        return box, mask_HW[box].astype(np.float32)
    return box, np.clip(1 - masks.distance(mask_HW[box]) / np.float32(width_px + 1), 0, 1)


def _inner_ramp(mask_HW: np.ndarray, soften_px: float) -> tuple[Box, np.ndarray]:
    """The mask with its edge softened inwards: 0 outside, 1 deep inside; float32, in the returned box."""
    box = masks.bounding_slices(mask_HW, math.ceil(4 * soften_px))
    ramp = mask_HW[box].astype(np.float32)
    return box, cv2.GaussianBlur(ramp, (0, 0), soften_px) * ramp if soften_px > 0 else ramp


def _blend(under_HW3: np.ndarray, over_HW3: np.ndarray, box: Box, weight: np.ndarray) -> None:
    """Blend `over` into `under` in place with the weights of the pixels in the box."""
    under, over = under_HW3[box], over_HW3[box]
    over_only = weight >= 1
    # Few pixels are blended, so indices are faster to find and use than masks.
    rim = np.nonzero((weight > 0) & ~over_only)
    before, after = under[rim].astype(np.float32), over[rim].astype(np.float32)
    cv2.copyTo(over, over_only.view(np.uint8), under)
    under[rim] = np.rint(before + weight[rim][:, None] * (after - before)).astype(np.uint8)
