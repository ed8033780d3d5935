"""MoveNet MultiPose: people as boxes with 17 keypoints, from the dense heads, so without the limit of six
people.

Google 2021, "MoveNet MultiPose Lightning", Apache-2.0. A heat map a quarter as large as the input has the
centres of people. At each centre, other maps have the size of the box and the offsets of the keypoints. The
keypoints are then located in heat maps near these offsets.

Shape suffixes: N people, h×w the heat maps, 17 COCO keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.onnx_session import bundled, letterboxed

SIDE = 256
"""Longer side of the network's input, pixels."""

STRIDE = 4
LEAST_SCORE = 0.05
MOST = 40
"""Most people that are reported for one image."""

OVERLAP = 0.6
_HEADS = ("center", "box_scale", "box_offset", "kpt_heatmap", "kpt_regress", "kpt_offset")


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """People of one image.

    Attributes:
      boxes_N4: float32, pixels of the original image.
      score_N: float32, of the centre, in [0, 1]; 0.25 is a high score.
      keypoints_N17x3: float32, x, y in pixels and score.
    """

    boxes_N4: np.ndarray
    score_N: np.ndarray
    keypoints_N17x3: np.ndarray


class MultiPose:
    """The loaded network. It processes one image, uint8 RGB [H, W, 3]."""

    def __init__(self) -> None:
        self._session = bundled("movenet_multipose.onnx")
        self._input = self._session.get_inputs()[0].name
        names = [output.name for output in self._session.get_outputs()]
        self._outputs = [next(name for name in names if head in name) for head in _HEADS]

    def __call__(self, image_HW3: np.ndarray) -> Poses:
        """People, in order of their scores."""
        picture, scale = letterboxed(image_HW3, SIDE, multiple=32)
        blob = picture[None].astype(np.float32)
        heads = [head[0] for head in self._session.run(self._outputs, {self._input: blob})]
        centre_hw = _sigmoid(heads[0][..., 0])
        peaks_hw = (centre_hw >= cv2.dilate(centre_hw, np.ones((5, 5)))) & (centre_hw > LEAST_SCORE)
        rows, columns = np.nonzero(peaks_hw)
        order = np.argsort(-centre_hw[rows, columns])[:MOST]
        rows, columns = rows[order], columns[order]
        boxes_N4 = _boxes(heads[1], heads[2], rows, columns)
        keypoints_N17x3 = _keypoints(heads[3], heads[4], heads[5], rows, columns, boxes_N4)
        score_N = centre_hw[rows, columns]
        kept = boxes.nms(boxes_N4, score_N, OVERLAP)
        keypoints_N17x3[..., :2] *= STRIDE / scale
        height, width = image_HW3.shape[:2]
        whole_N4 = np.clip(boxes_N4[kept] * STRIDE / scale, 0, [width, height, width, height])
        return Poses(
            boxes_N4=whole_N4.astype(np.float32),
            score_N=score_N[kept].astype(np.float32),
            keypoints_N17x3=keypoints_N17x3[kept].astype(np.float32),
        )


def _boxes(size_hw2: np.ndarray, offset_hw2: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] in cells of the heat maps, clipped to them."""
    size_N2 = np.maximum(size_hw2[rows, columns], 0)
    centre_N2 = np.column_stack([rows, columns]) + offset_hw2[rows, columns]
    low_N2, high_N2 = centre_N2 - size_N2 / 2, centre_N2 + size_N2 / 2
    limit = np.array(size_hw2.shape[:2])
    low_N2, high_N2 = np.clip(low_N2, 0, limit), np.clip(high_N2, 0, limit)
    return np.column_stack([low_N2[:, ::-1], high_N2[:, ::-1]])


def _keypoints(
    heat_hw17: np.ndarray,
    regressed_hw34: np.ndarray,
    offset_hw34: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    boxes_N4: np.ndarray,
) -> np.ndarray:
    """Keypoints [N, 17, 3] in cells of the heat maps: peaks near the centre's offsets, inside the box."""
    h, w = heat_hw17.shape[:2]
    heat_hw17 = _sigmoid(heat_hw17)
    offset_hw17x2 = offset_hw34.reshape(h, w, 17, 2)
    y_hw, x_hw = np.mgrid[:h, :w].astype(np.float32)
    found = np.zeros((len(rows), 17, 3), np.float32)
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        guess_17x2 = regressed_hw34[row, column].reshape(17, 2) + np.array([row, column])
        x0, y0, x1, y1 = boxes_N4[index]
        rows_in = slice(int(y0), max(int(y0) + 1, int(np.ceil(y1))))
        columns_in = slice(int(x0), max(int(x0) + 1, int(np.ceil(x1))))
        away = (y_hw[rows_in, columns_in, None] - guess_17x2[:, 0]) ** 2
        away += (x_hw[rows_in, columns_in, None] - guess_17x2[:, 1]) ** 2
        near = heat_hw17[rows_in, columns_in] * np.exp(-away / (0.3 * min(h, w)))
        flat = near.reshape(-1, 17)
        best = flat.argmax(0)
        y_17 = best // near.shape[1] + rows_in.start
        x_17 = best % near.shape[1] + columns_in.start
        fine_17x2 = offset_hw17x2[y_17, x_17, np.arange(17)]
        found[index] = np.column_stack([x_17 + fine_17x2[:, 1], y_17 + fine_17x2[:, 0], flat.max(0)])
    return found


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))
