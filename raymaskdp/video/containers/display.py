"""How a container says that frames are to be turned and mirrored before they are shown."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath

TOLERANCE_DEG = 1.0
"""Largest difference from a quarter turn that is taken for a rounding."""


@dataclass(frozen=True, kw_only=True)
class Display:
    """How frames become upright.

    Attributes:
      turns: counter-clockwise quarter turns, 0 to 3.
      mirrored: whether left and right are exchanged after that.
    """

    turns: int = 0
    mirrored: bool = False

    @classmethod
    def of(cls, path: LocalPath, frame: av.VideoFrame) -> Display:
        """What the display matrix of a frame says. Raises `UserError` for an angle that is no quarter turn.

        The matrix maps a coded pixel (x, y) to (a x + c y, b x + d y); y points down. One that maps all to a
        line, as some writers leave it, says nothing.
        """
        matrix = cast(SideData | None, frame.side_data.get("DISPLAYMATRIX"))
        if matrix is None:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
        if a * d == b * c:
            return cls()
        mirrored = a * d < b * c
        if mirrored:
            a, c = -a, -c
        angles = math.degrees(math.atan2(b, a)), math.degrees(math.atan2(-c, d))
        turns = round(angles[0] / 90)
        if any(abs((angle - 90 * turns + 180) % 360 - 180) > TOLERANCE_DEG for angle in angles):
            raise UserError(
                f"The video {path} is to be shown turned by {angles[0]:.0f}°, which is no quarter turn; "
                "convert it, so that its frames are upright."
            )
        return cls(turns=-turns % 4, mirrored=mirrored)

    @property
    def swaps_sides(self) -> bool:
        """Whether rows become columns."""
        return self.turns % 2 == 1

    def upright(self, frame_HW3: np.ndarray) -> np.ndarray:
        """A coded frame, uint8 [H, W, 3], as it is shown."""
        turned = np.rot90(frame_HW3, self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)
