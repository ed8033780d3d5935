"""The motion of one avatar through a video: SMPL-H poses in the camera frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.bodies.without_legs import Unseen

# Shape suffixes: T frames, J = 52 joints, S shape coefficients.


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """The motion of one track, ready to be drawn.

    The camera frame is OpenCV's: x right, y down, z forward, metres. Rotations are those of `smplx`:
    axis-angle, relative to the parent joint, hands relative to the flat hand (`flat_hand_mean=True`). Where
    `visible_T` is false, the other rows are finite but meaningless.

    Attributes:
      rotations_TJ3: float32 [T, 52, 3]; row 0 is the global orientation in the camera frame.
      translation_T3: float32 [T, 3], the `transl` of `smplx`: added after the root rotation, whose centre is
        the rest position of the pelvis.
      visible_T: bool [T], the frames in which the avatar is drawn.
      betas_S: float32 [10], the avatar's shape, never the person's.
      camera_33: float64 [3, 3], intrinsics in pixels, pixel centres at +0.5.
      track_id: the track that it replaces.
      unseen_T: uint8 [T], the `Unseen` legs of each frame, which are not drawn; None for none.
    """

    rotations_TJ3: np.ndarray
    translation_T3: np.ndarray
    visible_T: np.ndarray
    betas_S: np.ndarray
    camera_33: np.ndarray
    track_id: int
    unseen_T: np.ndarray | None = None

    def __post_init__(self) -> None:
        frames = len(self.visible_T)
        expected = {
            "rotations_TJ3": (frames, NUM_JOINTS, 3),
            "translation_T3": (frames, 3),
            "visible_T": (frames,),
            "betas_S": (len(self.betas_S),),
            "camera_33": (3, 3),
        }
        for name, shape in expected.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise ValueError(f"{name} must have shape {shape}, but it has {actual}")

    def unseen(self, index: int) -> Unseen:
        """The legs that are not drawn in a frame."""
        return Unseen.NOTHING if self.unseen_T is None else Unseen(int(self.unseen_T[index]))

    @property
    def num_frames(self) -> int:
        """Number of frames of the video, drawn or not."""
        return len(self.visible_T)
