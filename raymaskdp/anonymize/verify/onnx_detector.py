"""People in an image, by a detector of the user's: an ONNX file, run by OpenCV on the CPU.

The input is one square image, float32 [1, 3, S, S]: the frame, scaled so that its longer side is S, in the
upper left corner of a grey square. Two layouts of the only output are supported and distinguished by shape. A
= (S/8)² + (S/16)² + (S/32)² is the number of cells, 8 400 for S = 640; C ≥ 1 is the number of classes, of
which the first is the person, as in COCO.

* **YOLOX** (Ge et al. 2021), as its project exports it: BGR in [0, 255] in, [1, A, 5 + C] out. The cells
  are those of the strides 8, 16 and 32, in this order, row by row. Each has its box's centre relative to the
    cell's column and row, the logarithm of width and height, all in strides; then the probability of any
    object, and those of the classes. The score of a person is the product of the two.
* **YOLOv8** and later ones with the same head: RGB in [0, 1] in, [1, 4 + C, A] out. Each cell has its box's
  centre, width and height in pixels of the image, then the probabilities of the classes.

Of boxes with an IoU above `OVERLAP`, the one with the best score is kept.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from raymaskdp.errors import UserError

# Shape suffixes: H rows, W columns, S side of the image, A cells, F values of a cell, N people.

STRIDES = (8, 16, 32)

GREY = 114
"""Padding value of both kinds of networks in training."""

OVERLAP = 0.5
"""Intersection over union above which two boxes show one person."""


class OnnxPeople:
    """Detects people in one frame, uint8 RGB [H, W, 3].

    Args:
      path: the network.
      side: S, the side of its input in pixels, a multiple of 32.
      confidence: least score of a person, in (0, 1).

    Raises `UserError` if OpenCV cannot run the network on such an image, or if its output has another layout.
    """

    def __init__(self, path: Path, *, side: int, confidence: float) -> None:
        self._path, self._side, self._confidence = path, side, confidence
        places = [_places(side // stride, stride) for stride in STRIDES]
        self._places_A3 = np.concatenate(places)
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise UserError(f"OpenCV cannot read {path}; give an ONNX network as verify.detector.") from error
        self._network.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        blank_SS3 = np.full((side, side, 3), GREY, np.uint8)
        self._is_yolox = self._answer(blank_SS3, yolox=True).shape[1] == len(self._places_A3)

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Boxes, float32 [N, 5]: x0, y0, x1, y1 of a person in pixels of the frame, and the score."""
        scale = self._side / max(frame_HW3.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        height, width = (max(1, round(scale * length)) for length in frame_HW3.shape[:2])
        picture_SS3 = np.full((self._side, self._side, 3), GREY, np.uint8)
        picture_SS3[:height, :width] = cv2.resize(frame_HW3, (width, height), interpolation=how)
        answer = self._answer(picture_SS3, yolox=self._is_yolox)[0]
        if self._is_yolox:
            x_A, y_A, stride_A = self._places_A3.T
            centre_A2 = (answer[:, :2] + np.stack([x_A, y_A], 1)) * stride_A[:, None]
            # The size is limited, which avoids an overflow; larger boxes exceed the image anyway.
            size_A2 = np.exp(np.minimum(answer[:, 2:4], 10)) * stride_A[:, None]
            score_A = answer[:, 4] * answer[:, 5]
        else:
            centre_A2, size_A2, score_A = answer[:2].T, answer[2:4].T, answer[4]
        likely = score_A >= self._confidence
        corner_N2, size_N2, score_N = (centre_A2 - size_A2 / 2)[likely], size_A2[likely], score_A[likely]
        boxes_N4 = np.concatenate([corner_N2, size_N2], 1)
        kept = cv2.dnn.NMSBoxes(boxes_N4.tolist(), score_N.tolist(), self._confidence, OVERLAP)
        best = np.array(kept, int).ravel()
        ends_N2 = corner_N2 + size_N2
        found = np.concatenate([corner_N2[best] / scale, ends_N2[best] / scale, score_N[best, None]], 1)
        return found.astype(np.float32)

    def _answer(self, picture_SS3: np.ndarray, *, yolox: bool) -> np.ndarray:
        """The network's output in one of the two layouts, float32 [1, A, F] or [1, F, A]."""
        blob = cv2.dnn.blobFromImage(picture_SS3, 1 if yolox else 1 / 255, swapRB=yolox)
        try:
            self._network.setInput(blob)
            answers = self._network.forward(self._network.getUnconnectedOutLayersNames())
        except cv2.error as error:
            raise UserError(
                f"OpenCV cannot run {self._path} on an image of {self._side} by {self._side} pixels; "
                "give the network's size as verify.detector_side, or another verify.detector."
            ) from error
        shapes = [np.shape(answer) for answer in answers]
        places = len(self._places_A3)
        fits = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1
        if not fits or not (
            (shapes[0][1] == places and shapes[0][2] >= 6) or (shapes[0][2] == places and shapes[0][1] >= 5)
        ):
            raise UserError(
                f"The network {self._path} returns {' and '.join(map(str, shapes))}, but a detector returns "
                f"(1, {places}, 5 + classes) or (1, 4 + classes, {places}); "
                "give a YOLOX or YOLOv8 network as verify.detector and its size as verify.detector_side."
            )
        if not np.isfinite(answers[0]).all():
            raise UserError(
                f"The network {self._path} returns values that are not finite; give another verify.detector."
            )
        return np.asarray(answers[0])


def _places(count: int, stride: int) -> np.ndarray:
    """Column, row and stride of `count` by `count` cells, row by row, float32 [count², 3]."""
    rows, columns = np.indices((count, count), np.float32)
    return np.stack([columns.ravel(), rows.ravel(), np.full(count * count, stride, np.float32)], 1)
