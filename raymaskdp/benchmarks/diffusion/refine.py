"""Temporal stability of avatars: rendered, harmonized, and refined frame by frame or along the surface.

`raymaskdp benchmark refine`. People are rendered in rooms, so their motion is known exactly. Avatars are
rendered into the empty rooms and refined in four ways. Two figures use the exact flow of the mesh for every
point of the body:

* the flow-warp error is the mean difference of a point's colour from that in the previous frame,
* flicker is the mean second difference over three frames, that is, changes that reverse. Light that changes
  slowly along a movement affects the first and hardly the second.

Without weights, the networks are of the real classes, small and random: they show the effect of the method on
noise and on a network's instability, but nothing about image quality.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from raymaskdp.anonymize.compose.composite import overlay
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.rasterize import Crop, OpticalFlow, body_of, flow, rasterize
from raymaskdp.anonymize.compose.harmonize import Harmonize, Unrefined
from raymaskdp.anonymize.compose.refiner import Cast, Refined, Refiner, Shot
from raymaskdp.benchmarks.settings.avatars import RefineBenchmarkConfig
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Renderer
from raymaskdp.bodies.settings.render import RenderConfig
from raymaskdp.files import atomic_path
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import masks

# Shape suffixes: T frames, H rows and W columns, S those of a square around the frame.

METHODS = ("render", "harmonize", "diffusion, per frame", "diffusion, consistent")


@dataclass(frozen=True, kw_only=True)
class RefineRow:
    """One method, over all videos; all in 8-bit levels.

    Attributes:
      method: of `METHODS`.
      flow_warp_error, flicker: see the module.
      change: mean difference of avatar pixels to the harmonized ones.
    """

    method: str
    flow_warp_error: float
    flicker: float
    change: float


@dataclass(frozen=True, kw_only=True)
class RefineResult:
    """A row for each method, and the number of compared pairs of frames."""

    networks: str
    pairs: int
    rows: tuple[RefineRow, ...]

    def __str__(self) -> str:
        lines = [
            f"networks: {self.networks}; {self.pairs} pairs of frames",
            "",
            "| | flow-warp error | flicker | change |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.method} | {row.flow_warp_error:.2f} | {row.flicker:.2f} | {row.change:.2f} |"
            for row in self.rows
        ]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """An avatar in a room: the inputs of refiners, and the exact flow from each frame to the previous one.

    The first frame has no flow.
    """

    shots: list[Shot]
    motion: Motion
    figure: Figure
    flows: list[OpticalFlow]


def benchmark_refine(settings: RefineBenchmarkConfig) -> RefineResult:
    """Refine the same videos in all ways, and measure them along the surface."""
    from raymaskdp.anonymize.compose.diffusion.backends import load_backend
    from raymaskdp.anonymize.compose.diffusion.refiner import DiffusionRefiner
    from raymaskdp.benchmarks.diffusion import tiny_diffusion

    sums = {method: np.zeros(3) for method in METHODS}
    pairs = 0
    composites = CompositeConfig()
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(settings.actions), unit="video") as progress:
        diffusion = settings.diffusion
        if diffusion.model is None:
            tiny: dict[str, Any] = {**tiny_diffusion.MAKERS[diffusion.backend](Path(folder))}
            diffusion = dataclasses.replace(diffusion, **tiny)
        backend = load_backend(diffusion, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        for name, film in films(settings, Path(folder)):
            avatar = draw_avatar(_secret(settings.seed), name)
            camera_33 = film.motion.camera_33
            cast = Cast(
                motions=(film.motion,), figures=[film.figure], avatars=[avatar], camera_33=camera_33, fps=12.0
            )
            ways: dict[str, Refiner] = {
                "render": Unrefined((film.motion,), camera_33, 12.0),
                "harmonize": Harmonize((film.motion,), camera_33, 12.0),
            }
            for consistent, method in enumerate(METHODS[2:]):
                how = dataclasses.replace(diffusion, consistent=bool(consistent))
                ways[method] = DiffusionRefiner(how, composites, backend, None, cast)
            made = {method: composed(way, film.shots, composites) for method, way in ways.items()}
            for method in METHODS:
                sums[method] += _figures(made[method], made["harmonize"], film)
                if settings.pictures is not None:
                    _keep(settings.pictures, f"{name}-{method.replace(', ', '-')}", made[method])
            pairs += len(film.shots) - 1
            progress.update()
    rows = [
        RefineRow(
            method=method, flow_warp_error=error / count, flicker=flicker / count, change=change / count
        )
        for count in [len(settings.actions)]
        for method, (error, flicker, change) in sums.items()
    ]
    networks = (
        f"{diffusion.backend}, small and random" if settings.diffusion.model is None else diffusion.backend
    )
    return RefineResult(networks=networks, pairs=pairs, rows=tuple(rows))


def films(settings: RefineBenchmarkConfig, folder: Path) -> Iterator[tuple[str, Film]]:
    """An avatar in an empty room for each action, by name."""
    synthesize(
        folder / "sample",
        SynthesizeConfig(
            seed=settings.seed, actions=settings.actions, people=1, rooms=1, cameras=1, test_share=0.0,
            frames=settings.frames, width=settings.width, height=settings.height,
        ),
    )  # fmt: skip
    renderer = Renderer(RenderConfig())
    for truth in sorted((folder / "sample" / "truth").glob("*.npz")):
        avatar = draw_avatar(_secret(settings.seed), truth.stem)
        figure = dress(load_body(), avatar)
        room_HW3 = np.array(Image.open(truth.with_suffix(".background.png")).convert("RGB"))
        with np.load(truth) as known:
            motion = Motion(
                rotations_TJ3=known["rotations"][0],
                translation_T3=known["translation"][0],
                visible_T=np.ones(settings.frames, bool),
                betas_S=avatar.betas_S,
                camera_33=known["camera"].astype(np.float64),
                track_id=0,
            )
        yield truth.stem, film_of(motion, figure, room_HW3, renderer)
    renderer.close()


def film_of(motion: Motion, figure: Figure, room_HW3: np.ndarray, renderer: Renderer) -> Film:
    """The shots of one avatar that moves in a room uint8 [H, W, 3], and their flow."""
    height, width = room_HW3.shape[:2]
    size = max(height, width)
    camera_33 = motion.camera_33
    shots: list[Shot] = []
    for index, vertices_V3 in enumerate(figure.pose(motion.rotations_TJ3, motion.translation_T3)):
        drawn = renderer.render([(figure, vertices_V3)], camera_33, width=width, height=height)
        shots.append(Shot(index=index, emptied_HW3=room_HW3, drawn=drawn))
    return Film(shots=shots, motion=motion, figure=figure, flows=flows_of(motion, figure, size))


def flows_of(motion: Motion, figure: Figure, size: int) -> list[OpticalFlow]:
    """The exact flow from each frame but the first to the one before, over a square of `size` pixels."""
    camera_33 = motion.camera_33
    flows: list[OpticalFlow] = []
    before = None
    for vertices_V3 in figure.pose(motion.rotations_TJ3, motion.translation_T3):
        body = body_of(0, figure, vertices_V3, float(camera_33[0, 0]))
        surface = rasterize([body], Crop(left=0, top=0, size=size, side=size).camera(camera_33), size)
        if before is not None:
            flows.append(flow(surface, 0, *before, camera_33))
        before = surface, vertices_V3
    return flows


def composed(refiner: Refiner, shots: list[Shot], composites: CompositeConfig) -> list[np.ndarray]:
    """The frames composed from a refiner's output, uint8 [H, W, 3]."""

    def compose(shot: Shot, refined: Refined) -> np.ndarray:
        return overlay(refined.backdrop_HW3, refined.avatar_HW3, shot.drawn.mask_HW, composites)

    return [compose(shot, refined) for shot, refined in zip(shots, refiner.over(shots), strict=True)]


