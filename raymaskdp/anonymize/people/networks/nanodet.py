"""NanoDet-g: people and objects of the 80 COCO classes, as boxes.

RangiLyu, github.com/RangiLyu/nanodet (2021), Apache-2.0: an anchor-free one-stage detector. The four
distances to a box's sides are distributions over eleven bins (generalized focal loss, Li et al. 2020).

Shape suffixes: N boxes, A cells of a level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.onnx_session import bundled, letterboxed

SIDE = 416
"""Longer side of the network's input, pixels."""

STRIDES = (8, 16, 32)
"""Pixels of the network's input from one place of a level to the next."""

MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)
BINS = 11

LEAST_SCORE = 0.05
"""Least score of a box that is reported. Below it, hardly one box in ten is right."""

OVERLAP = 0.5
"""Overlap (IoU) from which two boxes of one class are duplicates."""

HIDDEN = 0.5
"""A cell counts as a person's if the score of the class person is at least this share of the best class's."""

MOST = 100
"""Most boxes that are reported for one image."""

PERSON = 0
"""The class of people."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxDetections:
    """Detections of people and objects in one image.

    Attributes:
      boxes_N4: float32, pixels of the original image.
      score_N: float32, in [0, 1].
      class_N: int64, COCO class, 0 for people.
    """

    boxes_N4: np.ndarray
    score_N: np.ndarray
    class_N: np.ndarray

    def people(self) -> np.ndarray:
        """Boxes and scores of people, float32 [N, 5]."""
        chosen = self.class_N == PERSON
        return np.column_stack([self.boxes_N4[chosen], self.score_N[chosen]]).astype(np.float32)


class NanoDet:
    """The loaded network; a `roles.BoxNetwork` that processes one image (uint8 RGB [H, W, 3]) after the
    other.
    """

    side = SIDE
    batch = 1

    def __init__(self) -> None:
        self._session = bundled("nanodet.onnx")
        self._input = self._session.get_inputs()[0].name

    def detect(self, images: Sequence[np.ndarray]) -> list[BoxDetections]:
        """People and objects of each image, in order of their scores."""
        return [self(image) for image in images]

    def __call__(self, image_HW3: np.ndarray) -> BoxDetections:
        """People and objects of one image, in order of their scores."""
        picture, scale = letterboxed(image_HW3, SIDE, multiple=STRIDES[-1])
        blob = (picture[..., ::-1].astype(np.float32) - MEAN) / STD
        answers = self._session.run(None, {self._input: blob.transpose(2, 0, 1)[None]})
        levels = sorted((a[0] for a in answers if a.shape[-1] == 80), key=len, reverse=True)
        sides = sorted((a[0] for a in answers if a.shape[-1] == 4 * BINS), key=len, reverse=True)
        found = [
            _decoded(score_AK, bins_AB, stride, picture.shape[1] // stride)
            for score_AK, bins_AB, stride in zip(levels, sides, STRIDES, strict=True)
        ]
        boxes_N4, score_N, class_N = (np.concatenate(part) for part in zip(*found, strict=True))
        first = np.argsort(-score_N)[:MOST]
        boxes_N4, score_N, class_N = boxes_N4[first], score_N[first], class_N[first]
        # Boxes of different classes are moved apart, so that they do not suppress each other.
        apart_N4 = boxes_N4 + (class_N * 4 * SIDE)[:, None]
        kept = boxes.nms(apart_N4, score_N, OVERLAP)
        height, width = image_HW3.shape[:2]
        whole_N4 = np.clip(boxes_N4[kept] / scale, 0, [width, height, width, height]).astype(np.float32)
        return BoxDetections(
            boxes_N4=whole_N4, score_N=score_N[kept].astype(np.float32), class_N=class_N[kept]
        )


def _decoded(
    score_AK: np.ndarray, bins_AB: np.ndarray, stride: int, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4] in the network's input, their scores [N] and classes [N], of one level."""
    likely = np.flatnonzero(score_AK.max(1) >= LEAST_SCORE)
    score_AK, bins_AB = score_AK[likely], bins_AB[likely]
    class_A, best_A = score_AK.argmax(1), score_AK.max(1)
    # A person may have a lower score than another class in the same cell. The network also gives a dog half
    # the score of a person.
    class_A = np.where(score_AK[:, PERSON] >= HIDDEN * best_A, PERSON, class_A)
    score_A = score_AK[np.arange(len(class_A)), class_A]
    logits = bins_AB.reshape(-1, 4, BINS)
    share = np.exp(logits - logits.max(-1, keepdims=True))
    distance_N4 = stride * (share * np.arange(BINS)).sum(-1) / share.sum(-1)
    x_N, y_N = (likely % columns + 0.5) * stride, (likely // columns + 0.5) * stride
    boxes_N4 = np.column_stack(
        [x_N - distance_N4[:, 0], y_N - distance_N4[:, 1], x_N + distance_N4[:, 2], y_N + distance_N4[:, 3]]
    )
    return boxes_N4, score_A, class_A
