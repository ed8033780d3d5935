"""From MediaPipe's landmarks to points of the body in the camera's axes: a small network takes out the bias.

MediaPipe puts straight legs eight centimetres in front of where they are, and gives its 3-D landmarks
in the axes of a crop. A residual perceptron was taught on rendered people who move anyhow, and are no
people, actions or cameras of the sample data, what to add to the landmarks of one frame (the idea of
lifting: Martinez et al. 2017). `raymaskdp models train-lift` makes the file that comes with the package.

Shape suffixes: N frames, L = 33 landmarks, F features.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE

LIFTED = dataclasses.replace(MEDIAPIPE, shift_mm=(), in_camera=True)
"""What comes out: the points of the body that the landmarks are named after, in the camera's axes."""

NUM_POINTS = len(MEDIAPIPE.points)
FEATURES = NUM_POINTS * 6
WIDTH = 256

_MIRRORED = [
    MEDIAPIPE.row(p.replace("left_", "RIGHT_").replace("right_", "left_").replace("RIGHT_", "right_"))
    for p in MEDIAPIPE.points
]
_HIPS = MEDIAPIPE.rows(["left_hip", "right_hip"])


class Lift(nn.Module):
    """Corrections [N, 33, 5] of normalized landmarks: three in space, two in the image."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(WIDTH),
                nn.Linear(WIDTH, WIDTH),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(WIDTH, WIDTH),
            )
            for _ in range(2)
        )
        self.leave = nn.Linear(WIDTH, NUM_POINTS * 5)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features_NF: Tensor) -> Tensor:
        """Corrections, in units of `normalized`; zero before training."""
        hidden = self.enter(features_NF)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        corrections = self.leave(nn.functional.silu(hidden)).reshape(-1, NUM_POINTS, 5)
        return corrections * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalized:
    """Landmarks without place and size.

    Attributes:
      image_NL2: about their mean, spread 1; `middle_N2` and `spread_N` bring pixels back.
      space_NL3: about the hips, spread 1.
      seen_NL: confidence in [0, 1].
    """

    image_NL2: np.ndarray
    space_NL3: np.ndarray
    seen_NL: np.ndarray
    middle_N2: np.ndarray
    spread_N: np.ndarray

    def mirrored(self) -> Normalized:
        """As a mirror shows it: left is right."""
        return dataclasses.replace(
            self,
            image_NL2=self.image_NL2[:, _MIRRORED] * (-1, 1),
            space_NL3=self.space_NL3[:, _MIRRORED] * (-1, 1, 1),
            seen_NL=self.seen_NL[:, _MIRRORED],
        )

    def features(self) -> Tensor:
        """What the network is given, float32 [N, F]."""
        parts = (self.image_NL2, 2 * self.seen_NL - 1, self.space_NL3)
        return torch.from_numpy(np.concatenate([part.reshape(len(part), -1) for part in parts], 1)).float()


def normalized(keypoints_NL3: np.ndarray, world_NL3: np.ndarray) -> Normalized:
    """Landmarks (x, y in pixels and confidence; metres in the crop's axes) without place and size."""
    image = keypoints_NL3[..., :2]
    middle = image.mean(1)
    spread = np.sqrt(np.square(image - middle[:, None]).mean((1, 2)))
    space = world_NL3 - world_NL3[:, _HIPS].mean(1, keepdims=True)
    size = np.sqrt(np.square(world_NL3 - world_NL3.mean(1, keepdims=True)).mean((1, 2)))
    return Normalized(
        image_NL2=(image - middle[:, None]) / np.maximum(spread, 1e-6)[:, None, None],
        space_NL3=space / np.maximum(size, 1e-6)[:, None, None],
        seen_NL=keypoints_NL3[..., 2],
        middle_N2=middle,
        spread_N=spread,
    )


def lift(
    keypoints_NL3: np.ndarray, world_NL3: np.ndarray, camera_33: np.ndarray, network: Lift | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the body: [N, 33, 3] in pixels with confidence, and [N, 33, 3] in the camera's axes.

    Args:
      keypoints_NL3, world_NL3: landmarks of `people.networks.blazepose`.
      camera_33: intrinsics in pixels.
      network: None for the one that comes with the package.

    The points in space are about the hips and have the size of a body of the training, not the person's.
    """
    given = normalized(keypoints_NL3, world_NL3)
    network = packaged() if network is None else network
    with torch.inference_mode():
        straight = network(given.features()).numpy().astype(np.float64)
        turned = network(given.mirrored().features()).numpy()[:, _MIRRORED] * (-1, 1, 1, -1, 1)
    correction = 0.5 * (straight + turned)
    keypoints = keypoints_NL3.astype(np.float64)
    keypoints[..., :2] += correction[..., 3:] * given.spread_N[:, None, None]
    space = given.space_NL3 + correction[..., :3]
    # The network's axes are those of a camera that looks straight at the hips.
    hips = keypoints[:, _HIPS, :2].mean(1)
    rays = np.column_stack([(hips - camera_33[:2, 2]) / camera_33[0, 0], np.ones(len(hips))])
    points = space @ turned_to_axis(rays)  # v @ R is Rᵀ v: back from the axis to the ray
    return keypoints, points


def turned_to_axis(rays_N3: np.ndarray) -> np.ndarray:
    """The least rotations [N, 3, 3] that turn rays (in front of the camera) to the camera's axis."""
    rays = rays_N3 / np.linalg.norm(rays_N3, axis=1, keepdims=True)
    x, y, z = rays.T
    share = 1 / (1 + z)
    return np.stack(
        [
            np.stack([1 - x * x * share, -x * y * share, -x], -1),
            np.stack([-x * y * share, 1 - y * y * share, -y], -1),
            np.stack([x, y, z], -1),
        ],
        axis=1,
    )


@functools.cache
def packaged() -> Lift:
    """The network that comes with the package."""
    with resources.as_file(resources.files("raymaskdp.bodies.fitting") / "lift.npz") as path:
        return load(path)


def load(path: Path) -> Lift:
    """A network that `save` wrote."""
    network = Lift()
    with np.load(path, allow_pickle=False) as stored:
        network.load_state_dict({name: torch.from_numpy(stored[name]).float() for name in stored.files})
    return network.eval()


def save(network: Lift, path: Path) -> None:
    """Write a network in half precision, 0.7 MB."""
    arrays: dict[str, Any] = {name: value.half().numpy() for name, value in network.state_dict().items()}
    with open(path, "wb") as opened:
        np.savez(opened, **arrays)
