"""Faces that are confirmed on a second, closer look, because one network alone sees faces in curtains.

Shape suffixes: H×W pixels, N faces.
"""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.mediapipe import PoseNetworks

LEAST_FACE = 16
"""Smallest side, in pixels, of a face that can raise an alarm; smaller ones are blobs to the network."""

CLOSE_PX = 256
"""Longer side, in pixels, of the enlarged picture of a face."""


def close_faces(networks: PoseNetworks, frame_HW3: np.ndarray, seen_N5: np.ndarray) -> np.ndarray:
    """Faces as closer looks show them, float32 [N, 5]: x0, y0, x1, y1 in pixels of the frame, score.

    Around each of the faces `seen_N5`, boxes and scores alike, that has at least `LEAST_FACE` pixels, an
    enlarged part of the frame is looked at, and what is seen there counts.
    """
    height, width = frame_HW3.shape[:2]
    found = [np.zeros((0, 5), np.float32)]
    for face_5 in seen_N5:
        x0, y0, x1, y1 = np.clip(face_5[:4], 0, (width, height, width, height))
        if min(x1 - x0, y1 - y0) < LEAST_FACE:
            continue
        left, top, right, bottom = boxes.within(boxes.expand(face_5, 0.5), height=height, width=width)
        image = frame_HW3[top:bottom, left:right]
        enlarge = CLOSE_PX / max(image.shape[:2])
        close = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        close_N5 = networks.faces(close)
        close_N5[:, :4] = close_N5[:, :4] / enlarge + (left, top, left, top)
        found.append(close_N5)
    return np.concatenate(found)
