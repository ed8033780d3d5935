"""Train the bundled relighting network, on rendered people in rendered rooms.

`raymaskdp models train-refiner` renders `lit_scenes`, stores the network's inputs, and trains it to denoise
the factors between harmonized frames and the truth. No recorded video and no pretrained weights are used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from raymaskdp.anonymize.compose.diffusion import relight
from raymaskdp.anonymize.compose.diffusion.rasterize import Crop
from raymaskdp.anonymize.compose.diffusion.relight import LEVELS, ROOMY, SIDE, SPREAD
from raymaskdp.anonymize.compose.harmonize import Harmonize
from raymaskdp.files import atomic_path, require_ours
from raymaskdp.places import LocalPath
from raymaskdp.synthetic.relight.config import RefinerTrainingConfig
from raymaskdp.synthetic.relight.scenes import LitScene, lit_scenes

# Shape suffixes: N pairs, B of them in a batch, H W of a frame, S = 64 rows and columns of a crop.

SHADE_SHARE = 0.35
"""Weight of shadow in the loss, relative to each of red, green and blue on the person."""

PURE_NOISE = 0.6
"""Share of the training samples that start from pure noise, as the refiner does."""


@dataclass(frozen=True, kw_only=True)
class RefinerTrainingResult:
    """The result of the training.

    Attributes:
      path: the file.
      pairs: number of training pairs.
      loss: mean of the last tenth of the steps.
    """

    path: str
    pairs: int
    loss: float

    def __str__(self) -> str:
        return f"{self.path}: trained on {self.pairs} pairs, loss {self.loss:.3f}."


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Inputs and targets of the network; float16.

    Attributes:
      shown_NSSC: inputs, as of `relight.shown`.
      logs_NSS4: targets: logarithms of the factors.
      weights_NSS2: loss weights of the person's factors and of the shadow's, by brightness, as errors are
        perceived.
    """

    shown_NSSC: np.ndarray
    logs_NSS4: np.ndarray
    weights_NSS2: np.ndarray


def train_refiner(out: LocalPath, work: LocalPath, settings: RefinerTrainingConfig) -> RefinerTrainingResult:
    """Render into the folder `work` (kept, and resumed), train, and write the network to `out`."""
    require_ours(Path(out))  # before the work
    pairs = _cached_pairs(Path(work), settings)
    net, loss = learn(pairs, settings)
    relight.save(net, Path(out))
    return RefinerTrainingResult(path=str(out), pairs=len(pairs.shown_NSSC), loss=loss)


def _cached_pairs(work: Path, settings: RefinerTrainingConfig) -> Pairs:
    """The pairs, from the cache or newly rendered."""
    counts = (settings.seed, settings.rooms, settings.rooms_each, settings.lights, settings.frames)
    path = work / f"pairs-{'-'.join(map(str, counts))}.npz"
    if not path.exists():
        pairs = drawn_pairs(settings)
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **vars(pairs))
    with np.load(path) as stored:
        return Pairs(**{name: stored[name] for name in stored.files})


def drawn_pairs(settings: RefinerTrainingConfig) -> Pairs:
    """The pairs of all scenes of a seed."""
    rng = np.random.default_rng([settings.seed, 1])
    scenes = lit_scenes(
        settings.seed,
        settings.rooms,
        frames=settings.frames,
        lights=settings.lights,
        rooms_each=settings.rooms_each,
    )
    total = settings.rooms * settings.lights
    made = [pair for scene in tqdm(scenes, "draw", total, unit="scene") for pair in _pairs(scene, rng)]
    columns = zip(*made, strict=True)
    return Pairs(**dict(zip(Pairs.__dataclass_fields__, map(np.stack, columns), strict=True)))


