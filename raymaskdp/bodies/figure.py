"""A dressed avatar as a mesh: what the renderer draws."""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.body import Body

# Shape suffixes: T frames, V vertices of the dressed mesh, F faces, J = 52 joints.


class Figure:
    """An avatar's dressed mesh in a body; build it once a track with `dress`.

    Attributes:
      faces_F3: int32 [F, 3].
      colors_V3: float32 [V, 3], sRGB in [0, 1].
    """

    faces_F3: np.ndarray
    colors_V3: np.ndarray

    def pose(self, rotations_TJ3: np.ndarray, translation_T3: np.ndarray) -> np.ndarray:
        """Posed vertices, float32 [T, V, 3], in the camera frame, metres."""
        raise NotImplementedError


def dress(body: Body, avatar: Avatar) -> Figure:
    """The mesh of `avatar` in `body`: shape, clothes, hair and colours."""
    raise NotImplementedError
