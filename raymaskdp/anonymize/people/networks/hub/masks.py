"""Masks by SAM 2 (Ravi et al. 2024), prompted by the box of each person's track in each frame.

A track has a box in every frame, so each frame is segmented separately. The network's memory of earlier
frames is not used, because it would grow with the video. Weights of the video network are supported, too.

Shape suffixes: B frames, N people of a frame, h×w the network's masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from raymaskdp.anonymize.people import boxes as box
from raymaskdp.anonymize.people.body_track import MASK_THRESHOLD
from raymaskdp.anonymize.people.masks import Patch, crop_to_content
from raymaskdp.anonymize.people.networks.hub.folder import (
    ModelFolder,
    in_batches,
    load,
    numbers,
    pixels_of,
    resized,
    sides_of,
)

KINDS = {"sam2": "SAM 2", "sam2_video": "SAM 2"}
"""The supported networks, by the model type in config.json."""

BEYOND = 0.2
"""A mask may extend this far outside the box, as a share of its longer side. Pixels further away are
discarded."""


class HubMasks:
    """Pixels of people by SAM 2; a `MaskNetwork`.

    Args:
      folder: of one of `KINDS`.
      device: the device that it runs on.
      batch: frames in one batch.
      dtype: as in `load`.

    Raises `UserError` if the folder has another kind.
    """

    def __init__(
        self, folder: ModelFolder, device: torch.device, *, batch: int, dtype: torch.dtype | None = None
    ) -> None:
        require_masks(folder)
        self._folder = folder
        self._pixels = pixels_of(folder, normalize=True)
        self._network = load(folder, "AutoModelForMaskGeneration", device, dtype)
        self._height, self._width = sides_of(self._network.config.prompt_encoder_config.image_size)
        self.batch = batch

    def masks(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Patch]]:
        """The pixels of each frame's people, one patch for each box; raises `UserError` as `numbers` does."""
        found: list[list[Patch]] = [[] for _ in frames]
        asked = [index for index, some in enumerate(boxes) if len(some)]
        for part in in_batches(asked, self.batch):
            logits = self._logits([frames[index] for index in part], [boxes[index] for index in part])
            for index, logits_Nhw in zip(part, logits, strict=True):
                found[index] = [
                    patch_of(logits_hw, box_4, *frames[index].shape[:2])
                    for logits_hw, box_4 in zip(logits_Nhw, boxes[index], strict=False)
                ]
        return found

    def _logits(self, frames: list[np.ndarray], boxes: list[np.ndarray]) -> np.ndarray:
        """[B, N, h, w] for the largest N. In frames with fewer people the prompt of the first one is
        repeated.
        """
        most = max(len(some) for some in boxes)
        prompts_BN4 = np.array(
            [
                np.concatenate([some, np.repeat(some[:1], most - len(some), axis=0)]) * self._scale(frame)
                for frame, some in zip(frames, boxes, strict=True)
            ]
        )
        pixels = self._pixels.tensor([resized(f, self._height, self._width) for f in frames], self._network)
        prompts = torch.from_numpy(prompts_BN4).to(pixels.device, pixels.dtype)
        with torch.no_grad():
            answer = self._network(pixel_values=pixels, input_boxes=prompts, multimask_output=False)
        return numbers(self._folder, answer.pred_masks[:, :, 0])

    def _scale(self, frame_HW3: np.ndarray) -> np.ndarray:
        across, down = self._width / frame_HW3.shape[1], self._height / frame_HW3.shape[0]
        return np.array([across, down, across, down], np.float32)


def require_masks(folder: ModelFolder) -> None:
    """Raise `UserError` unless a folder has a SAM 2."""
    folder.require_kind(KINDS, "masks")


def patch_of(logits_hw: np.ndarray, box_4: np.ndarray, height: int, width: int) -> Patch:
    """The likely pixels near a box of a frame of H x W pixels, from logits of the whole frame."""
    x0, y0, x1, y1 = box.clip_to_frame(box.expand(box_4, BEYOND), height=height, width=width)
    probability_hw = 1 / (1 + np.exp(-logits_hw.clip(-30, 30)))
    whole_HW = cv2.resize(probability_hw.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return crop_to_content(whole_HW[y0:y1, x0:x1] > MASK_THRESHOLD, (x0, y0))
