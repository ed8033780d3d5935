"""People who stand or walk, by OpenCV's own detector: gradients and a linear classifier, no network.

Histograms of oriented gradients (Dalal and Triggs 2005). It sees whole upright people who are at least as
high as a seventh of the picture's longer side, from all sides, and is blind to those who sit, lie or are
half hidden. It shares nothing with the networks, so it sees some of those whom all of them miss.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 640
"""Longer side of the picture that is looked at, pixels; the detector's window is 64×128."""

LEAST_SCORE = 0.9
"""Distance from the boundary of the classifier; people have 1 to 3, an arm before a window once had 0.6."""


class UprightPeople:
    """Looks for upright people in one frame, uint8 RGB [H, W, 3]."""

    def __init__(self) -> None:
        self._windows = cv2.HOGDescriptor()
        self._windows.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Boxes, float32 [N, 5]: x0, y0, x1, y1 of a person with a margin, in pixels, and the score."""
        scale = SIDE / max(frame_HW3.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(frame_HW3, None, fx=scale, fy=scale, interpolation=how)
        boxes, scores = self._windows.detectMultiScale(image, winStride=(8, 8), padding=(16, 16), scale=1.07)
        found = [
            (x / scale, y / scale, (x + wide) / scale, (y + high) / scale, score)
            for (x, y, wide, high), score in zip(boxes, np.ravel(scores), strict=True)
            if score >= LEAST_SCORE
        ]
        return np.array(found, np.float32).reshape(-1, 5)


def covered(mask_HW: np.ndarray, box_5: np.ndarray) -> bool:
    """Whether a mask covers the body in the middle of a box."""
    height, width = mask_HW.shape
    x0, y0, x1, y1 = box_5[:4]
    left, right = (int(np.clip(x0 + share * (x1 - x0), 0, width)) for share in (0.3, 0.7))
    top, bottom = (int(np.clip(y0 + share * (y1 - y0), 0, height)) for share in (0.15, 0.85))
    inside = mask_HW[top:bottom, left:right]
    return not inside.size or bool(inside.mean() >= 0.35)
