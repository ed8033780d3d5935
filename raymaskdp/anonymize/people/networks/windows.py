"""Windows of the landmark network: squares around the hips, rotated so that the person in them is upright.

The result for one frame determines the window in the next. For a new person only a box is known. It may
contain the whole person, or end at the hips, the chest or the chin. Each case is a guess.

Shape suffixes: 4 coordinates of a box, 2×3 an affine map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MARGIN = 1.25
"""Side of a window relative to the diameter of the circle around the hips that contains the person
(MediaPipe's)."""

PULL = 8.0
"""How strongly a change of a window's size reduces its weight. In ten frames of six real clips, the size of
correct windows changed by up to 4 % a call, that of most others by 4 to 11 %."""

WIDE = 1.2
"""Ratio of width to height of a box from which the person in it may be lying down."""

LEAST_SIDE = 8.0
"""Side of the smallest window, pixels."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square of a frame.

    Attributes:
      x, y: its centre, pixels.
      side: pixels.
      turn: rotation of its upper edge in the frame, radians, clockwise.
    """

    x: float
    y: float
    side: float
    turn: float = 0.0

    @classmethod
    def from_hips(cls, hips_2: np.ndarray, rim_2: np.ndarray) -> Window:
        """The window of a person, given the middle of the hips and the top of the circle around them."""
        across, up = (rim_2 - hips_2).tolist()
        return cls(
            x=float(hips_2[0]),
            y=float(hips_2[1]),
            side=max(LEAST_SIDE, 2 * MARGIN * math.hypot(across, up)),
            turn=math.atan2(across, -up),
        )

    def steadiness(self, following: Window) -> float:
        """Agreement in size of this window and the next one, which follows from the result in this one, in
        [0, 1].

        The network assumes that the person fits the window, and corrects the size a little. If there is no
        correction, the size is right.
        """
        return math.exp(-PULL * abs(math.log(following.side / self.side)))

    def to_frame(self, cells: int) -> np.ndarray:
        """The affine map from an image with a side of `cells` pixels to the frame, float64 [2, 3]."""
        scale = self.side / cells
        cosine, sine = math.cos(self.turn) * scale, math.sin(self.turn) * scale
        turn_22 = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([turn_22, np.array([self.x, self.y]) - turn_22 @ [cells / 2, cells / 2]])


def guesses(box_4: np.ndarray) -> list[Window]:
    """Possible windows of the person in a box, in order of likelihood.

    The box contains the whole person; or it ends at the hips, the chest or the chin; or the person is lying
    down.
    """
    x0, y0, x1, y1 = np.asarray(box_4, np.float64)[:4].tolist()
    middle, width, height = (x0 + x1) / 2, x1 - x0, y1 - y0
    longer, above = max(width, height), max(height, 0.8 * width)
    found = [
        Window(x=middle, y=(y0 + y1) / 2, side=MARGIN * 1.04 * longer),
        Window(x=middle, y=y1, side=2 * MARGIN * above),
        Window(x=middle, y=y0 + 2 * height, side=4 * MARGIN * above),
        Window(x=middle, y=y0 + 3.5 * above, side=7 * MARGIN * above),
    ]
    if width > WIDE * height:
        lying = (math.pi / 2, -math.pi / 2)
        found += [Window(x=middle, y=(y0 + y1) / 2, side=found[0].side, turn=turn) for turn in lying]
    return found
