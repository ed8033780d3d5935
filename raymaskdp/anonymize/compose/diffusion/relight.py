"""`composite.refine=embedded`: the bundled network, a small diffusion network that relights avatars.

The difference between a recorded person and a rendered one is mostly a factor at every place: of light on the
person, and of shadow on floor and walls. These factors vary slowly over the image, whatever the texture. So
the network denoises the logarithms of the factors between the output of `harmonize` and the true image, in 64
x 64 cells around a person. The image at full resolution is multiplied by them, and keeps its sharp texture.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.anonymize.compose.diffusion.rasterize import Crop
from raymaskdp.anonymize.compose.harmonize import Harmonize, owners
from raymaskdp.anonymize.compose.refiner import Refined, Shot
from raymaskdp.bodies.motion import Motion
from raymaskdp.models.weights import load_weights, save_weights

# Shape suffixes: H rows and W columns of the frame, S = 64 those of a crop, F crops, C channels, h w those of
# the network, each a square of 2 x 2 cells.

SIDE = 64
"""Cells along a crop."""

ROOMY = 1.9
"""Size of the crop relative to the person, with room for shadows and for the light on walls."""

LEVELS = 4.0
"""Offset in levels before a factor is computed, because black has no factor."""

SPREAD = np.array([0.2, 0.2, 0.2, 0.06], np.float32)
"""Scale of the network's outputs in the logarithms: red, green and blue on the person, and shadow."""

LARGEST = 0.7
"""Logarithms are clipped to this magnitude."""

STEPS = 1
"""Denoising steps. One step from pure noise gives the mean of the likely images, which is closest to the
truth. More steps give one of the likely images, which had a larger error."""

SMOOTH = 2.0
"""Blur of the light on a person, in cells, because finer structure moves on the body from frame to frame."""

STEADY_S = 2.0
"""Time constant, in seconds, of the exponential smoothing of factors, which prevents flicker. Previous
factors move with the person's hips, so that shadows do not lag."""

FILE = "relight.safetensors"

_UNET: Any = UNet2DModel


def network() -> nn.Module:
    """The untrained U-Net: inputs are noisy logarithms (4) and conditions (13), at four cells each."""
    made: nn.Module = _UNET(
        sample_size=SIDE // 2,
        in_channels=4 * (4 + 13),
        out_channels=4 * 4,
        block_out_channels=(24, 48, 72, 96),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        attention_head_dim=16,
    )
    return made


