"""Accuracy of avatars' light: as rendered, harmonized, and with the bundled relighting network.

`raymaskdp benchmark relight`. People and rooms that were not in the network's training (`synthetic.relight`)
are rendered by each refiner and with the true light, and compared in the square around the person that the
network processes. Figures are means over the frames of a scene. The table has their medians over scenes, and
the median difference from `harmonize` with its 95 % interval (bootstrap over scenes).

* PSNR of the person and `NEAR_PX` pixels around, of the rest, and of both; SSIM (Wang et al.
  2004) of both.
* Seam error: mean difference of the gradients (Sobel), in levels a pixel, up to 2 pixels from outlines.
* Temporal error: mean difference of the change of colours along the exact flow of the mesh, in levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from raymaskdp.anonymize.compose.composite import overlay
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.rasterize import OpticalFlow
from raymaskdp.anonymize.compose.diffusion.relight import Relight, apply_factors, relit_crop
from raymaskdp.anonymize.compose.harmonize import Harmonize, Unrefined
from raymaskdp.benchmarks.diffusion.refine import composed, flows_of, square
from raymaskdp.benchmarks.settings.avatars import RelightConfig
from raymaskdp.files import atomic_path
from raymaskdp.synthetic.relight.scenes import FPS, LitScene, lit_scenes
from raymaskdp.synthetic.relight.training import target_factors
from raymaskdp.video import masks

# Shape suffixes: H rows and W columns, S those of a square, N scenes, M figures.

METHODS = ("none", "harmonize", "embedded", "true factors")
"""The last one is the upper bound for a network of this kind."""

FIGURES = ("PSNR, person", "PSNR, beside", "PSNR, both", "SSIM", "seam error", "temporal error")

LESS_IS_BETTER = np.array([False, False, False, False, True, True])

NEAR_PX = 3


@dataclass(frozen=True, kw_only=True)
class RelightRow:
    """One method, one figure.

    Attributes:
      median: over scenes.
      gain, low, high: median difference from `harmonize`, and its 95 % interval; positive is better.
      better: number of scenes with a better value.
    """

    method: str
    figure: str
    median: float
    gain: float
    low: float
    high: float
    better: int


@dataclass(frozen=True, kw_only=True)
class RelightResult:
    """A row for each method and figure."""

    scenes: int
    rows: tuple[RelightRow, ...]

    def __str__(self) -> str:
        cells = {(row.method, row.figure): row for row in self.rows}
        lines = [
            f"{self.scenes} scenes",
            "",
            f"| | {' | '.join(METHODS)} |",
            f"| --- |{' --- |' * len(METHODS)}",
        ]
        for figure in FIGURES:
            medians = " | ".join(f"{cells[method, figure].median:.2f}" for method in METHODS)
            lines.append(f"| {figure} | {medians} |")
        lines += ["", "| embedded over harmonize | gain (95 % interval) | better in |", "| --- | --- | --- |"]
        for figure in FIGURES:
            row = cells["embedded", figure]
            interval = f"{row.gain:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
            lines.append(f"| {figure} | {interval} | {row.better} of {self.scenes} |")
        return "\n".join(lines)


def benchmark_relight(settings: RelightConfig) -> RelightResult:
    """Refine the same scenes in all ways, and compare them with the truth."""
    figures: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    scenes = lit_scenes(
        settings.seed, settings.scenes, frames=settings.frames, width=settings.width, height=settings.height
    )
    for number, scene in enumerate(tqdm(scenes, total=settings.scenes, unit="scene")):
        made = _made(scene, settings.weights)
        flows = flows_of(scene.motion, scene.figure, settings.width)
        for method, frames in made.items():
            figures[method].append(_figures(frames, scene, flows))
        if settings.pictures is not None:
            _keep(settings.pictures / f"{number:02d}.png", [*made.values(), scene.truth])
    usual_NM = np.array(figures["harmonize"])
    rows = [row for method in METHODS for row in _rows(method, np.array(figures[method]), usual_NM)]
    return RelightResult(scenes=settings.scenes, rows=tuple(rows))


def _made(scene: LitScene, weights: Path | None) -> dict[str, list[np.ndarray]]:
    given = ((scene.motion,), scene.motion.camera_33, FPS)
    ways = {"none": Unrefined(*given), "harmonize": Harmonize(*given)}
    made = {name: composed(way, scene.shots, CompositeConfig()) for name, way in ways.items()}
    made["embedded"] = composed(Relight(*given, weights=weights), scene.shots, CompositeConfig())
    made["true factors"] = []
    for index, shot in enumerate(scene.shots):
        own_HW = shot.drawn.mask_HW
        crop = relit_crop(own_HW, None)
        layers = apply_factors(
            scene.plain[index], own_HW, own_HW, target_factors(scene, index, crop)[0], crop
        )
        made["true factors"].append(
            overlay(layers.backdrop_HW3, layers.avatar_HW3, own_HW, CompositeConfig())
        )
    return made


def _figures(made: list[np.ndarray], scene: LitScene, flows: list[OpticalFlow]) -> np.ndarray:
    """Means over a scene's frames, in the order of `FIGURES`."""
    rows = []
    for one_HW3, truth_HW3, shot in zip(made, scene.truth, scene.shots, strict=True):
        own_HW = shot.drawn.mask_HW
        around_HW = np.zeros_like(own_HW)
        around_HW[relit_crop(own_HW, None).inside(*own_HW.shape)] = True
        near_HW = masks.dilate(own_HW, NEAR_PX)
        one, truth = one_HW3.astype(np.float32), truth_HW3.astype(np.float32)
        error_HW3 = np.square(one - truth)
        parts = (near_HW, around_HW & ~near_HW, around_HW)
        psnr = [10 * np.log10(255**2 / max(float(error_HW3[part].mean()), 1e-6)) for part in parts]
        edge_HW = masks.dilate(own_HW, 2) & masks.dilate(~own_HW, 2)
        slopes = np.abs(_slopes(one) - _slopes(truth))[edge_HW].mean()
        rows.append([*psnr, _ssim(one, truth)[around_HW].mean(), slopes])
    insides = [square((~masks.dilate(~shot.drawn.mask_HW, 2)).astype(np.uint8)) for shot in scene.shots]
    drifts = []
    for index, back in enumerate(flows, start=1):
        known_SS = back.known_SS & (insides[index] > 0) & (back.warp(insides[index - 1]) > 0.999)
        changes = [square(film[index]) - back.warp(square(film[index - 1])) for film in (made, scene.truth)]
        drifts.append(np.abs(changes[0] - changes[1])[known_SS].mean())
    return np.array([*np.mean(rows, axis=0), np.mean(drifts)])


