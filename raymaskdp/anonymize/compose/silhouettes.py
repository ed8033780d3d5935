"""Plain silhouettes for people whose body cannot be fitted: flat colour where the person's mask is.

Where a silhouette ends is where the person's generous mask ends, so it is made of the source and no
rendering. It is drawn into the composite and never into the avatar layer: for masked training it stays
sensitive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.bodies.avatar import Avatar

# Shape suffixes: P people, H rows, W columns.


class Silhouettes:
    """The silhouettes of one video.

    Args:
      scene: who is where, and who has a pose.
      avatars: one a person; none for no silhouettes at all.
    """

    def __init__(self, scene: Scene, avatars: Sequence[Avatar] = ()) -> None:
        self._scene = scene
        self._colours = [_colour(avatar) for avatar in avatars]

    def over(self, frame_HW3: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame `index`, uint8 [H, W, 3], with its silhouettes, and where they are, bool [H, W]."""
        drawn_HW = np.zeros(frame_HW3.shape[:2], bool)
        for person, colour in enumerate(self._colours):
            posed = self._scene.motions[person].visible_T[index]
            if self._scene.visible_PT[person, index] and not posed:
                mask_HW = self._scene.person_mask(person, index)
                if not drawn_HW.any():
                    frame_HW3 = frame_HW3.copy()
                frame_HW3[mask_HW] = colour
                drawn_HW |= mask_HW
        return frame_HW3, drawn_HW


def _colour(avatar: Avatar) -> np.ndarray:
    """What an avatar wears on top, uint8 [3]."""
    return np.rint(255 * np.array(avatar.top)).astype(np.uint8)