def scheduler() -> Any:
    """A schedule with zero terminal signal-to-noise ratio (Lin et al. 2024), so that pure noise has no
    brightness.
    """
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
        clip_sample_range=4.0,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Before:
    """A person's data of the previous frame.

    Attributes:
      crop, logs_SS4: its logarithms.
      hips_3: column and row in pixels of the frame, and depth in metres.
    """

    crop: Crop
    logs_SS4: np.ndarray
    hips_3: np.ndarray

    def moved(self, crop: Crop, hips_3: np.ndarray) -> np.ndarray:
        """The logarithms, moved to the person's present position, [S, S, 4]."""
        nearer = hips_3[2] / self.hips_3[2]
        step = crop.size / self.crop.size * nearer
        corner_2 = np.array([crop.left, crop.top]) + 0.5 * crop.size / SIDE
        before_2 = (corner_2 - hips_3[:2]) * nearer + self.hips_3[:2]
        shift_2 = (before_2 - [self.crop.left, self.crop.top]) * SIDE / self.crop.size - 0.5
        place_23 = np.array([[step, 0, shift_2[0]], [0, step, shift_2[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            self.logs_SS4, place_23, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )


class Relight:
    """Harmonizes, and then relights people and shades the room by the network; frames in order."""

    def __init__(
        self, motions: tuple[Motion, ...], camera_33: np.ndarray, fps: float, weights: Path | None = None
    ) -> None:
        """`weights` is a file of `save`; None for the bundled one."""
        self._motions = motions
        self._camera_33 = camera_33
        self._harmonize = Harmonize(motions, camera_33, fps)
        self._network = packaged() if weights is None else load(weights)
        self._before: list[_Before | None] = [None] * len(motions)
        self._kept = float(np.exp(-1 / (fps * STEADY_S)))

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """One result for each shot, in order; shots need normals."""
        return map(self._refined, shots)

    def counted(self) -> dict[str, int]:
        """An empty mapping."""
        return {}

    def state(self) -> bytes:
        """The recent floors, and the factors of the last frame: 64 KB a person."""
        harmonize = np.frombuffer(self._harmonize.state(), np.uint8)
        arrays = {"harmonize": harmonize}
        for person, before in enumerate(self._before):
            if before is not None:
                crop = before.crop
                arrays[f"{person}.crop"] = np.array([crop.left, crop.top, crop.size])
                arrays[f"{person}.logs"] = np.ascontiguousarray(before.logs_SS4)
                arrays[f"{person}.hips"] = before.hips_3
        return save_arrays(arrays)

    def resume(self, state: bytes) -> None:
        """Continue from the state of another refiner, bit-exact."""
        arrays = load_arrays(state)
        self._harmonize.resume(arrays["harmonize"].tobytes())
        for person in range(len(self._motions)):
            self._before[person] = None
            if f"{person}.crop" in arrays:
                left, top, size = arrays[f"{person}.crop"].tolist()
                self._before[person] = _Before(
                    crop=Crop(left=left, top=top, size=size, side=SIDE),
                    logs_SS4=arrays[f"{person}.logs"],
                    hips_3=arrays[f"{person}.hips"],
                )

    def _refined(self, shot: Shot) -> Refined:
        plain = self._harmonize(shot.emptied_HW3, shot.drawn, shot.index)
        owner_HW = owners(shot.drawn, self._motions, shot.index, self._camera_33)
        layers = plain
        for person, before in enumerate(self._before):
            own_HW = owner_HW == person
            if not own_HW.any():
                self._before[person] = None
                continue
            crop = relit_crop(own_HW, None if before is None else before.crop)
            up_3, floor = self._harmonize.up(person), self._harmonize.floor(person)
            shown_SSC = shown(shot, plain, own_HW, crop, self._camera_33, up_3, floor)
            logs_SS4 = self._logs(shown_SSC)
            hips_3 = self._hips(person, shot.index)
            if before is not None:
                logs_SS4 += np.float32(self._kept) * (before.moved(crop, hips_3) - logs_SS4)
            self._before[person] = _Before(crop=crop, logs_SS4=logs_SS4, hips_3=hips_3)
            layers = apply_factors(layers, own_HW, shot.drawn.mask_HW, logs_SS4, crop)
        return layers

    def _hips(self, person: int, index: int) -> np.ndarray:
        """Column, row and depth of a person's hips."""
        hips_3 = self._motions[person].translation_T3[index].astype(np.float64)
        depth = max(float(hips_3[2]), 0.1)
        at_2 = hips_3[:2] / depth * np.diag(self._camera_33)[:2] + self._camera_33[:2, 2]
        return np.array([*at_2, depth])

    def _logs(self, shown_SSC: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            given_1Chw = conditions(shown_SSC[None])
            noise_1Chw = torch.randn(
                (1, 16, *given_1Chw.shape[2:]), generator=torch.Generator().manual_seed(0)
            )
            logs_SS4 = answer(denoised(self._network, given_1Chw, noise_1Chw, STEPS))[0]
        share_SS1 = shown_SSC[..., 6:7]
        light_SS3 = cv2.GaussianBlur(logs_SS4[..., :3] * share_SS1, (0, 0), SMOOTH)
        logs_SS4[..., :3] = (
            light_SS3 / np.maximum(cv2.GaussianBlur(share_SS1, (0, 0), SMOOTH), 1e-3)[..., None]
        )
        return logs_SS4


def relit_crop(own_HW: np.ndarray, before: Crop | None) -> Crop:
    """The square around a person: `before`, while the person is well inside it."""
    left, top, width, height = cv2.boundingRect(own_HW.view(np.uint8))
    longest = max(width, height)
    if before is not None:
        rim = 0.1 * before.size
        well_inside = (
            min(left - before.left, top - before.top) >= rim
            and max(left + width - before.left, top + height - before.top) <= before.size - rim
        )
        if well_inside and longest >= 0.4 * before.size:
            return before
    size = max(16, round(ROOMY * longest))
    return Crop(
        left=round(left + width / 2 - size / 2),
        top=round(top + height / 2 - size / 2),
        size=size,
        side=SIDE,
    )


def shown(
    shot: Shot,
    plain: Refined,
    own_HW: np.ndarray,
    crop: Crop,
    camera_33: np.ndarray,
    up_3: np.ndarray,
    floor: float | None,
) -> np.ndarray:
    """The network's input for a person, float32 [S, S, 13].

    The harmonized backdrop (3), the harmonized person (3), its mask (1), normals (3), and metres from the
    person's feet: to the right, up, and away (3).
    """
    assert shot.drawn.normals_HW3 is not None
    own_HW1 = own_HW[..., None].astype(np.float32)
    share_SS1 = crop.cut(own_HW1[..., 0])[..., None]
    backdrop_SS3 = crop.cut(plain.backdrop_HW3) / np.float32(127.5) - 1
    person_SS3 = crop.cut(plain.avatar_HW3 * own_HW1) / np.float32(127.5) - share_SS1
    normals_SS3 = crop.cut(shot.drawn.normals_HW3 * own_HW1)
    depth_SS = crop.cut(shot.drawn.depth_HW * own_HW1[..., 0]) / np.maximum(share_SS1[..., 0], 1e-3)
    columns_N = np.nonzero(own_HW)[1]
    depth = float(np.median(shot.drawn.depth_HW[own_HW]))
    aside = (float(np.median(columns_N)) + 0.5 - camera_33[0, 2]) / camera_33[0, 0] * depth
    places_SS3 = _places(
        np.where(share_SS1[..., 0] > 0.5, depth_SS, np.nan),
        crop.camera(camera_33),
        up_3,
        floor,
        np.array([aside, 0, depth]),
    )
    parts = (backdrop_SS3, person_SS3, share_SS1, normals_SS3, places_SS3)
    return np.concatenate(parts, axis=2).astype(np.float32)


def _places(
    depth_SS: np.ndarray, camera_33: np.ndarray, up_3: np.ndarray, floor: float | None, middle_3: np.ndarray
) -> np.ndarray:
    """Positions of the surfaces of a crop, in units of 2 m: right of `middle_3`, above the floor, and away.

    Outside persons `depth_SS` is NaN, and the surface is assumed to be the floor, or a far wall.
    """
    far = 30.0
    at_S = np.arange(SIDE) + 0.5
    across_SS, along_SS = np.meshgrid(
        (at_S - camera_33[0, 2]) / camera_33[0, 0], (at_S - camera_33[1, 2]) / camera_33[1, 1]
    )
    rays_SS3 = np.stack([across_SS, along_SS, np.ones((SIDE, SIDE))], axis=2)
    floor_SS = np.full((SIDE, SIDE), far)
    if floor is not None:
        down_SS = rays_SS3 @ up_3
        meets_SS = down_SS < -1e-4
        floor_SS[meets_SS] = floor / down_SS[meets_SS]
        floor_SS[(floor_SS <= 0) | (floor_SS > far)] = far
    own_SS = np.isfinite(depth_SS)
    points_SS3 = rays_SS3 * np.where(own_SS, depth_SS, floor_SS)[..., None]
    height_SS = points_SS3 @ up_3
    ground = floor if floor is not None else float(height_SS[own_SS].min()) if own_SS.any() else 0.0
    right_3 = np.array([1.0, 0.0, 0.0]) - up_3 * up_3[0]
    right_3 /= np.linalg.norm(right_3)
    away_3 = np.cross(right_3, up_3)
    if away_3[2] < 0:
        away_3 = -away_3
    beside_SS3 = points_SS3 - middle_3
    return np.clip(
        np.stack([beside_SS3 @ right_3, height_SS - ground, beside_SS3 @ away_3], axis=2) / 2, -2, 2
    )


def conditions(shown_FSSC: np.ndarray) -> Tensor:
    """The input in the network's layout: float32 [F, 4 C, h, w]."""
    whole = torch.from_numpy(np.ascontiguousarray(shown_FSSC.transpose(0, 3, 1, 2), np.float32))
    return functional.pixel_unshuffle(whole, 2)


def denoised(net: nn.Module, given_FChw: Tensor, noise_FChw: Tensor, steps: int) -> Tensor:
    """The network's output from noise, in its own units, [F, 16, h, w]."""
    steering = scheduler()
    steering.set_timesteps(steps)
    sample = noise_FChw
    for step in steering.timesteps:
        guess = net(torch.cat([sample, given_FChw], dim=1), step).sample
        sample = steering.step(guess, step, sample).prev_sample
    return sample


def answer(logs_FChw: Tensor) -> np.ndarray:
    """Logarithms of factors, float32 [F, S, S, 4], from the network's output."""
    whole: np.ndarray = functional.pixel_shuffle(logs_FChw, 2).permute(0, 2, 3, 1).numpy() * SPREAD
    return whole


def apply_factors(
    layers: Refined, own_HW: np.ndarray, mask_HW: np.ndarray, logs_SS4: np.ndarray, crop: Crop
) -> Refined:
    """The layers multiplied by the factors: of light on the person `own_HW`, of shadow outside all persons.

    Shadows fade towards the crop's edge.
    """
    height, width = mask_HW.shape
    box = crop.inside(height, width)
    at_S = (np.arange(SIDE) + 0.5) / SIDE
    ramp_S = np.clip(np.minimum(at_S, 1 - at_S) / 0.1, 0, 1).astype(np.float32)
    logs_SS4 = logs_SS4.clip(-LARGEST, LARGEST)  # a copy
    logs_SS4[..., 3] *= ramp_S[:, None] * ramp_S
    logs = crop.paste(logs_SS4, height, width)
    avatar_HW3, backdrop_HW3 = layers.avatar_HW3.copy(), layers.backdrop_HW3.copy()
    shaded_HW = layers.shaded_HW.copy()
    own, nobody = own_HW[box], ~mask_HW[box]
    avatar_HW3[box][own] = _multiplied(avatar_HW3[box][own], logs[own][:, :3])
    ground = backdrop_HW3[box][nobody]
    shaded = _multiplied(ground, logs[nobody][:, 3:])
    backdrop_HW3[box][nobody] = shaded
    shaded_HW[box][nobody] |= (shaded != ground).any(axis=1)
    return Refined(backdrop_HW3=backdrop_HW3, avatar_HW3=avatar_HW3, shaded_HW=shaded_HW)


def _multiplied(levels: np.ndarray, logs: np.ndarray) -> np.ndarray:
    made = (levels + np.float32(LEVELS)) * np.exp(logs) - np.float32(LEVELS)
    rounded: np.ndarray = np.rint(made.clip(0, 255)).astype(np.uint8)
    return rounded


@functools.cache
def packaged() -> nn.Module:
    """The bundled network."""
    with resources.as_file(resources.files("raymaskdp.anonymize.compose.diffusion") / FILE) as path:
        return load(path)


def load(path: Path) -> nn.Module:
    """A network from a file of `save`; `UserError` if the file is not one."""
    net = network().half()
    load_weights(path, net)
    return net.float().eval()


def save(net: nn.Module, path: Path) -> None:
    """Write a network as safetensors in half precision, 4 MB."""
    save_weights(path, copy.deepcopy(net).half())  # `half` changes a network in place
