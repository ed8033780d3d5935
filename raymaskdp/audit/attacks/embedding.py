"""Stronger attackers by path: a network that was trained elsewhere to recognize faces, or people.

Any ONNX file, run by OpenCV on the CPU, whose input is an image, RGB float32 [1, 3, H, W], and whose output
is a vector [1, D]. The closer the directions of two vectors are, the more likely they show one person. Faces
are normalized as for ArcFace (Deng et al. 2019), people as for ImageNet's networks; neither is aligned by
landmarks.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from raymaskdp.errors import UserError

# Shape suffixes: N images, H rows, W columns, D features.

FACE_MEAN, FACE_SPREAD = np.full(3, 127.5, np.float32), np.full(3, 127.5, np.float32)
PERSON_MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
PERSON_SPREAD = 255 * np.array([0.229, 0.224, 0.225], np.float32)


class Embedder:
    """Computes vectors of images, uint8 RGB.

    Args:
      path: the network.
      size: rows and columns of its input.
      mean, spread: of pixels, by channel; the input is the image minus `mean`, divided by `spread`.
      name: of the setting with the path, for errors.

    Raises `UserError` if OpenCV cannot read or run it, or if its output is not a vector.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int], mean: np.ndarray, spread: np.ndarray, name: str
    ) -> None:
        self._path, self._size, self._mean, self._spread, self._name = path, size, mean, spread, name
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise UserError(f"OpenCV cannot read {path}; give an ONNX network as {name}.") from error
        self._network.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        self(np.zeros((*size, 3), np.uint8))

    def __call__(self, picture_HW3: np.ndarray) -> np.ndarray:
        """The vector of an image of any size, float64 [D]."""
        height, width = self._size
        shrinks = picture_HW3.shape[0] > height
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        scaled_HW3 = cv2.resize(picture_HW3, (width, height), interpolation=how).astype(np.float32)
        blob = ((scaled_HW3 - self._mean) / self._spread).transpose(2, 0, 1)[None]
        try:
            self._network.setInput(np.ascontiguousarray(blob))
            answer = self._network.forward()
        except cv2.error as error:
            raise UserError(
                f"OpenCV cannot run {self._path} on an image of {height} by {width} pixels; give its "
                f"size, or another {self._name}."
            ) from error
        vector_D = np.asarray(answer, dtype=np.float64)
        if vector_D.ndim < 2 or vector_D.shape[0] != 1 or not np.isfinite(vector_D).all():
            raise UserError(f"The network {self._path} returns no vector; give another {self._name}.")
        return vector_D.ravel()


def mean_direction(vectors_ND: list[np.ndarray]) -> np.ndarray | None:
    """The mean of the vectors' directions, [D]; None for no vectors."""
    if not vectors_ND:
        return None
    lengths = [max(float(np.linalg.norm(vector_D)), 1e-9) for vector_D in vectors_ND]
    return np.asarray(
        np.mean([vector_D / length for vector_D, length in zip(vectors_ND, lengths, strict=True)], axis=0)
    )
