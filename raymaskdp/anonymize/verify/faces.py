"""Faces that are confirmed in an enlarged crop, because one network alone finds faces in curtains.

Shape suffixes: H×W pixels, N faces.
"""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.mediapipe import PoseNetworks

LEAST_FACE = 16
"""Smallest side of a face in pixels; smaller ones cannot be distinguished from spots."""

CLOSE_PX = 256
"""Longer side of the enlarged crop of a face, pixels."""


def confirmed_faces(networks: PoseNetworks, frame_HW3: np.ndarray, seen_N5: np.ndarray) -> np.ndarray:
    """Faces found in enlarged crops, float32 [N, 5]: x0, y0, x1, y1 in pixels of the frame, score.

    For each of the faces `seen_N5` (boxes and scores) with at least `LEAST_FACE` pixels, an enlarged part of
    the frame is processed, and its detections are returned.
    """
    height, width = frame_HW3.shape[:2]
    found = [np.zeros((0, 5), np.float32)]
    for face_5 in seen_N5:
        x0, y0, x1, y1 = np.clip(face_5[:4], 0, (width, height, width, height))
        if min(x1 - x0, y1 - y0) < LEAST_FACE:
            continue
        left, top, right, bottom = boxes.clip_to_frame(boxes.expand(face_5, 0.5), height=height, width=width)
        image = frame_HW3[top:bottom, left:right]
        enlarge = CLOSE_PX / max(image.shape[:2])
        close = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        close_N5 = networks.faces(close)
        close_N5[:, :4] = close_N5[:, :4] / enlarge + (left, top, left, top)
        found.append(close_N5)
    return np.concatenate(found)
