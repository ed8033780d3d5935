"""Boxes by a detector of transformers: RT-DETR (Zhao et al. 2024), RT-DETRv2, D-FINE (Peng et al. 2024).

These return some hundred boxes an image with a score for each class. They are trained to need no non-maximum
suppression. It is applied all the same, because duplicates with low scores remain.

Shape suffixes: Q queries, K classes of the network, N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.hub.folder import (
    ModelFolder,
    in_batches,
    load,
    numbers,
    pixels_of,
    resized,
    sides_of,
)
from raymaskdp.anonymize.people.networks.nanodet import LEAST_SCORE, MOST, BoxDetections
from raymaskdp.errors import UserError

KINDS = {"rt_detr": "RT-DETR", "rt_detr_v2": "RT-DETRv2", "d_fine": "D-FINE"}
"""The supported networks, by the model type in config.json."""

SIDE = 640
"""Sides of the input if the folder does not specify them."""

OVERLAP = 0.7
"""Overlap (IoU) from which two boxes of one class are duplicates."""

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's classes (Lin et al. 2014), numbered as in `BoxDetections`. Other classes of a network are ignored:
such an object might be worn, or be a person under another name, and objects stay in the image."""

ALIASES = {
    "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
    "diningtable": "dining table", "tvmonitor": "tv",
}  # fmt: skip
"""Pascal VOC's names of some of them."""


class HubDetector:
    """People and objects by a detector of transformers; a `BoxNetwork`.

    Args:
      folder: of one of `KINDS`.
      device: the device that it runs on.
      batch: images in one batch.
      dtype: as in `load`.

    Raises `UserError` if the folder has another kind, or no class "person".
    """

    def __init__(
        self, folder: ModelFolder, device: torch.device, *, batch: int, dtype: torch.dtype | None = None
    ) -> None:
        self._folder = folder
        self._classes_K = classes_of(folder)
        self._height, self._width = _sides(folder)
        self._pixels = pixels_of(folder, normalize=False)
        self._network = load(folder, "AutoModelForObjectDetection", device, dtype)
        self.side = max(self._height, self._width)
        self.batch = batch

    def detect(self, images: Sequence[np.ndarray]) -> list[BoxDetections]:
        """People and objects of each image, uint8 RGB [H, W, 3], in order of their scores.

        Raises `UserError` as `numbers` does.
        """
        found: list[BoxDetections] = []
        for some in in_batches(images, self.batch):
            pictures = [resized(image, self._height, self._width) for image in some]
            with torch.no_grad():
                answer = self._network(pixel_values=self._pixels.tensor(pictures, self._network))
            score_BQK = 1 / (1 + np.exp(-numbers(self._folder, answer.logits)))
            boxes_BQ4 = numbers(self._folder, answer.pred_boxes)
            found += [
                self._decoded(score_QK, boxes_Q4, image.shape[0], image.shape[1])
                for score_QK, boxes_Q4, image in zip(score_BQK, boxes_BQ4, some, strict=True)
            ]
        return found

    def _decoded(self, score_QK: np.ndarray, boxes_Q4: np.ndarray, height: int, width: int) -> BoxDetections:
        """The likely detections of known classes."""
        query_N, class_N = np.nonzero((score_QK >= LEAST_SCORE) & (self._classes_K >= 0))
        score_N = score_QK[query_N, class_N]
        first = np.argsort(-score_N, kind="stable")[:MOST]
        query_N, class_N, score_N = query_N[first], self._classes_K[class_N[first]], score_N[first]
        centre_N2, half_N2 = boxes_Q4[query_N, :2], boxes_Q4[query_N, 2:] / 2
        boxes_N4 = np.concatenate([centre_N2 - half_N2, centre_N2 + half_N2], 1).clip(0, 1)
        boxes_N4 = boxes_N4 * np.array([width, height, width, height])
        # Boxes of different classes are moved apart, so that they do not suppress each other.
        apart_N4 = boxes_N4 + (class_N * 4 * max(height, width))[:, None]
        kept = boxes.nms(apart_N4, score_N, OVERLAP) if len(score_N) else np.zeros(0, np.int64)
        return BoxDetections(
            boxes_N4=boxes_N4[kept].astype(np.float32),
            score_N=score_N[kept].astype(np.float32),
            class_N=class_N[kept].astype(np.int64),
        )


def classes_of(folder: ModelFolder) -> np.ndarray:
    """COCO's number of each of a detector's classes, int64 [K]; -1 for other classes.

    Raises `UserError` if the folder has no detector, or one without a class of people.
    """
    folder.require_kind(KINDS, "boxes")
    labels = folder.labels()
    if "person" not in labels.values():
        raise UserError(
            f"{folder.setting}: {folder.place} has no class named 'person' in the id2label of its "
            "config.json; give a detector of people."
        )
    names = [ALIASES.get(name, name) for _, name in sorted(labels.items())]
    return np.array([COCO.index(name) if name in COCO else -1 for name in names], np.int64)


def _sides(folder: ModelFolder) -> tuple[int, int]:
    said = folder.preprocessing().get("size", SIDE)
    try:
        return sides_of(said)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder.setting}: {folder.place} does not take images of one height and width, which is not "
            "supported."
        ) from error
