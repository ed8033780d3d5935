"""The pose of hands that are not observed: relaxed, not flat."""

from __future__ import annotations

import numpy as np

from raymaskdp.bodies.skeleton import FINGERS

# Bend of the three joints of a finger, degrees, of a relaxed hand (outer fingers bend more).
_BEND = {
    "index": (18, 22, 14), "middle": (24, 26, 16), "ring": (28, 28, 18), "pinky": (30, 28, 18),
    "thumb": (6, 8, 12),
}  # fmt: skip


def relaxed_hands() -> np.ndarray:
    """Axis-angle rotations of the 30 finger joints relative to the flat hand, float64 [30, 3].

    In the rest pose arms point sideways and palms down. Fingers bend about the axis that points forward, in
    opposite directions for the two hands; thumbs bend toward the fingers.
    """
    turns = np.zeros((2, len(FINGERS), 3, 3))
    for hand, sign in enumerate((1.0, -1.0)):
        for finger, name in enumerate(FINGERS):
            for segment, bend in enumerate(np.radians(_BEND[name])):
                turns[hand, finger, segment] = (
                    (0, sign * bend, 0) if name == "thumb" else (0, 0, -sign * bend)
                )
    return turns.reshape(-1, 3)
