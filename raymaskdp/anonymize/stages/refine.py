"""Fits the drawn avatars of a video into their scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raymaskdp.anonymize.compose.refiner import Cast, Refiner, RefinerSettings
from raymaskdp.anonymize.compose.refiners import REFINERS
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.synthesis.stored import (
    FrameFiles,
    load_refined,
    load_state,
    refine_chunk,
    save_drawn,
)
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Drawn, Item, Lit
from raymaskdp.anonymize.outcome import run_item, timed
from raymaskdp.anonymize.output.chunks import Chunk, Chunks
from raymaskdp.anonymize.pools import REFINE
from raymaskdp.anonymize.self_test import known_frames, known_item, require_drawn
from raymaskdp.anonymize.stages.casting import Casting
from raymaskdp.anonymize.stages.job import Job


def load_refiner(config: AnonymizeConfig) -> Callable[[Cast], Refiner]:
    """What makes the configured refiner of a video, on the GPU of the pool `refine` if it holds a share."""
    return REFINERS[config.composite.refine].load(
        RefinerSettings(
            composite=config.composite,
            diffusion=config.diffusion,
            pose=config.pose,
            gpus=config.needs(REFINE).share,
        )
    )


class Refine:
    """A drawn video, lit: its refined frames are files beside the drawn ones."""

    pool = REFINE

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._job = job
        self._casting = Casting(config, job.secret.read())
        self._refiner_of = load_refiner(config)

    def __call__(self, item: Item) -> Item:
        """A drawn video, lit or decided; any other unchanged."""
        return run_item(self._refine, item) if isinstance(item, Drawn) else item

    def self_test(self, folder: Path) -> None:
        """Refine a known video in `folder`; raises the error of a faulty machine."""
        item = known_item(folder, self._config.decode)
        chunks, files = Chunks.whole(folder, item.info.num_frames), FrameFiles(folder=folder / "frames")
        scene = Scene.unpack(item.packed())
        save_drawn(files.drawn(0), known_frames(scene))
        refine_chunks(lambda: self._refiner_of(self._casting.of(item, scene)), chunks, files)
        require_drawn(frame for frame, _ in load_refined(files, 0))

    def _refine(self, item: Drawn) -> Lit:
        metrics = dict(item.metrics)
        scene = Scene.unpack(item.packed())
        cast = self._casting.of(item, scene)
        with timed(metrics, "seconds_refine"):
            refine_chunks(
                lambda: self._refiner_of(cast),
                self._job.chunks_of(item, self._config),
                FrameFiles(folder=self._job.frames_of(item)),
            )
        return Lit.after(item, metrics=metrics)


def refine_chunks(refiner: Callable[[], Refiner], chunks: Chunks, files: FrameFiles) -> None:
    """Refine the drawn frames of all chunks that are neither complete nor refined."""
    first = chunks.finished()
    state: bytes | None = Chunk.load(chunks.notes(first - 1)).state if first else None
    for number in range(first, len(chunks)):
        if files.refined(number).is_file():
            state, _ = load_state(files, number)
            continue
        one = refiner()
        if state is not None:
            one.resume(state)
        state = refine_chunk(files, number, one)
