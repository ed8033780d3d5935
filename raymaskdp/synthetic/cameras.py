"""Camera motions of the sample data: static, pan, handheld, dolly.

A camera that only rotates sees all frames from one point, so a homography relates them. A dolly causes
parallax: near objects move faster than far ones. In that case a background must not be assembled from several
frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.synthetic.config import MotionName
from raymaskdp.synthetic.rooms import RoomCamera

# Shape suffixes: T frames.


def moved(
    camera: RoomCamera, motion: MotionName, *, frames: int, fps: float, rng: np.random.Generator
) -> tuple[RoomCamera, ...]:
    """The camera in each frame of a video; `camera` itself in every frame if it is static.

    "handheld" also shifts the camera by one or two centimetres.
    """
    if motion == "static":
        return (camera,) * frames
    time_T = np.arange(frames) / fps
    if motion == "pan":  # forth and back, degrees and metres
        turn_T3 = np.outer(np.sin(0.9 * time_T + rng.uniform(-0.5, 0.5)), [1.5, 8.0, 0.0])
        turn_T3 *= rng.choice([-1, 1], 3)
        shift_T3 = np.zeros((frames, 3))
    elif motion == "handheld":
        turn_T3 = _sway(time_T, rng) * [1.0, 1.5, 0.6]
        shift_T3 = _sway(time_T, rng) * [0.012, 0.008, 0.012]
    else:
        turn_T3 = np.zeros((frames, 3))
        shift_T3 = np.outer(0.5 * np.sin(1.1 * time_T + rng.uniform(-0.5, 0.5)), [1.0, 0.0, 0.0])
    return tuple(_placed(camera, turn_3, shift_3) for turn_3, shift_3 in zip(turn_T3, shift_T3, strict=True))


def _placed(camera: RoomCamera, turn_3: np.ndarray, shift_3: np.ndarray) -> RoomCamera:
    """The camera turned by degrees about its own axes, and shifted by metres along them."""
    rotation_33 = Rotation.from_rotvec(turn_3, degrees=True).as_matrix() @ camera.rotation_33
    eye_3 = camera.rotation_33.T @ (shift_3 - camera.translation_3)
    return dataclasses.replace(camera, rotation_33=rotation_33, translation_3=-rotation_33 @ eye_3)


def _sway(time_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow and fast oscillations of a hand, about 1 at most, [T, 3]."""
    sway_T3 = np.zeros((len(time_T), 3))
    for share, hertz in ((0.6, 0.35), (0.3, 0.9), (0.1, 2.2)):
        phase_3 = rng.uniform(0, 2 * np.pi, 3)
        sway_T3 += share * np.sin(2 * np.pi * hertz * time_T[:, None] + phase_3)
    return sway_T3
