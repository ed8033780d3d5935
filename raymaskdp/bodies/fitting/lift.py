"""From BlazePose's landmarks to points of the body in the camera's axes: a small network corrects the bias.

BlazePose processes one image at a time. It places straight legs eight centimetres too far forward, takes a
knee that is raised towards the camera for a heel that is raised behind, and returns 3-D landmarks in the axes
of a crop. This network was trained on rendered people, with the landmarks of half a second before and after
as input (lifting: Martinez et al. 2017; over time: Pavllo et al. 2019). `raymaskdp models train-lift` makes
the bundled file.

Shape suffixes: N frames, K neighbours in time, L = 33 landmarks, F features.
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

from raymaskdp.bodies.fitting.landmarks import LIMB_POINTS, MEDIAPIPE

LIFTED = dataclasses.replace(MEDIAPIPE, shift_mm=(), in_camera=True)
"""The output: the points of the body that the landmarks are named after, in the camera's axes."""

NUM_POINTS = len(MEDIAPIPE.points)
FEATURES = NUM_POINTS * 6
WIDTH, NARROW = 320, 64

LEAST = 6
"""Least number of landmarks inside the frame for the others to be ignored."""

OFFSETS_S = tuple(step / 12 for step in (-6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6))
"""Times of the input frames relative to a frame, seconds."""

_MIRRORED = [
    MEDIAPIPE.row(p.replace("left_", "RIGHT_").replace("right_", "left_").replace("RIGHT_", "right_"))
    for p in MEDIAPIPE.points
]
_HIPS = MEDIAPIPE.rows(["left_hip", "right_hip"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The frames at some offsets in time from each frame; at the ends, the first or last frame.

    Attributes:
      before_NK, after_NK: int64, the two frames around each moment.
      share_NK: its position from the first to the second, in [0, 1].
    """

    before_NK: Tensor
    after_NK: Tensor
    share_NK: Tensor

    def of(self, values_NX: Tensor) -> Tensor:
        """Values at the neighbours [N, K, X]."""
        share = self.share_NK[..., None]
        return (1 - share) * values_NX[self.before_NK] + share * values_NX[self.after_NK]


def neighbours(num_frames: int, fps: float) -> Neighbours:
    """The neighbours at `OFFSETS_S` of consecutive frames."""
    place = torch.arange(num_frames)[:, None] + torch.tensor(OFFSETS_S, dtype=torch.float64) * fps
    place = place.clamp(0, num_frames - 1)
    # An integer up to rounding is that frame.
    before = (place + 1e-6).floor()
    return Neighbours(
        before_NK=before.long(),
        after_NK=(before.long() + 1).clamp(max=num_frames - 1),
        share_NK=(place - before).clamp(0, 1).float(),
    )


class Lift(nn.Module):
    """From normalized landmarks to points in space and corrections in the image, [N, 33, 3 + 2]."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, WIDTH)
        self.alone = _ResidualBlock(dropout)
        self.narrow = nn.Linear(WIDTH, NARROW)
        self.over_time = nn.Linear(len(OFFSETS_S) * (NARROW + 3), WIDTH)
        self.together = nn.Sequential(_ResidualBlock(dropout), _ResidualBlock(dropout))
        self.leave = nn.Linear(WIDTH, NUM_POINTS * 5)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features_NF: Tensor, places_N3: Tensor, context: Neighbours) -> Tensor:
        """Points and corrections, in units of `normalized`; zero before training.

        Args:
          features_NF, places_N3: `Normalized.features` and `Normalized.places`.
          context: the neighbours of each frame.
        """
        hidden = self.alone(self.enter(features_NF))
        # Position and size of the body relative to the frame in the middle, in units of its size there.
        moved = context.of(places_N3) - places_N3[:, None]
        moved = torch.cat([moved[..., :2] * torch.exp(-places_N3[:, None, 2:]), moved[..., 2:]], -1)
        seen = torch.cat([context.of(self.narrow(hidden)), moved.clamp(-5, 5)], -1)
        hidden = self.together(hidden + self.over_time(seen.flatten(1)))
        result = self.leave(nn.functional.silu(hidden)).reshape(-1, NUM_POINTS, 5)
        return result * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1])


