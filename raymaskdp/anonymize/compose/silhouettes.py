"""Silhouettes of people without an avatar: a flat colour over the person's mask.

The shape of a silhouette is the person's dilated mask, so it depends on the source and is not a render. It is
drawn into the composite and never into the avatar layer: masked training treats it as sensitive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.bodies.avatar import Avatar

# Shape suffixes: H rows, W columns.


@dataclass(frozen=True, kw_only=True, eq=False)
class SilhouetteFrame:
    """A frame with silhouettes of its people without an avatar.

    Attributes:
      frame_HW3: uint8 RGB, the frame with their silhouettes.
      mask_HW: bool, the pixels of the silhouettes.
      avatars, silhouettes: number of people with an avatar, and with a silhouette.
    """

    frame_HW3: np.ndarray
    mask_HW: np.ndarray
    avatars: int
    silhouettes: int


class Silhouettes:
    """The silhouettes of one video.

    Args:
      scene: people and motions.
      avatars: one for each person.
      min_overlap: an avatar that covers less of the person's mask than this fraction does not suffice.
    """

    def __init__(self, scene: Scene, avatars: Sequence[Avatar], min_overlap: float) -> None:
        self._scene = scene
        self._colours = [np.rint(255 * np.array(avatar.top)).astype(np.uint8) for avatar in avatars]
        self._min_overlap = min_overlap

    def over(self, frame_HW3: np.ndarray, index: int, avatar_mask_HW: np.ndarray) -> SilhouetteFrame:
        """Frame `index`, uint8 [H, W, 3], with its silhouettes.

        Args:
          avatar_mask_HW: bool, coverage of all avatars of the frame and of what they hold, which does not
            count as an avatar's.
        """
        avatar_mask_HW = avatar_mask_HW & ~self._scene.held.mask(index, *avatar_mask_HW.shape)
        flat_HW = np.zeros(frame_HW3.shape[:2], bool)
        avatars = silhouettes = 0
        for person in np.flatnonzero(self._scene.visible_PT[:, index]).tolist():
            mask_HW = self._scene.person_mask(person, index)
            area = int(np.count_nonzero(mask_HW))
            covered = int(np.count_nonzero(mask_HW & avatar_mask_HW))
            posed = bool(self._scene.motions[person].visible_T[index])
            if posed and covered >= max(1, self._min_overlap * area):
                avatars += 1
                continue
            if not flat_HW.any():
                frame_HW3 = frame_HW3.copy()
            frame_HW3[mask_HW] = self._colours[person]
            flat_HW |= mask_HW
            silhouettes += 1
        return SilhouetteFrame(frame_HW3=frame_HW3, mask_HW=flat_HW, avatars=avatars, silhouettes=silhouettes)
