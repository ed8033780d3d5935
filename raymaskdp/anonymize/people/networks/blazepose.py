"""BlazePose's landmark network: 33 landmarks and a mask of the person in a window.

Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose tracking" (Apache-2.0). MediaPipe places the
window by a face and hips. Here it is placed by the box of the person, so that no person is lost whose face is
hidden. Many windows are processed in one call.

Shape suffixes: H×W pixels, N windows, L = 39 points of which the first 33 are landmarks, h×w a patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.special import expit

from raymaskdp.anonymize.people.networks.mediapipe import BodyDetection
from raymaskdp.anonymize.people.networks.onnx_session import bundled, session
from raymaskdp.anonymize.people.networks.windows import Window
from raymaskdp.errors import UserError

SIDE = 256
"""Side of the network's input, pixels."""

CELLS, REACH, SURE = 64, 3, 0.5
"""Side of the heat maps; a landmark is moved to the mean of this many cells on each side of it, if the
highest of them has at least this probability."""

NEARLY = 0.1
"""A point counts as in the frame if it is outside by at most this share of the frame's longer side."""

_HIPS, _RIM = 33, 34
_OUTPUTS = {
    "Identity": (CELLS, CELLS, 39), "Identity_1": (SIDE, SIDE, 1), "Identity_2": (195,),
    "Identity_3": (1,), "Identity_4": (117,),
}  # fmt: skip
"""Names and shapes of heat maps, mask, image landmarks, presence, and world landmarks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowResult:
    """The network's output for a window.

    Attributes:
      body: the person's landmarks and mask, in the frame.
      presence: the probability of a person in the window.
      window: the best window for the same person in the next frame.
    """

    body: BodyDetection
    presence: float
    window: Window


class BlazePose:
    """The loaded network.

    Args:
      path: an ONNX file with the same inputs and outputs, such as that of the larger network; None for the
        bundled one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._session = bundled("blazepose_full.onnx") if path is None else _opened(path)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, frame_HW3: np.ndarray, windows: Sequence[Window]) -> list[WindowResult]:
        """The network's output for each window of a frame, uint8 RGB [H, W, 3]. An empty window has a low
        presence.
        """
        if not windows:
            return []
        pictures = np.stack([_picture(frame_HW3, window) for window in windows])
        heat, mask, points, presence, space = self._session.run(
            list(_OUTPUTS), {self._input: pictures.astype(np.float32) / 255}
        )
        points_NL5 = points.reshape(len(windows), -1, 5)
        image_NL2 = _refined(points_NL5[..., :2], heat)
        seen_NL = expit(points_NL5[..., 3])
        return [
            _window_result(
                frame_HW3.shape[:2], window, image_NL2[at], seen_NL[at], space[at].reshape(-1, 3),
                mask[at, ..., 0], float(presence[at, 0]),
            )
            for at, window in enumerate(windows)
        ]  # fmt: skip


def _opened(path: Path) -> Any:
    """A session of a user's file; raises `UserError` if it is not such a network."""
    if not path.is_file():
        raise UserError(f"The landmark network {path} does not exist; give an ONNX file (pose.landmarks).")
    import onnxruntime.capi.onnxruntime_pybind11_state as errors

    try:
        opened = session(path.read_bytes())
        nothing = np.zeros((1, SIDE, SIDE, 3), np.float32)
        answers = opened.run(list(_OUTPUTS), {opened.get_inputs()[0].name: nothing})
    except (
        ValueError, IndexError, errors.Fail, errors.InvalidArgument, errors.InvalidProtobuf,
        errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path} is not a landmark network with BlazePose's inputs (pose.landmarks)."
        ) from error
    if [answer.shape[1:] for answer in answers] != list(_OUTPUTS.values()):
        raise UserError(f"{path} has other outputs than BlazePose (pose.landmarks).")
    return opened


