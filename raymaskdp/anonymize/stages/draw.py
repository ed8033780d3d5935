"""Empties the frames of a video and draws its avatars."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

from raymaskdp.anonymize.background.background import Background, find_background, masked_frames, observe
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.shared_plate import Observation, load_views
from raymaskdp.anonymize.compose.refiner import Cast
from raymaskdp.anonymize.compose.refiners import REFINERS
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.synthesis.drawn import DrawInputs, drawn_frames
from raymaskdp.anonymize.compose.synthesis.stored import FrameFiles, load_drawn, save_drawn
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Analyzed, Drawn, Item
from raymaskdp.anonymize.outcome import run_item, timed
from raymaskdp.anonymize.output.chunks import Chunks
from raymaskdp.anonymize.pools import FIND
from raymaskdp.anonymize.self_test import known_item, require_drawn
from raymaskdp.anonymize.stages.casting import Casting
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.bodies.render import Rendered, Renderer
from raymaskdp.video.containers.same_file import SameFile
from raymaskdp.video.mask_film import MaskFilm, bridge


class Drawing:
    """The plates, the second detection and the renderer."""

    def __init__(self, config: AnonymizeConfig) -> None:
        self._config = config
        self._renderer = Renderer(config.render)
        self._look = LookAgain(config.verify)
        self._normals = REFINERS[config.composite.refine].normals

    def inputs(
        self, item: Analyzed, scene: Scene, cast: Cast, folder: Path, metrics: dict[str, Any]
    ) -> tuple[DrawInputs, tuple[str, ...]]:
        """All that frames are drawn from, and the problems of the background.

        Args:
          folder: for the observed background.
          metrics: receives the figures of the background.
        """
        config, info, film = self._config, item.info, item.film()
        with timed(metrics, "seconds_plate"):
            masks_TB = scene.dilated_masks(config.composite.margin * info.height)
            background = _background(item, film, masks_TB, config.plate, folder)
            masks_TB = bridge(masks_TB, round(config.composite.gap * float(info.fps)))
        if math.isfinite(background.drift_px):
            metrics["camera_drift_px"] = round(background.drift_px, 3)
        metrics["plate_unseen"] = round(background.never_observed, 4)
        metrics["plate_shared"] = round(background.shared_fraction, 4)
        survive = background.mosaic is not None and background.mosaic.surviving
        problems = ("source pixels under a person mask get into the background",) if survive else ()

        def draw(index: int) -> Rendered:
            drawn = self._renderer.render(
                scene.posed(list(cast.figures), index),
                scene.camera_33,
                width=scene.width,
                height=scene.height,
                normals=self._normals,
            )
            return scene.held.draw_over(drawn, index)

        inputs = DrawInputs(
            source=film,
            info=info,
            scene=scene,
            background=background,
            draw=draw,
            masks_TB=masks_TB,
            flow=_flow(film, masks_TB, config.plate) if background.fit_failure else None,
            look=self._look,
            plates=config.plate,
            composites=config.composite,
        )
        return inputs, problems


class Draw:
    """An analyzed video, drawn: its frames without people and with avatars are files for the refiner."""

    pool = FIND

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._job = job
        self._casting = Casting(config, job.secret.read())
        self._drawing = Drawing(config)

    def __call__(self, item: Item) -> Item:
        """An analyzed video, drawn or decided; any other unchanged."""
        return run_item(self._draw, item) if isinstance(item, Analyzed) else item

    def self_test(self, folder: Path) -> None:
        """Draw a known video in `folder`; raises the error of a faulty machine."""
        item = known_item(folder, self._config.decode)
        chunks, files = Chunks.whole(folder, item.info.num_frames), FrameFiles(folder=folder / "frames")
        self._made(item, chunks, files, folder)
        require_drawn(load_drawn(files.drawn(0), depths=True))

    def _draw(self, item: Analyzed) -> Drawn:
        folder = self._job.frames_of(item)
        chunks = self._job.chunks_of(item, self._config)
        return self._made(item, chunks, FrameFiles(folder=folder), chunks.folder.parent)

    def _made(self, item: Analyzed, chunks: Chunks, files: FrameFiles, folder: Path) -> Drawn:
        metrics = dict(item.metrics)
        scene = Scene.unpack(item.packed())
        inputs, problems = self._drawing.inputs(item, scene, self._casting.of(item, scene), folder, metrics)
        with timed(metrics, "seconds_draw"):
            draw_chunks(inputs, chunks, files)
        inputs.source.require_same()
        return Drawn.after(item, metrics=metrics, problems=problems)


def draw_chunks(work: DrawInputs, chunks: Chunks, files: FrameFiles) -> None:
    """Draw the frames of all chunks that are neither complete nor drawn."""
    first = chunks.finished()
    while first < len(chunks) and files.drawn(first).is_file():
        first += 1
    start = min(first * chunks.length, chunks.num_frames)
    with contextlib.closing(drawn_frames(work, start)) as frames:
        for number in range(first, len(chunks)):
            span = chunks.frames(number)
            save_drawn(files.drawn(number), (frame for _, frame in zip(span, frames, strict=False)))
        next(frames, None)  # reading past the last frame detects a changed video


def _background(
    item: Analyzed, film: SameFile, masks_TB: MaskFilm, plates: PlateConfig, folder: Path
) -> Background:
    """The background of a video, with its camera's views if they exist."""
    views = load_views(item.views) if item.views and Path(item.views).is_file() else ()
    observation = Path(item.observation or folder / "observation.npz")
    if not observation.is_file():
        observe(film, item.info, masks_TB, plates).save(observation)
    return find_background(film, item.info, masks_TB, plates, views, Observation.load(observation))


def _flow(film: SameFile, masks_TB: MaskFilm, plates: PlateConfig) -> FlowFill | None:
    """The optical-flow fill for a moving camera without a mosaic, if the settings enable it."""
    if plates.moving_camera != "flow":
        return None
    return FlowFill(lambda start: masked_frames(film, masks_TB, start), plates.fill)
