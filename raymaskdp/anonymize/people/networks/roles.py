"""The roles of networks for finding people, one protocol for each role. A setting chooses the network of a
role.

Boxes: NanoDet, which is bundled, or a network of `hub`. Points and masks: a network of `hub`, or none. The
landmark network and the segmenter of `mediapipe` run in either case.

Shape suffixes: H×W pixels, N people of a frame, 4 coordinates x0, y0, x1, y1, 17 COCO keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from raymaskdp.anonymize.people.masks import Patch
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections


class BoxNetwork(Protocol):
    """Detects people and objects.

    Attributes:
      side: longer side of the network's input, pixels; larger frames are also processed in quarters.
      batch: images in one batch.
    """

    side: int
    batch: int

    def detect(self, images: Sequence[np.ndarray]) -> list[BoxDetections]:
        """People and objects of each image, uint8 RGB [H, W, 3], in order of their scores."""


class PointNetwork(Protocol):
    """Locates the keypoints of people with known boxes.

    Attributes:
      batch: crops in one batch.
    """

    batch: int

    def points(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Keypoints of each frame's people, float32 [N, 17, 3]: x and y in pixels, score in [0, 1].

        Args:
          frames: uint8 RGB [H, W, 3] each.
          boxes: float [N, 4] of each frame, pixels; N may be 0.
        """


class MaskNetwork(Protocol):
    """Segments people with known boxes.

    Attributes:
      batch: frames in one batch.
    """

    batch: int

    def masks(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Patch]]:
        """The pixels of each frame's people, a patch for each box; arguments as of `PointNetwork.points`."""