def _slopes(picture_HW3: np.ndarray) -> np.ndarray:
    return np.stack([cv2.Sobel(picture_HW3, -1, *axes, ksize=3) / 8 for axes in ((1, 0), (0, 1))], axis=-1)


def _ssim(one_HW3: np.ndarray, other_HW3: np.ndarray) -> np.ndarray:
    """Structural similarity at every pixel [H, W, 3], in Gaussian windows of 1.5 pixels."""

    def mean(picture_HW3: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture_HW3, (11, 11), 1.5)

    ones, others = mean(one_HW3), mean(other_HW3)
    both = mean(one_HW3 * other_HW3) - ones * others
    spread = mean(one_HW3**2) - ones**2 + mean(other_HW3**2) - others**2
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar: np.ndarray = (2 * ones * others + low) * (2 * both + high)
    return similar / ((ones**2 + others**2 + low) * (spread + high))


def _rows(method: str, own_NM: np.ndarray, usual_NM: np.ndarray) -> list[RelightRow]:
    gains_NM = (own_NM - usual_NM) * np.where(LESS_IS_BETTER, -1, 1)
    picks = np.random.default_rng(0).integers(0, len(own_NM), (4000, len(own_NM)))
    bounds_2M = np.percentile(np.median(gains_NM[picks], axis=1), [2.5, 97.5], axis=0)
    return [
        RelightRow(
            method=method,
            figure=figure,
            median=float(np.median(own_NM[:, number])),
            gain=float(np.median(gains_NM[:, number])),
            low=float(bounds_2M[0, number]),
            high=float(bounds_2M[1, number]),
            better=int((gains_NM[:, number] > 0).sum()),
        )
        for number, figure in enumerate(FIGURES)
    ]


def _keep(path: Path, films: list[list[np.ndarray]]) -> None:
    strip_HW3 = np.hstack([film[len(film) // 2] for film in films])
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), strip_HW3[..., ::-1])
