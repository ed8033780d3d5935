"""The outline of a mesh in a picture, drawn triangle by triangle: independent of the renderer."""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.motion import Motion


def silhouette(motion: Motion, frame: int, height: int, width: int) -> np.ndarray:
    """Where the body of a motion is in the picture, bool [H, W]."""
    rows = slice(frame, frame + 1)
    (mesh_V3,) = load_body().vertices(motion.rotations_TJ3[rows], motion.translation_T3[rows], motion.betas_S)
    image = mesh_V3 @ motion.camera_33.T
    triangles = np.round(16 * (image[:, :2] / image[:, 2:])[load_body().faces_F3]).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    for triangle in triangles:
        cv2.fillConvexPoly(mask, triangle, 1, shift=4)
    return mask > 0
