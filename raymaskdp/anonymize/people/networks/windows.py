"""Where the landmark network looks: a square around the hips, turned so that the person in it stands upright.

A person who was seen tells where they are next. Of one who was not, only a box is known, which may show all
of them, or end at the hips, the chest or the chin: each is a guess.

Shape suffixes: 4 coordinates of a box, 2×3 an affine map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MARGIN = 1.25
"""Side of a window by the diameter of the circle around the hips in which a person fits (MediaPipe's)."""

PULL = 8.0
"""How fast a window is trusted less, the more its size changes with what is seen in it. In ten frames of six
real clips right windows changed by up to 4 % a look, most of the others by 4 to 11 %."""

WIDE = 1.2
"""Width of a box by its height from which the person in it may lie."""

LEAST_SIDE = 8.0
"""Side of the smallest window, pixels."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square of a frame.

    Attributes:
      x, y: its middle, pixels.
      side: pixels.
      turn: of its upper edge from the frame's, radians, clockwise.
    """

    x: float
    y: float
    side: float
    turn: float = 0.0

    @classmethod
    def around(cls, hips_2: np.ndarray, rim_2: np.ndarray) -> Window:
        """The window of a person, by the middle of the hips and the top of the circle around the person."""
        across, up = (rim_2 - hips_2).tolist()
        return cls(
            x=float(hips_2[0]),
            y=float(hips_2[1]),
            side=max(LEAST_SIDE, 2 * MARGIN * math.hypot(across, up)),
            turn=math.atan2(across, -up),
        )

    def steadiness(self, following: Window) -> float:
        """How well the window that follows from what is seen in this one agrees with it in size, in [0, 1].

        The network takes what it is shown for a person of about that size, and corrects it a little. Where
        it need not, the size is right.
        """
        return math.exp(-PULL * abs(math.log(following.side / self.side)))

    def to_frame(self, cells: int) -> np.ndarray:
        """Where a picture of `cells` pixels a side lies in the frame, float64 [2, 3]."""
        scale = self.side / cells
        cosine, sine = math.cos(self.turn) * scale, math.sin(self.turn) * scale
        turn_22 = np.array([[cosine, -sine], [sine, cosine]])
        return np.column_stack([turn_22, np.array([self.x, self.y]) - turn_22 @ [cells / 2, cells / 2]])


def guesses(box_4: np.ndarray) -> list[Window]:
    """Windows of the person in a box, the likeliest first.

    All of a person is in the box; or it ends at the hips, the chest or the chin; or the person lies in it.
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
