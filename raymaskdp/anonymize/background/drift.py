"""Whether the camera is static: ORB features of the background and a homography between frames."""

from __future__ import annotations

import cv2
import numpy as np

_MIN_MATCHES = 12
_MAX_WIDTH = 640
_LOOKS = 12


class CameraCheck:
    """Compares frames at intervals with the first frame of a video, outside the person masks.

    >>> check = CameraCheck(num_frames=2)
    >>> for index in range(2):
    ...     check.add(index, np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), bool))
    >>> check.drift_px()
    0.0
    """

    def __init__(self, num_frames: int) -> None:
        self._looks = set(np.linspace(0, max(num_frames - 1, 0), _LOOKS).round().astype(int).tolist())
        self._orb = cv2.ORB.create(nfeatures=500, fastThreshold=8)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self._reference: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None] | None = None
        self._drifts: list[float] = []

    def add(self, index: int, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Add frame `index` (uint8 RGB) outside `mask_HW`; only some frames are compared."""
        if index not in self._looks:
            return
        scale = min(1.0, _MAX_WIDTH / frame_HW3.shape[1])
        erased = frame_HW3.copy()
        erased[mask_HW] = 0
        gray: np.ndarray = cv2.cvtColor(erased, cv2.COLOR_RGB2GRAY)
        free: np.ndarray = np.where(mask_HW, 0, 255).astype(np.uint8)
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            free = cv2.resize(free, gray.shape[::-1], interpolation=cv2.INTER_NEAREST)
        free = cv2.erode(
            free, np.ones((7, 7), np.uint8)
        )  # the edge of the erased region has corners of its own
        keypoints, descriptors = self._orb.detectAndCompute(gray, free)
        points = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
        if self._reference is None:
            self._reference = (gray, free, points, descriptors)
            return
        self._drifts.append(self._drift(gray, free, points, descriptors) / scale)

    def drift_px(self) -> float:
        """The largest motion of the background relative to the first frame so far, in pixels."""
        return max(self._drifts, default=0.0)

    def _drift(
        self, gray: np.ndarray, free: np.ndarray, points: np.ndarray, descriptors: np.ndarray | None
    ) -> float:
        assert self._reference is not None
        gray_0, free_0, points_0, descriptors_0 = self._reference
        if descriptors is not None and descriptors_0 is not None:
            matches = self._matcher.match(descriptors_0, descriptors)
            if len(matches) >= _MIN_MATCHES:
                source = points_0[[match.queryIdx for match in matches]]
                target = points[[match.trainIdx for match in matches]]
                homography, inliers = cv2.findHomography(source, target, cv2.RANSAC, 2.0)
                if homography is not None and np.count_nonzero(inliers) >= _MIN_MATCHES:
                    at = source[inliers.ravel() > 0]
                    moved = cv2.perspectiveTransform(at[:, None], homography)[:, 0]
                    return float(np.median(np.linalg.norm(moved - at, axis=1)))
        # Too few features, or too different: if the images are equal, the view is.
        both = (free > 0) & (free_0 > 0)
        if not both.any():
            return float("inf")
        change = np.abs(gray.astype(np.int16) - gray_0)[both]
        return 0.0 if np.percentile(change, 90) < 12 else float("inf")
