"""Controls for a comparison with avatars: the source videos with their people removed, or blurred.

Neither has an avatar layer, so nothing in it is public: train on it with DP-SGD or Multi-Clip DP-SGD.
A blurred person may still be recognised; it is a control, and not an anonymization.

Shapes: T frames, H rows, W columns, at training size.
"""

from __future__ import annotations

import cv2
import numpy as np

PLATE_FRAMES = 64
"""Evenly spaced frames for the empty room."""
BLUR = 1 / 12
"""Standard deviation of the blur, in heights of the frame."""
INPAINT_PX = 3


def without_people(frames_THW3: np.ndarray, people_THW: np.ndarray) -> np.ndarray:
    """The frames with the empty room where people are, uint8 [T, H, W, 3].

    The room is the median over the frames in which a pixel is free; what never is, is filled in from
    around it.
    """
    chosen = np.unique(np.linspace(0, len(frames_THW3) - 1, PLATE_FRAMES).round().astype(int))
    free_THW3 = np.where(people_THW[chosen, :, :, None], np.nan, frames_THW3[chosen].astype(np.float32))
    never_HW = people_THW[chosen].all(axis=0)
    free_THW3[:, never_HW] = 0
    room_HW3: np.ndarray = np.nanmedian(free_THW3, axis=0).round().astype(np.uint8)
    if never_HW.any():
        room_HW3 = cv2.inpaint(room_HW3, never_HW.view(np.uint8), INPAINT_PX, cv2.INPAINT_TELEA)
    return np.where(people_THW[..., None], room_HW3, frames_THW3)


def with_blurred_people(frames_THW3: np.ndarray, people_THW: np.ndarray) -> np.ndarray:
    """The frames with a Gaussian blur where people are, uint8 [T, H, W, 3]."""
    sigma = BLUR * frames_THW3.shape[1]
    soft_THW3 = np.stack([cv2.GaussianBlur(frame_HW3, (0, 0), sigma) for frame_HW3 in frames_THW3])
    return np.where(people_THW[..., None], soft_THW3, frames_THW3)
