"""Draws, refines and composes in one process: frames stay in memory."""

from __future__ import annotations

from pathlib import Path

from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.synthesis.layers import write_layers
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Analyzed, Decided, Item
from raymaskdp.anonymize.outcome import run_item, timed
from raymaskdp.anonymize.output.chunks import Chunks
from raymaskdp.anonymize.pools import REFINE
from raymaskdp.anonymize.self_test import known_item, require_avatar
from raymaskdp.anonymize.stages.casting import Casting
from raymaskdp.anonymize.stages.compose import Composing, Made
from raymaskdp.anonymize.stages.draw import Drawing
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.stages.refine import load_refiner


class Synthesize:
    """Makes plate, avatars and composite, verifies the files, and publishes them or nothing.

    An analyzed video is decided by it.
    """

    pool = REFINE

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._job = job
        self._casting = Casting(config, job.secret.read())
        self._drawing = Drawing(config)
        self._refiner_of = load_refiner(config)
        self._composing = Composing(config, job)

    def __call__(self, item: Item) -> Item:
        """An analyzed video, decided; any other unchanged."""
        return self._composing.settled(
            run_item(self._synthesize, item) if isinstance(item, Analyzed) else item
        )

    def self_test(self, folder: Path) -> None:
        """Finish a known video in `folder`; raises the error of a faulty machine."""
        source = folder / "source"  # apart from the outputs, which have the same name
        source.mkdir()
        item = known_item(source, self._config.decode)
        chunks = Chunks.whole(folder, item.info.num_frames)
        require_avatar(self._made(item, chunks, folder)[0])

    def _synthesize(self, item: Analyzed) -> Decided:
        def make(folder: Path) -> Made:
            return self._made(item, self._job.chunks_of(item, self._config, folder / "chunks"), folder)

        return self._composing.published(make)

    def _made(self, item: Analyzed, chunks: Chunks, folder: Path) -> Made:
        """Make and verify the files in `folder`."""
        name, metrics = item.record.video_id, dict(item.metrics)
        scene = Scene.unpack(item.packed())
        cast = self._casting.of(item, scene)
        inputs, problems = self._drawing.inputs(item, scene, cast, chunks.folder.parent, metrics)
        work = self._composing.inputs(item, scene)
        with timed(metrics, "seconds_synthesis"):
            layers = write_layers(
                inputs,
                lambda: self._refiner_of(cast),
                work,
                chunks,
                composite_path=folder / f"{name}.mp4",
                avatar_path=folder / f"{name}.avatar.mp4",
            )
        metrics |= {"chunks": len(chunks), "chunks_resumed": layers.resumed}
        return self._composing.verdict(item, work, layers, folder, metrics=metrics, background=problems)