def _picture(frame_HW3: np.ndarray, window: Window) -> np.ndarray:
    """The network's input for a window, uint8 [256, 256, 3]. Outside the frame, its edge is repeated."""
    to_frame_23 = window.to_frame(SIDE)
    scale = window.side / SIDE
    if scale > 1.5:  # against aliasing of thin objects
        reach = window.side / math.sqrt(2) + 1
        height, width = frame_HW3.shape[:2]
        x0, x1 = (int(np.clip(window.x + side * reach, 0, width)) for side in (-1, 1))
        y0, y1 = (int(np.clip(window.y + side * reach, 0, height)) for side in (-1, 1))
        if x1 - x0 > scale and y1 - y0 > scale:
            size = (round((x1 - x0) / scale), round((y1 - y0) / scale))
            shrink_2 = np.array(size) / (x1 - x0, y1 - y0)
            frame_HW3 = cv2.resize(frame_HW3[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
            to_frame_23[:, 2] -= (x0, y0)
            to_frame_23 = to_frame_23 * shrink_2[:, None]
    how = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_CUBIC  # reduces the error for small people by 7 %
    return cv2.warpAffine(
        frame_HW3,
        to_frame_23,
        (SIDE, SIDE),
        flags=how | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _refined(image_NL2: np.ndarray, heat_NhwL: np.ndarray) -> np.ndarray:
    """Points moved to the mean of the heat map around them, where that is confident, in pixels of the input.

    MediaPipe does the same. Points outside the input stay.
    """
    cell_NL2 = np.floor(image_NL2 * (CELLS / SIDE)).astype(int)
    inside_NL = ((cell_NL2 >= 0) & (cell_NL2 < CELLS)).all(-1)
    offsets = np.arange(-REACH, REACH + 1)
    y_NLkk = np.clip(cell_NL2[..., 1], 0, CELLS - 1)[..., None, None] + offsets[:, None]
    x_NLkk = np.clip(cell_NL2[..., 0], 0, CELLS - 1)[..., None, None] + offsets
    padded = np.pad(heat_NhwL, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)))
    n = np.arange(len(image_NL2))[:, None, None, None]
    point = np.arange(image_NL2.shape[1])[None, :, None, None]
    weight_NLkk = padded[n, y_NLkk + REACH, x_NLkk + REACH, point]
    total_NL = np.maximum(weight_NLkk.sum((2, 3)), 1e-9)
    mean_NL2 = np.stack([(weight_NLkk * at).sum((2, 3)) / total_NL for at in (x_NLkk, y_NLkk)], -1)
    sure_NL = inside_NL & (weight_NLkk.max((2, 3)) >= SURE)
    return np.asarray(np.where(sure_NL[..., None], mean_NL2 * (SIDE / CELLS), image_NL2))


def _window_result(
    size: tuple[int, int],
    window: Window,
    image_L2: np.ndarray,
    seen_L: np.ndarray,
    space_L3: np.ndarray,
    mask_hw: np.ndarray,
    presence: float,
) -> WindowResult:
    to_frame_23 = window.to_frame(SIDE)
    frame_L2 = image_L2 @ to_frame_23[:, :2].T + to_frame_23[:, 2]
    cosine, sine = math.cos(window.turn), math.sin(window.turn)
    space_L3 = space_L3 @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    keypoints_33x3 = np.column_stack([frame_L2, seen_L])[:33].astype(np.float32)
    corner, patch_hw = _in_frame(mask_hw, to_frame_23, size)
    return WindowResult(
        body=BodyDetection(
            keypoints_33x3=keypoints_33x3,
            world_33x3=space_L3[:33].astype(np.float32),
            corner=corner,
            mask_hw=patch_hw,
            score=_torso_seen(keypoints_33x3, size),
        ),
        presence=presence,
        window=Window.from_hips(frame_L2[_HIPS], frame_L2[_RIM]),
    )


def _torso_seen(keypoints_33x3: np.ndarray, size: tuple[int, int]) -> float:
    """Mean visibility of the shoulders and hips that are in or near the frame; of all of them if none is."""
    height, width = size
    torso_4x3 = keypoints_33x3[[11, 12, 23, 24]]
    reach = NEARLY * max(height, width)
    inside_4 = ((torso_4x3[:, :2] > -reach) & (torso_4x3[:, :2] < np.array([width, height]) + reach)).all(1)
    return float(torso_4x3[inside_4 if inside_4.any() else slice(None), 2].mean())


def _in_frame(
    mask_hw: np.ndarray, to_frame_23: np.ndarray, size: tuple[int, int]
) -> tuple[tuple[int, int], np.ndarray]:
    """A window's mask as a patch of the frame: its corner, and probabilities, float32."""
    height, width = size
    corners_42 = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]]) @ to_frame_23[:, :2].T
    corners_42 += to_frame_23[:, 2]
    x0, y0 = np.clip(np.floor(corners_42.min(0)), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(corners_42.max(0)), 0, (width, height)).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return (x0, y0), np.zeros((0, 0), np.float32)
    here_23 = to_frame_23 - np.array([[0, 0, x0], [0, 0, y0]])
    patch_hw = cv2.warpAffine(mask_hw, here_23, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    return (x0, y0), patch_hw
