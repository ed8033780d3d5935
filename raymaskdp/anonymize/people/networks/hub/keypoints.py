"""Keypoints by ViTPose (Xu et al. 2022): seventeen heat maps of a crop around each person.

As in training, the crop has the proportions of the network's input and is a quarter larger than the box.
Pixels are mapped without bias (Huang et al. 2020, UDP), and peaks are located with sub-cell precision (Zhang
et al. 2020, DARK, along each axis).

Shape suffixes: B crops, h×w a heat map, N people of a frame, 17 COCO keypoints.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from raymaskdp.anonymize.people.networks.hub.folder import (
    ModelFolder,
    in_batches,
    load,
    numbers,
    pixels_of,
    sides_of,
)
from raymaskdp.errors import UserError

KINDS = {"vitpose": "ViTPose"}
"""The supported networks, by the model type in config.json."""

NUM_POINTS = 17
PADDING = 1.25
"""Size of a crop relative to the box."""

LEAST_HEAT = 1e-3


class HubKeypoints:
    """COCO's keypoints of people by ViTPose; a `PointNetwork`.

    Args:
      folder: of one of `KINDS`.
      device: the device that it runs on.
      batch: crops in one batch.
      dtype: as in `load`.

    Raises `UserError` if the folder has another kind, or one with other keypoints.
    """

    def __init__(
        self, folder: ModelFolder, device: torch.device, *, batch: int, dtype: torch.dtype | None = None
    ) -> None:
        require_keypoints(folder)
        self._folder = folder
        self._pixels = pixels_of(folder, normalize=True)
        self._network = load(folder, "VitPoseForPoseEstimation", device, dtype)
        backbone = self._network.config.backbone_config
        self._height, self._width = sides_of(backbone.image_size)
        self._experts = getattr(backbone, "num_experts", 1) > 1
        self.batch = batch

    def points(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Keypoints of each frame's people, float32 [N, 17, 3]: x and y in pixels, score in [0, 1].

        Raises `UserError` as `numbers` does.
        """
        pairs = [(frame, box_4) for frame, some in zip(frames, boxes, strict=True) for box_4 in some]
        found: list[np.ndarray] = []
        for part in in_batches(pairs, self.batch):
            spans = [crop_of(box_4, self._height, self._width) for _, box_4 in part]
            crops = [self._crop(frame, span) for (frame, _), span in zip(part, spans, strict=True)]
            heat_B17hw = self._heat(crops)
            found += [peaks_of(heat, span) for heat, span in zip(heat_B17hw, spans, strict=True)]
        every = iter(found)
        return [
            np.array(list(itertools.islice(every, len(some))), np.float32).reshape(-1, NUM_POINTS, 3)
            for some in boxes
        ]

    def _crop(self, frame_HW3: np.ndarray, span_4: np.ndarray) -> np.ndarray:
        x0, y0, width, height = span_4
        across, down = (self._width - 1) / width, (self._height - 1) / height
        into_23 = np.array([[across, 0, -x0 * across], [0, down, -y0 * down]])
        return np.asarray(
            cv2.warpAffine(frame_HW3, into_23, (self._width, self._height), flags=cv2.INTER_LINEAR)
        )

    def _heat(self, crops: list[np.ndarray]) -> np.ndarray:
        """Heat maps [B, 17, h, w]."""
        pixels = self._pixels.tensor(crops, self._network)
        # In a network with experts for several data sets, COCO's is the first.
        which = {"dataset_index": pixels.new_zeros(len(crops), dtype=torch.long)} if self._experts else {}
        with torch.no_grad():
            answer = self._network(pixel_values=pixels, **which)
        return numbers(self._folder, answer.heatmaps)


def require_keypoints(folder: ModelFolder) -> None:
    """Raise `UserError` unless a folder has a ViTPose with COCO's seventeen keypoints."""
    folder.require_kind(KINDS, "keypoints")
    count = len(folder.labels())
    if count != NUM_POINTS:
        raise UserError(
            f"{folder.setting}: {folder.place} names {count} keypoints in the id2label of its config.json; "
            "give one of the 17 of COCO."
        )


def crop_of(box_4: np.ndarray, height: int, width: int) -> np.ndarray:
    """x0, y0, width and height of the crop around a box, in the proportions of the network's input; float64
    [4].
    """
    x0, y0, x1, y1 = np.asarray(box_4, np.float64)[:4]
    wide = PADDING * max(x1 - x0, (y1 - y0) * width / height, 1.0)
    high = wide * height / width
    return np.array([(x0 + x1 - wide) / 2, (y0 + y1 - high) / 2, wide, high])


def peaks_of(heat_17hw: np.ndarray, span_4: np.ndarray) -> np.ndarray:
    """Position in the frame of the peak of each heat map of a crop, float32 [17, 3]: x, y, height.

    Args:
      span_4: the crop, as of `crop_of`.
    """
    h, w = heat_17hw.shape[1:]
    best_17 = heat_17hw.reshape(len(heat_17hw), -1).argmax(1)
    y_17, x_17 = np.divmod(best_17, w)
    rows = np.arange(len(heat_17hw))
    log_17hw = np.log(np.maximum(heat_17hw, LEAST_HEAT))
    across_17 = x_17 + _offset(log_17hw[rows, y_17], x_17)
    down_17 = y_17 + _offset(log_17hw[rows, :, x_17], y_17)
    x0, y0, width, height = span_4
    return np.column_stack(
        [
            x0 + across_17 * width / (w - 1),
            y0 + down_17 * height / (h - 1),
            heat_17hw[rows, y_17, x_17].clip(0, 1),
        ]
    ).astype(np.float32)


def _offset(line_17n: np.ndarray, at_17: np.ndarray) -> np.ndarray:
    """Offset of the vertex of a parabola through a peak and its neighbours from the peak, in cells, [17]."""
    rows, last = np.arange(len(line_17n)), line_17n.shape[1] - 1
    before, peak, after = (line_17n[rows, (at_17 + step).clip(0, last)] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    inner = (at_17 > 0) & (at_17 < last) & (bend < -1e-6)
    return np.asarray(
        np.where(inner, 0.5 * (before - after) / np.where(inner, bend, 1.0), 0.0).clip(-0.5, 0.5)
    )
