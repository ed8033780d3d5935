"""Draw avatars: dressed meshes in, colour, depth and mask out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.bodies.figure import Figure

# Shape suffixes: V vertices, H rows, W columns.


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How avatars are drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """One drawn frame. A pixel is the avatar's wholly (mask true) or not at all (all zero).

    Attributes:
      color_HW3: uint8 RGB, 0 outside the mask.
      depth_HW: float32, distance along the camera's z axis in metres, 0 outside the mask.
      mask_HW: bool.
    """

    color_HW3: np.ndarray
    depth_HW: np.ndarray
    mask_HW: np.ndarray


class Renderer:
    """Draws with OpenGL through EGL, on a GPU or on the CPU.

    The context is made at the first call, in the thread that calls (RAY.md), so that a `Renderer` can
    be constructed anywhere; afterwards it belongs to that thread.
    """

    def __init__(self, config: RenderConfig) -> None:
        raise NotImplementedError

    def render(
        self,
        people: Sequence[tuple[Figure, np.ndarray]],
        camera_33: np.ndarray,
        *,
        width: int,
        height: int,
    ) -> Rendered:
        """Draw `people`, pairs of a figure and its posed vertices [V, 3] in the camera frame."""
        raise NotImplementedError