def _pairs(scene: LitScene, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """Each frame of a scene as a row of `Pairs`."""
    camera_33 = scene.motion.camera_33
    up_3 = Harmonize((scene.motion,), camera_33, 1.0).up(0)
    for index, shot in enumerate(scene.shots):
        own_HW = shot.drawn.mask_HW
        if own_HW.any():
            crop = _crop(own_HW, rng)
            plain, floor = scene.plain[index], scene.floors[index]
            shown_SSC = relight.shown(shot, plain, own_HW, crop, camera_33, up_3, floor)
            yield tuple(part.astype(np.float16) for part in (shown_SSC, *target_factors(scene, index, crop)))


def _crop(own_HW: np.ndarray, rng: np.random.Generator) -> Crop:
    """A square with the person at a random place near its middle. Crops are kept while people move."""
    left, top, width, height = cv2.boundingRect(own_HW.view(np.uint8))
    longest = max(width, height)
    size = max(16, round(rng.uniform(0.8, 1.25) * ROOMY * longest))
    reach = 0.3 * (size - longest)
    across, down = rng.uniform(-reach, reach, 2)
    return Crop(
        left=round(left + width / 2 - size / 2 + across),
        top=round(top + height / 2 - size / 2 + down),
        size=size,
        side=SIDE,
    )


def target_factors(scene: LitScene, index: int, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the true factors [S, S, 4], and their weights [S, S, 2] (`Pairs`)."""
    plain, mask_HW = scene.plain[index], scene.shots[index].drawn.mask_HW
    own_HW = mask_HW.astype(np.float32)
    light_HW3 = _ratio(scene.lit[index], plain.avatar_HW3)
    shaded_HW1, made_HW1 = (
        layer.mean(axis=2, dtype=np.float32)[..., None] for layer in (scene.shaded[index], plain.backdrop_HW3)
    )
    shade_HW1 = _ratio(shaded_HW1, made_HW1)
    own_SS, room_SS = crop.cut(own_HW), crop.cut(1 - own_HW)
    logs_SS4 = np.concatenate(
        [_extrapolated(light_HW3, own_HW, crop), _extrapolated(shade_HW1, 1 - own_HW, crop)], axis=2
    )
    level_SS = crop.cut(plain.avatar_HW3.astype(np.float32)).mean(axis=2) / np.maximum(own_SS, 1e-3)
    ground_SS = crop.cut(plain.backdrop_HW3.astype(np.float32)).mean(axis=2)
    inside_SS = crop.within(*mask_HW.shape)
    weights = (own_SS * _visibility_weight(level_SS), room_SS * inside_SS * _visibility_weight(ground_SS))
    return logs_SS4, np.stack(weights, axis=2)


def _ratio(right: np.ndarray, made: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.log((right + np.float32(LEVELS)) / (made + np.float32(LEVELS)))
    return ratio


def _visibility_weight(level_SS: np.ndarray) -> np.ndarray:
    """Perceptual weight of a factor: errors in levels grow with the level."""
    return 0.1 + np.minimum(level_SS / 110, 1.6) ** 2


def _extrapolated(logs_HWC: np.ndarray, where_HW: np.ndarray, crop: Crop) -> np.ndarray:
    """Means of logarithms over the parts `where` of a crop's cells, [S, S, C].

    Other cells continue their neighbours' values, so that upscaling causes no artefacts.
    """
    share_SS1 = crop.cut(where_HW)[..., None]
    sum_SSC = crop.cut(logs_HWC * where_HW[..., None]).reshape(SIDE, SIDE, -1)

    def blurred(sigma: float, least: float) -> tuple[np.ndarray, np.ndarray]:
        share, total = (cv2.GaussianBlur(part, (0, 0), sigma) for part in (share_SS1, sum_SSC))
        share = share.reshape(SIDE, SIDE, 1)
        return share, total.reshape(SIDE, SIDE, -1) / np.maximum(share, least)

    near_SS1, near_SSC = blurred(0.6, 1e-3)
    _, far_SSC = blurred(4.0, 1e-2)
    beside_SSC = np.where(near_SS1 > 0.05, near_SSC, far_SSC)
    return np.where(share_SS1 > 0.5, sum_SSC / np.maximum(share_SS1, 1e-3), beside_SSC)


def learn(pairs: Pairs, settings: RefinerTrainingConfig) -> tuple[nn.Module, float]:
    """The running mean of a network trained on the pairs, and the mean loss of its last steps."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 2])
    net, steering = relight.network(), relight.scheduler()
    mean = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step, settings.steps))
    last = steering.config.num_train_timesteps
    counts = torch.tensor([1.0] * 12 + [SHADE_SHARE] * 4)[:, None, None]
    losses: list[float] = []
    for step in tqdm(range(settings.steps), "learn", unit="step"):
        rows = rng.choice(len(pairs.shown_NSSC), settings.batch)
        given, logs, weights = _batch(pairs, rows, rng)
        noise = torch.randn_like(logs)
        pure = torch.rand(settings.batch) < PURE_NOISE
        times = torch.where(pure, last - 1, torch.randint(0, last, (settings.batch,)))
        noisy = steering.add_noise(logs, noise, times)
        guess = net(torch.cat([noisy, given], dim=1), times).sample
        weights = 0.03 + counts * weights
        error = (guess - steering.get_velocity(logs, noise, times)).square()
        loss = (error * weights).mean() / weights.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for slow, fast in zip(mean.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, 1 - min(0.998, (step + 1) / (step + 20)))
        losses.append(float(loss.detach()))
    final = losses[-max(1, settings.steps // 10) :]
    return mean.eval(), sum(final) / len(final)


def _rate_factor(step: int, steps: int) -> float:
    """The learning rate relative to its maximum: a linear increase in a hundred steps, then a cosine
    decrease.
    """
    return min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def _batch(pairs: Pairs, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Conditions, logarithms and weights [B, C, h, w] of some pairs.

    Half of them are mirrored, and the colours of clothes are varied, because light does not depend on them.
    """
    shown = pairs.shown_NSSC[rows].astype(np.float32)
    logs = pairs.logs_NSS4[rows].astype(np.float32)
    weights = pairs.weights_NSS2[rows].astype(np.float32)
    for row in np.flatnonzero(rng.random(len(rows)) < 0.5):
        for part in (shown, logs, weights):
            part[row] = part[row][:, ::-1].copy()
        shown[row][..., [7, 10]] *= -1  # the rightward component of normals and positions
    tints = np.exp(rng.uniform(-0.35, 0.35, (len(rows), 1, 1, 3))).astype(np.float32)
    share = shown[..., 6:7]
    shown[..., 3:6] = np.minimum((shown[..., 3:6] + share) * tints, 2 * share) - share
    folded = [
        functional.pixel_unshuffle(torch.from_numpy(part.transpose(0, 3, 1, 2).copy()), 2)
        for part in ((logs / SPREAD).clip(-4, 4), weights[..., [0, 0, 0, 1]])
    ]
    return relight.conditions(shown), folded[0], folded[1]
