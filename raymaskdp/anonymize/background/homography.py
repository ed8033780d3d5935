"""Registration of the frames of a rotating or shaking camera: homographies, chained through key frames.

Points outside the person masks are tracked (Lucas and Kanade 1981, with a forward-backward check) from a *key
frame* to each frame, and a homography is fitted robustly. Each frame is registered to the earliest key frame
with enough overlap. If that fails, the previous frame becomes a key frame. So errors accumulate from key
frame to key frame, not from frame to frame, and a camera that returns is registered to its first position.

A homography is exact for a camera that rotates about its centre, and for a planar scene. With parallax too
few points agree, and `MovingCamera.fit_failure` states this. Pixels under a mask have no influence: they are
first covered with the surrounding colours, and no point near them is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Shape suffixes: T frames, H rows, W columns, h w of a small copy, N points.

WORK_WIDTH = 640
"""Largest width at which frames are compared."""

MOST_POINTS = 400

LEAST_POINTS = 24
"""Least number of tracked points for a decision."""

LEAST_AGREEING = 0.6
"""Least share of the tracked points that must fit a homography. Below it the scene has too much parallax."""

AGREE_PX = 1.0
"""Largest distance of a point that fits the homography, and largest error of the forward-backward check."""

LEAST_COMMON = 0.55
"""Least overlap of a frame with its key frame, as a share of the frame."""

MOST_KEYS = 64
MOST_TRIES = 4
"""Largest number of key frames, and of those that are tried for a frame before the previous frame becomes
one."""

_WINDOW = 21
_EDGE = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class _RegisteredFrame:
    """A frame prepared for registration.

    Attributes:
      gray_hw: uint8, normalized in brightness; people are covered with the surrounding colours.
      free_hw: uint8, 255 where points may be.
    """

    gray_hw: np.ndarray
    free_hw: np.ndarray

    @classmethod
    def of(cls, frame_HW3: np.ndarray, mask_HW: np.ndarray, scale: float) -> _RegisteredFrame:
        free_HW = (~mask_HW).astype(np.float32)
        gray_HW = cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2GRAY).astype(np.float32) * free_HW
        height, width = mask_HW.shape
        size = (max(2, round(width * scale)), max(2, round(height * scale)))
        weight_hw = cv2.resize(free_HW, size, interpolation=cv2.INTER_AREA)
        sum_hw = cv2.resize(gray_HW, size, interpolation=cv2.INTER_AREA)
        around = (size[0] // 8 | 1, size[0] // 8 | 1)
        smooth_hw = cv2.blur(sum_hw, around) / np.maximum(cv2.blur(weight_hw, around), 1e-3)
        gray_hw = np.where(weight_hw > 0.999, sum_hw, smooth_hw)
        # Points are tracked by their brightness, which cameras adjust, so all frames are normalized.
        known = gray_hw[weight_hw > 0.999] if (weight_hw > 0.999).any() else gray_hw
        gray_hw = 128 + 48 * (gray_hw - known.mean()) / max(4.0, float(known.std()))
        free_hw = cv2.erode(
            (weight_hw > 0.999).astype(np.uint8), np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
        )
        free_hw[:_EDGE] = free_hw[-_EDGE:] = free_hw[:, :_EDGE] = free_hw[:, -_EDGE:] = 0
        return cls(gray_hw=np.clip(np.rint(gray_hw), 0, 255).astype(np.uint8), free_hw=255 * free_hw)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Key:
    """A key frame: its image, its points, and its homography to the first frame."""

    view: _RegisteredFrame
    points_N2: np.ndarray
    to_first_33: np.ndarray


class _ParallaxFound(Exception):
    """Enough points were tracked, but no homography fits them."""


class MovingCamera:
    """Processes the frames of one video in order.

    >>> camera = MovingCamera(height=48, width=64)
    >>> noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    >>> frame = cv2.resize(noise, (64, 48), interpolation=cv2.INTER_CUBIC)
    >>> for _ in range(2):
    ...     camera.add(frame, np.zeros((48, 64), bool))
    >>> bool(np.allclose(camera.to_first_T33()[1], np.eye(3), atol=1e-3)), camera.fit_failure
    (True, None)

    Attributes:
      fit_failure: why no homography fits, with the frame; None while all fit. Later frames are ignored.
    """

    def __init__(self, *, height: int, width: int) -> None:
        self.fit_failure: str | None = None
        self._scale = min(1.0, WORK_WIDTH / width)
        self._shrink_33 = _shrinking(self._scale)
        self._keys: list[_Key] = []
        self._last: tuple[_RegisteredFrame, np.ndarray] | None = None
        self._to_first: list[np.ndarray] = []

    def add(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Process the next frame (uint8 RGB) outside `mask_HW` (bool)."""
        if self.fit_failure is not None:
            return
        view = _RegisteredFrame.of(frame_HW3, mask_HW, self._scale)
        if self._last is None:
            self._keep(view, np.eye(3))
            return
        last_view, guess_33 = self._last
        try:
            for key in self._keys_near(guess_33):
                if self._register(view, key, guess_33):
                    return
            if len(self._keys) < MOST_KEYS and self._register(
                view, self._new_key(last_view, guess_33), guess_33
            ):
                return
        except _ParallaxFound:
            pass  # no new key frame: between consecutive frames parallax is too small to detect
        self.fit_failure = f"the camera's motion fits no turn at frame {len(self._to_first)}"

    def _register(self, view: _RegisteredFrame, key: _Key, guess_33: np.ndarray) -> bool:
        """Register a frame near `guess_33` to a key frame; returns whether that succeeded."""
        fitted_33 = _registered(key, view, np.linalg.inv(guess_33) @ key.to_first_33)
        if fitted_33 is None:
            return False
        to_first_33 = key.to_first_33 @ np.linalg.inv(fitted_33)
        self._keep(view, to_first_33 / to_first_33[2, 2])
        return True

    def to_first_T33(self) -> np.ndarray:
        """Homographies from pixels of each frame to pixels of the first one, float64 [T, 3, 3]."""
        small_T33 = np.array(self._to_first).reshape(-1, 3, 3)
        return np.linalg.inv(self._shrink_33) @ small_T33 @ self._shrink_33

    def _keep(self, view: _RegisteredFrame, to_first_33: np.ndarray) -> None:
        if not self._keys:
            self._new_key(view, to_first_33)
        self._last = (view, to_first_33)
        self._to_first.append(to_first_33)

    def _keys_near(self, to_first_33: np.ndarray) -> list[_Key]:
        """Key frames with enough overlap for this homography, the earliest first."""
        return [
            key
            for key in self._keys
            if _common(np.linalg.inv(key.to_first_33) @ to_first_33, key.view.gray_hw.shape) >= LEAST_COMMON
        ][:MOST_TRIES]

    def _new_key(self, view: _RegisteredFrame, to_first_33: np.ndarray) -> _Key:
        corners = cv2.goodFeaturesToTrack(
            view.gray_hw, MOST_POINTS, qualityLevel=0.005, minDistance=5, mask=view.free_hw
        )
        points_N2 = np.zeros((0, 2), np.float32) if corners is None else corners[:, 0]
        self._keys.append(_Key(view=view, points_N2=points_N2, to_first_33=to_first_33))
        return self._keys[-1]


