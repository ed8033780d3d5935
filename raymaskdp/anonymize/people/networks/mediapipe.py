"""MediaPipe's networks behind three plain functions: bodies, faces, and people in the foreground.

Shape suffixes: H×W pixels, N boxes, 33 landmarks, h×w a patch.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from raymaskdp.anonymize.people.networks.pose_model import pull_pose_models
from raymaskdp.errors import UserError

FOREGROUND_SIDE = 256
"""The segmenter's own resolution; its masks are kept at this longer side."""


LONGEST = 512
"""Longer side of the input of the body networks; they work at 224 and 256 pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyDetection:
    """One body detected in one frame.

    Attributes:
      keypoints_33x3: float32, x and y in pixels of the whole frame, visibility in [0, 1].
      world_33x3: float32, metres from the hips.
      corner: (x, y) of the patch in the frame, pixels.
      mask_hw: float32, the probability of a pixel to belong to this person; a patch of the frame.
      score: mean visibility of shoulders and hips, in [0, 1].
    """

    keypoints_33x3: np.ndarray
    world_33x3: np.ndarray
    corner: tuple[int, int]
    mask_hw: np.ndarray
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CropView:
    """Part of a frame, as input of a network.

    Attributes:
      box: x0, y0, x1, y1 of the part in the frame, pixels.
      image_hw3: uint8 RGB of that part, possibly scaled.
    """

    box: tuple[int, int, int, int]
    image_hw3: np.ndarray

    @classmethod
    def of(cls, frame_HW3: np.ndarray, box: tuple[int, int, int, int]) -> CropView:
        """The part `box` of a frame, scaled to a longer side of `LONGEST` pixels."""
        x0, y0, x1, y1 = box
        image = halved(frame_HW3[y0:y1, x0:x1], LONGEST)
        scale = LONGEST / max(x1 - x0, y1 - y0)
        if max(image.shape[:2]) != LONGEST:
            size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
            # The network's own upscaling is coarse. This one reduces the error of small people's landmarks by
            # a tenth.
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return cls(box=box, image_hw3=image)


def halved(image_HW3: np.ndarray, least: int) -> np.ndarray:
    """The image halved repeatedly, while its longer side stays above `least`.

    Halving is many times faster than other downscaling, and leaves little work for the final resize.
    """
    while max(image_HW3.shape[:2]) >= 2 * least:
        height, width = image_HW3.shape[:2]
        size = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
        image_HW3 = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
    return image_HW3


class PoseNetworks:
    """The three networks. Each is loaded on first use, in the thread that uses it.

    Args:
      confidence: least detector and presence confidence of a body, in [0, 1].
      limit: most bodies that one call returns.
    """

    def __init__(self, *, confidence: float, limit: int) -> None:
        self._confidence = confidence
        self._limit = limit

    def bodies(self, view: CropView) -> list[BodyDetection]:
        """Bodies in a part of a frame, in the frame's coordinates."""
        x0, y0, x1, y1 = view.box
        width, height = x1 - x0, y1 - y0
        found = self._body_network.detect(_image(view.image_hw3))
        detections = []
        for landmarks, world, mask in zip(
            found.pose_landmarks, found.pose_world_landmarks, found.segmentation_masks or [], strict=True
        ):
            keypoints = np.array(
                [(p.x * width + x0, p.y * height + y0, p.visibility) for p in landmarks], np.float32
            )
            mask_hw: np.ndarray = np.array(mask.numpy_view(), np.float32).reshape(view.image_hw3.shape[:2])
            if mask_hw.shape != (height, width):
                mask_hw = cv2.resize(mask_hw, (width, height), interpolation=cv2.INTER_LINEAR)
            detections.append(
                BodyDetection(
                    keypoints_33x3=keypoints,
                    world_33x3=np.array([(p.x, p.y, p.z) for p in world], np.float32),
                    corner=(x0, y0),
                    mask_hw=mask_hw,
                    score=float(keypoints[[11, 12, 23, 24], 2].mean()),
                )
            )
        return detections

    def faces(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Faces in the frame, float32 [N, 5]: x0, y0, x1, y1 in pixels, score."""
        found = self._face_network.detect(_image(frame_HW3)).detections
        boxes = [
            (
                d.bounding_box.origin_x,
                d.bounding_box.origin_y,
                d.bounding_box.origin_x + d.bounding_box.width,
                d.bounding_box.origin_y + d.bounding_box.height,
                d.categories[0].score,
            )
            for d in found
        ]
        return np.array(boxes, np.float32).reshape(-1, 5)

    def foreground(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Probability of each pixel to show a person, float32 [h, w] with the longer side 256."""
        height, width = frame_HW3.shape[:2]
        scale = FOREGROUND_SIDE / max(height, width)
        small = cv2.resize(
            frame_HW3,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        masks = self._foreground_network.segment(_image(small)).confidence_masks
        return np.array(masks[0].numpy_view(), np.float32).reshape(small.shape[:2])

    # Each is opened separately, so that the body network is not opened for data sets with skeletons.

    @functools.cached_property
    def _body_network(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        bundle = pull_pose_models().landmarker
        try:
            network = vision.PoseLandmarker.create_from_options(
                vision.PoseLandmarkerOptions(
                    base_options=BaseOptions(model_asset_path=str(bundle)),
                    num_poses=self._limit,
                    min_pose_detection_confidence=self._confidence,
                    min_pose_presence_confidence=self._confidence,
                    output_segmentation_masks=True,
                )
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"MediaPipe cannot open {bundle} as a PoseLandmarker bundle.") from error
        return _closed_at_exit(network)

    @functools.cached_property
    def _face_network(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        return _closed_at_exit(
            vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(
                    base_options=BaseOptions(model_asset_path=str(pull_pose_models().face_detector)),
                    min_detection_confidence=0.3,
                )
            )
        )

    @functools.cached_property
    def _foreground_network(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        return _closed_at_exit(
            vision.ImageSegmenter.create_from_options(
                vision.ImageSegmenterOptions(
                    base_options=BaseOptions(model_asset_path=str(pull_pose_models().segmenter)),
                    output_confidence_masks=True,
                )
            )
        )


def _closed_at_exit(network: Any) -> Any:
    # Closed before the thread pools that serve it. Its own destructor fails at exit.
    threading._register_atexit(network.close)  # type: ignore[attr-defined]
    return network


def _image(frame_HW3: np.ndarray) -> Any:
    import mediapipe

    return mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame_HW3, np.uint8)
    )