class _ResidualBlock(nn.Module):
    """A residual perceptron."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(WIDTH, WIDTH),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.layers(hidden)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalized:
    """Landmarks without position and size.

    Attributes:
      image_NL2: relative to their mean, spread 1; `middle_N2` and `spread_N` restore pixels.
      space_NL3: relative to the hips, spread 1.
      seen_NL: confidence in [0, 1].
    """

    image_NL2: np.ndarray
    space_NL3: np.ndarray
    seen_NL: np.ndarray
    middle_N2: np.ndarray
    spread_N: np.ndarray

    def mirrored(self) -> Normalized:
        """The mirror image: left becomes right."""
        return dataclasses.replace(
            self,
            image_NL2=self.image_NL2[:, _MIRRORED] * (-1, 1),
            space_NL3=self.space_NL3[:, _MIRRORED] * (-1, 1, 1),
            seen_NL=self.seen_NL[:, _MIRRORED],
            middle_N2=self.middle_N2 * (-1, 1),
        )

    def image_only(self) -> Normalized:
        """The same without the points in space."""
        return dataclasses.replace(self, space_NL3=np.zeros_like(self.space_NL3))

    def only(self, present_NL: np.ndarray) -> Normalized:
        """Only these landmarks, relative to their own mean; all of them in frames with too few."""
        present_NL = present_NL | (present_NL.sum(1, keepdims=True) < LEAST)
        share_NL1 = (present_NL / present_NL.sum(1, keepdims=True))[..., None]
        middle_N2 = (self.image_NL2 * share_NL1).sum(1)
        image_NL2 = self.image_NL2 - middle_N2[:, None]
        spread_N = np.sqrt((np.square(image_NL2) * share_NL1).sum(1).mean(1))
        image_NL2 = image_NL2 / np.maximum(spread_N, 1e-6)[:, None, None]
        return dataclasses.replace(
            self,
            image_NL2=image_NL2 * present_NL[..., None],
            space_NL3=self.space_NL3 * present_NL[..., None],
            seen_NL=self.seen_NL * present_NL,
            middle_N2=self.middle_N2 + self.spread_N[:, None] * middle_N2,
            spread_N=self.spread_N * spread_N,
        )

    def pixels(self) -> np.ndarray:
        """The landmarks in the image [N, 33, 2]; ignored ones are at the mean."""
        return self.middle_N2[:, None] + self.spread_N[:, None, None] * self.image_NL2

    def features(self) -> Tensor:
        """The network's input for each frame, float32 [N, F]."""
        parts = (self.image_NL2, 2 * self.seen_NL - 1, self.space_NL3)
        return torch.from_numpy(np.concatenate([part.reshape(len(part), -1) for part in parts], 1)).float()

    def places(self) -> Tensor:
        """Position of the body in the image, and the logarithm of its size, float32 [N, 3]."""
        size = np.log(np.maximum(self.spread_N, 1e-6))[:, None]
        return torch.from_numpy(np.concatenate([self.middle_N2, size], 1)).float()


def normalized(keypoints_NL3: np.ndarray, world_NL3: np.ndarray) -> Normalized:
    """Landmarks (x, y in pixels and confidence; metres in the crop's axes) without position and size."""
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
    keypoints_NL3: np.ndarray,
    world_NL3: np.ndarray,
    camera_33: np.ndarray,
    fps: float,
    *,
    inside_NL: np.ndarray | None = None,
    network: Lift | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the body: [N, 33, 3] in pixels with confidence, and [N, 33, 3] in the camera's axes.

    Args:
      keypoints_NL3, world_NL3: landmarks of `people.networks.blazepose` in consecutive frames.
      camera_33: intrinsics in pixels.
      fps: frames a second.
      inside_NL: landmarks inside the frame. The others are guesses, which are replaced. None for all.
      network: None for the bundled one.

    The points in space are relative to the hips and have the size of a body of the training, not the
    person's.
    """
    given = normalized(keypoints_NL3, world_NL3)
    given = given if inside_NL is None else given.only(inside_NL)
    network = packaged() if network is None else network
    context, mirrored = neighbours(len(keypoints_NL3), fps), given.mirrored()
    with torch.inference_mode():
        straight = network(given.features(), given.places(), context).numpy().astype(np.float64)
        turned = network(mirrored.features(), mirrored.places(), context).numpy()
    turned = turned[:, _MIRRORED] * (-1, 1, 1, -1, 1)
    space, correction = np.split(0.5 * (straight + turned), [3], axis=-1)
    keypoints = keypoints_NL3.astype(np.float64)
    keypoints[..., :2] = given.pixels() + correction * given.spread_N[:, None, None]
    # The network's axes are those of a camera that points at the hips.
    hips = keypoints[:, _HIPS, :2].mean(1)
    rays = np.column_stack([(hips - camera_33[:2, 2]) / camera_33[0, 0], np.ones(len(hips))])
    points = space @ turned_to_axis(rays)  # v @ R is Rᵀ v: back from the axis to the ray
    return keypoints, points


def correction_size(image_NL3: np.ndarray, keypoints_NL3: np.ndarray, inside_NL: np.ndarray) -> float:
    """How far a correction moves the visible joints of limbs in the image: the median over time of their
    mean, as a share of the person's extent; 0 if none is visible.
    """
    rows = MEDIAPIPE.rows(LIMB_POINTS)
    extent_N = np.ptp(keypoints_NL3[..., :2], axis=1).max(-1)
    off_NL = np.linalg.norm(image_NL3[:, rows, :2] - keypoints_NL3[:, rows, :2], axis=-1)
    clear_NL = inside_NL[:, rows] & (keypoints_NL3[:, rows, 2] > 0.5)
    some_N = clear_NL.any(1)
    if not some_N.any():
        return 0.0
    mean_N = (off_NL * clear_NL).sum(1) / np.maximum(clear_NL.sum(1), 1) / np.maximum(extent_N, 1e-6)
    return float(np.median(mean_N[some_N]))


def turned_to_axis(rays_N3: np.ndarray) -> np.ndarray:
    """The smallest rotations [N, 3, 3] from rays (in front of the camera) to the camera's axis."""
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
    """The bundled network."""
    with resources.as_file(resources.files("raymaskdp.bodies.fitting") / "lift.npz") as path:
        return load(path)


def load(path: Path) -> Lift:
    """A network from a file that `save` wrote."""
    network = Lift()
    with np.load(path, allow_pickle=False) as stored:
        network.load_state_dict({name: torch.from_numpy(stored[name]).float() for name in stored.files})
    return network.eval()


def save(network: Lift, path: Path) -> None:
    """Write a network in half precision, 2 MB."""
    arrays: dict[str, Any] = {name: value.half().numpy() for name, value in network.state_dict().items()}
    with open(path, "wb") as opened:
        np.savez(opened, **arrays)