def _figures(made: list[np.ndarray], harmonized: list[np.ndarray], film: Film) -> np.ndarray:
    """Flow-warp error, flicker and change, means over a video's frames."""
    insides = [
        ~masks.dilate(~shot.drawn.mask_HW, 2) for shot in film.shots
    ]  # outlines are blended with the room
    errors, flickers = [], []
    squares = [square(frame) for frame in made]
    seen = [square(inside.astype(np.uint8))[..., None] for inside in insides]
    warped_before = known_before = None
    for index, back in enumerate(film.flows, start=1):
        known_SS = back.known_SS & (seen[index][..., 0] > 0) & (back.warp(seen[index - 1]) > 0.999)
        warped = back.warp(squares[index - 1])
        errors.append(np.abs(squares[index] - warped)[known_SS].mean())
        if warped_before is not None and known_before is not None:
            known_both = known_SS & (back.warp(known_before.astype(np.float32)) > 0.999)
            second = squares[index] - 2 * warped + back.warp(warped_before)
            flickers.append(np.abs(second)[known_both].mean())
        warped_before, known_before = warped, known_SS
    pairs = zip(made, harmonized, insides, strict=True)
    changes = [np.abs(one.astype(np.float32) - other)[inside].mean() for one, other, inside in pairs]
    return np.array([np.mean(errors), np.mean(flickers), np.mean(changes)])


def square(frame_HWC: np.ndarray) -> np.ndarray:
    """A frame as float32, padded with zeros to a square."""
    height, width = frame_HWC.shape[:2]
    size = max(height, width)
    return cv2.copyMakeBorder(
        frame_HWC.astype(np.float32), 0, size - height, 0, size - width, cv2.BORDER_CONSTANT
    )


def _keep(folder: Path, name: str, frames: list[np.ndarray]) -> None:
    for index, frame_HW3 in enumerate(frames):
        with atomic_path(folder / f"{name}-{index:02d}.png") as temporary:
            Image.fromarray(frame_HW3).save(temporary)


def _secret(seed: int) -> bytes:
    return seed.to_bytes(32, "big")
