"""SSD MobileNet v2: the person detector of the second look.

Liu et al. 2016 and Sandler et al. 2018; Google's weights of 2018-03-29, trained on COCO, from the TensorFlow
detection model zoo (Apache-2.0). The bundled file has the class of people alone, with half-precision kernels.

Shape suffixes: H×W pixels, A anchors of a level, N boxes, 4 coordinates.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from scipy.special import expit

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.onnx_session import bundled

SIDE = 300
"""Side of the network's input, pixels."""

GRIDS = (19, 10, 5, 3, 2, 1)
"""Cells of each level, along each side."""

LEAST_SCORE = 0.25
OVERLAP, MOST = 0.6, 100
"""Overlap (IoU) from which two boxes are the same person, and how many are reported at most."""


class SsdDetector:
    """Detects people in one frame, uint8 RGB [H, W, 3]. The network is opened at the first call."""

    def __init__(self) -> None:
        self._session: Any = None
        self._anchors = [_anchors(level, cells) for level, cells in enumerate(GRIDS)]

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Boxes and scores, float32 [N, 5], in pixels of the frame."""
        if self._session is None:
            self._session = bundled("ssd_people.onnx")
        image = cv2.resize(frame_HW3, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        names = [f"{kind}_{level}" for level in range(len(GRIDS)) for kind in ("scores", "boxes")]
        outputs = self._session.run(names, {"image": image[None].astype(np.float32) / 127.5 - 1})
        found = [
            _decoded(score.ravel(), code.reshape(-1, 4), anchors_A4)
            for score, code, anchors_A4 in zip(outputs[::2], outputs[1::2], self._anchors, strict=True)
        ]
        people_N5 = np.concatenate(found)
        people_N5 = people_N5[np.argsort(-people_N5[:, 4], kind="stable")[:MOST]]
        people_N5 = people_N5[boxes.nms(people_N5[:, :4], people_N5[:, 4], OVERLAP)]
        height, width = frame_HW3.shape[:2]
        return (people_N5 * [width, height, width, height, 1]).astype(np.float32)


def _decoded(logit_A: np.ndarray, code_A4: np.ndarray, anchors_A4: np.ndarray) -> np.ndarray:
    """Boxes and scores of one level that are likely enough, float64 [N, 5], in shares of the frame."""
    score_A = expit(logit_A.astype(np.float64))
    likely = score_A >= LEAST_SCORE
    code_N4, anchors_N4 = code_A4[likely].astype(np.float64), anchors_A4[likely]
    centre_N2 = anchors_N4[:, :2] + code_N4[:, [1, 0]] / 10 * anchors_N4[:, 2:]  # the code is y, x, h, w
    half_N2 = np.exp(code_N4[:, [3, 2]] / 5) * anchors_N4[:, 2:] / 2
    return np.column_stack([centre_N2 - half_N2, centre_N2 + half_N2, score_A[likely]])


def _anchors(level: int, cells: int) -> np.ndarray:
    """Centres and sizes of the anchors of a level, float64 [A, 4]: x, y, width and height, in shares."""
    scales = [*np.linspace(0.2, 0.95, len(GRIDS)), 1.0]
    shapes = [(scales[level], ratio) for ratio in (1, 2, 1 / 2, 3, 1 / 3)]
    shapes.append((math.sqrt(scales[level] * scales[level + 1]), 1))
    if level == 0:
        shapes = [(0.1, 1), (scales[0], 2), (scales[0], 1 / 2)]
    sizes = np.array([(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for scale, ratio in shapes])
    y, x = np.mgrid[:cells, :cells].reshape(2, -1)
    centres = (np.column_stack([x, y]) + 0.5) / cells
    return np.column_stack([np.repeat(centres, len(sizes), axis=0), np.tile(sizes, (cells**2, 1))])
