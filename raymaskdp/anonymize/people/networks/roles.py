"""What a network does for finding people, one protocol a role; whoever fills a role is chosen by a setting.

Boxes: NanoDet, which is shipped, or a network of `hub`. Points and masks: a network of `hub`, or nobody;
the landmark network and the segmenter of `mediapipe` work in either case.

Shape suffixes: H×W pixels, N people of a frame, 4 coordinates x0, y0, x1, y1, 17 COCO keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from raymaskdp.anonymize.people.masks import Patch
from raymaskdp.anonymize.people.networks.nanodet import Things


class BoxNetwork(Protocol):
    """Finds people and things.

    Attributes:
      side: longer side of the network's picture, pixels; larger frames are also looked at in quarters.
      batch: pictures that are looked at at once.
    """

    side: int
    batch: int

    def things(self, images: Sequence[np.ndarray]) -> list[Things]:
        """People and things of each picture, uint8 RGB [H, W, 3], the likeliest first."""


class PointNetwork(Protocol):
    """Finds the keypoints of people whose boxes are known.

    Attributes:
      batch: crops that are looked at at once.
    """

    batch: int

    def points(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Keypoints of each frame's people, float32 [N, 17, 3]: x and y in pixels, score in [0, 1].

        Args:
          frames: uint8 RGB [H, W, 3] each.
          boxes: float [N, 4] of each frame, pixels; N may be 0.
        """


class MaskNetwork(Protocol):
    """Finds the pixels of people whose boxes are known.

    Attributes:
      batch: frames that are looked at at once.
    """

    batch: int

    def masks(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Patch]]:
        """The pixels of each frame's people, one patch a box; arguments as of `PointNetwork.points`."""
