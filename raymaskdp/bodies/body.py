"""An SMPL-H body: shape coefficients and poses in, vertices and joints out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Shape suffixes: T frames, V vertices, F faces, J = 52 joints, S shape coefficients.


class Body:
    """An SMPL-H model from a file of that format, on the CPU, batched over frames.

    Attributes:
      faces_F3: int64 [F, 3] triangles.
      parents_J: int64 [52].
      num_betas: shape coefficients, 10.
    """

    faces_F3: np.ndarray
    parents_J: np.ndarray
    num_betas: int

    def rest_joints(self, betas_S: np.ndarray) -> np.ndarray:
        """Joints [52, 3] of a shape in the rest pose, in the body's own frame (y up), metres."""
        raise NotImplementedError

    def joints(
        self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray, betas_S: np.ndarray
    ) -> np.ndarray:
        """Posed joints, float32 [T, 52, 3], in the camera frame, metres."""
        raise NotImplementedError

    def vertices(
        self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray, betas_S: np.ndarray
    ) -> np.ndarray:
        """Posed, undressed vertices, float32 [T, V, 3], in the camera frame, metres."""
        raise NotImplementedError


def load_body(path: Path | None = None) -> Body:
    """The body in an SMPL-H file, or the embedded one; loaded once a process and file."""
    raise NotImplementedError