def _registered(key: _Key, view: _RegisteredFrame, guess_33: np.ndarray) -> np.ndarray | None:
    """The homography from a key frame to a frame, near `guess_33`; None if too few points were tracked.

    Raises `_ParallaxFound` if enough were tracked, but none fits.
    """
    if len(key.points_N2) < LEAST_POINTS:
        return None
    guessed_N2 = cv2.perspectiveTransform(key.points_N2[:, None].astype(np.float64), guess_33)
    there_N2, found_N = _followed(key.view, view, key.points_N2, guessed_N2[:, 0].astype(np.float32))
    back_N2, returned_N = _followed(view, key.view, there_N2, key.points_N2)
    height, width = view.gray_hw.shape
    at_N2 = np.rint(np.nan_to_num(there_N2, nan=-1)).astype(np.int64)
    inside_N = ((at_N2 >= 0) & (at_N2 < [width, height])).all(axis=1)
    on_N2 = np.clip(at_N2, 0, [width - 1, height - 1])
    free_N = inside_N & (view.free_hw[on_N2[:, 1], on_N2[:, 0]] > 0)
    sure_N = found_N & returned_N & free_N
    sure_N &= np.linalg.norm(back_N2 - key.points_N2, axis=1) < AGREE_PX
    if np.count_nonzero(sure_N) < max(LEAST_POINTS, 0.5 * np.count_nonzero(free_N)):
        return None
    fitted_33, agreeing = cv2.findHomography(key.points_N2[sure_N], there_N2[sure_N], cv2.RANSAC, AGREE_PX)
    if fitted_33 is None or np.mean(agreeing) < LEAST_AGREEING:
        raise _ParallaxFound
    # Implausible transforms are rejected: no camera mirrors a frame or shrinks it to a point.
    if not 0.25 < np.linalg.det(fitted_33 / fitted_33[2, 2]) < 4:
        raise _ParallaxFound
    return fitted_33


def _followed(
    before: _RegisteredFrame, after: _RegisteredFrame, points_N2: np.ndarray, guess_N2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tracked positions of points, float32 [N, 2], and whether they were found, bool [N]."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before.gray_hw,
        after.gray_hw,
        points_N2[:, None],
        guess_N2[:, None].copy(),
        winSize=(_WINDOW, _WINDOW),
        maxLevel=3,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return there[:, 0], found[:, 0] > 0


def _common(between_33: np.ndarray, size: tuple[int, ...]) -> float:
    """Share of a frame that is inside another after a homography."""
    rows, columns = np.mgrid[0 : size[0] : 9j, 0 : size[1] : 9j]
    grid = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    at_N2 = cv2.perspectiveTransform(grid, between_33)[:, 0]
    return float(((at_N2 >= 0) & (at_N2 <= [size[1], size[0]])).all(axis=1).mean())


def _shrinking(scale: float) -> np.ndarray:
    """From a pixel of a frame to that of its small copy, in pixel-centre coordinates."""
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
