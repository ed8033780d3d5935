"""Check by the landmark network that a refined person has the pose of the render."""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.people.networks.mediapipe import BodyDetection, CropView, PoseNetworks

# Shape suffixes: S rows and columns of a crop, N landmarks.

CLEAR = 0.5
"""Least visibility of a landmark that is compared."""

ENOUGH = 8
"""Least number of such landmarks in the render."""

BODY = slice(11, 33)
"""Landmarks below the neck, because those of the face contain little about a pose."""


class PoseCheck:
    """Compares landmarks in the render with landmarks in its refined version.

    Both come from the same network, so its systematic errors on renders cancel.
    """

    def __init__(self, networks: PoseNetworks, limit: float) -> None:
        """`limit` is the largest allowed mean distance, as a fraction of the person's size in the render."""
        self._networks = networks
        self._limit = limit

    def moved(self, before_SS3: np.ndarray, after_SS3: np.ndarray) -> bool:
        """Whether the pose moved by more than the limit, or is not detected in one of the images."""
        before, after = self._look(before_SS3), self._look(after_SS3)
        if before is None or after is None:
            return True
        clear_N = before.keypoints_33x3[BODY, 2] >= CLEAR
        if clear_N.sum() < ENOUGH:
            return True
        was_N2 = before.keypoints_33x3[BODY, :2][clear_N]
        is_N2 = after.keypoints_33x3[BODY, :2][clear_N]
        size = float(np.ptp(was_N2, axis=0).max())
        return float(np.linalg.norm(is_N2 - was_N2, axis=1).mean()) > self._limit * max(size, 1.0)

    def _look(self, picture_SS3: np.ndarray) -> BodyDetection | None:
        height, width = picture_SS3.shape[:2]
        found = self._networks.bodies(CropView.of(picture_SS3, (0, 0, width, height)))
        return max(found, key=lambda detection: detection.score, default=None)
