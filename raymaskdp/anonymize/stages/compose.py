"""Composes the layers of a video, verifies them, and publishes them or nothing."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.anonymize.compose.harmonize import Unrefined
from raymaskdp.anonymize.compose.scene import Scene, avatars_of
from raymaskdp.anonymize.compose.silhouettes import Silhouettes
from raymaskdp.anonymize.compose.synthesis.layers import (
    ComposeInputs,
    WrittenLayers,
    add_chunk,
    finished_layers,
    join_layers,
    write_chunk,
)
from raymaskdp.anonymize.compose.synthesis.stored import (
    FrameFiles,
    load_refined,
    load_state,
    refine_chunk,
    save_drawn,
)
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, InWork, Item, Lit
from raymaskdp.anonymize.outcome import (
    figures_of,
    published_arrays,
    quarantined,
    run_item,
    source_notes,
    timed,
    unreleased,
)
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.chunks import Chunks
from raymaskdp.anonymize.output.unfinished import forget_chunks
from raymaskdp.anonymize.pools import COMPOSE
from raymaskdp.anonymize.self_test import known_frames, known_item, require_avatar
from raymaskdp.anonymize.stages.job import Job
from raymaskdp.anonymize.verify import checks
from raymaskdp.files import sha256_file
from raymaskdp.video.mask_film import write_npz

Made = tuple[Decided, dict[str, Any]]
"""A decided item, and the per-frame counts."""


class Composing:
    """The rules of the verdict, and the publication."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._config_sha256 = config.digest()
        self._job = job
        self._secret = job.secret.read()

    def inputs(self, item: InWork, scene: Scene) -> ComposeInputs:
        """All that the layers are composed from, besides the frames."""
        avatars = avatars_of(item.record, len(scene.motions), self._secret)
        return ComposeInputs(
            source=item.film(),
            info=item.info,
            scene=scene,
            silhouettes=Silhouettes(scene, avatars, self._config.verify.min_overlap),
            composites=self._config.composite,
            verify=self._config.verify,
        )

    def published(self, make: Callable[[Path], Made]) -> Decided:
        """The outcome of `make`, which is given a folder for unverified files; they are published if done."""
        with tempfile.TemporaryDirectory(dir=self._job.work) as folder:
            decided, frames = make(Path(folder))
            if decided.status == "done":
                manifest.publish(Path(folder), self._job.out, decided, self._config_sha256, frames)
        return decided

    def settled(self, item: Item) -> Item:
        """The item, whose stored results are removed if it is decided."""
        if not isinstance(item, Decided):
            return item
        forget_chunks(self._job.chunks, self._job.secret, item, self._config_sha256)
        if item.status == "quarantined":  # a failure does not invalidate earlier outputs
            manifest.unpublish(self._job.out, item.record.video_id)
        return item

    def verdict(
        self,
        item: InWork,
        work: ComposeInputs,
        layers: WrittenLayers,
        folder: Path,
        *,
        metrics: dict[str, Any],
        background: tuple[str, ...],
    ) -> Made:
        """Verify the files in `folder`.

        Args:
          metrics: figures of the stages so far.
          background: the problems of the background.
        """
        name, scene = item.record.video_id, work.scene
        metrics |= source_notes(item.info)
        again = layers.checks.below_silhouettes() - int(scene.doubts_T.sum())
        if again > 0:
            metrics["doubts"] = {
                **metrics.get("doubts", {}),
                "a person was detected in the finished frame": again,
            }
        with timed(metrics, "seconds_verify"):
            problems = [*layers.checks.failures(), *background]
            problems += unreleased(item, self._judgements(layers, scene.doubts_T))
            files = checks.check_files(
                source=work.source,
                composite=folder / f"{name}.mp4",
                avatar=folder / f"{name}.avatar.mp4",
                info=item.info,
                replaced_TB=layers.seams_TB,
                avatar_TB=layers.avatar_TB,
                avatar_digest=layers.digest.hex(),
            )
            problems += files.problems
        metrics |= figures_of(layers, files, item.info.width * item.info.height)
        metrics |= {f"avatars_{name}": count for name, count in layers.refined.items()}
        work.source.require_same()  # so that the verdict and the outputs are of the content with the digest
        if problems:
            return quarantined(item, problems, layers.checks.lowered(), metrics=metrics), {}
        write_npz(folder / f"{name}.npz", published_arrays(scene, layers, float(item.info.fps)))
        digests = {
            f"{name}{suffix}": sha256_file(folder / f"{name}{suffix}") for suffix in manifest.DATA_SUFFIXES
        }
        decided = Decided.after(item, status="done", metrics=metrics, outputs=digests)
        return decided, layers.checks.summary()

    def _judgements(self, layers: WrittenLayers, doubts_T: np.ndarray) -> list[str]:
        """Reasons for a quarantine that a reviewer may overrule."""
        found = layers.checks.excesses()
        counts = layers.checks
        # Doubts of the analysis are background, too, and were judged there.
        seen = (counts.background_T > doubts_T) | (counts.filled_T > 0) | (counts.blanked_T > 0)
        if self._config.on_doubt == "quarantine" and seen.any():
            named = checks.name_frames(np.flatnonzero(seen))
            found.append(f"an independent detector finds somebody in {named}")
        if not sum(counts.by_rung().values()) and self._config.verify.empty == "quarantine":
            found.append("nobody was found, so nobody was replaced")
        return found


class Compose:
    """A lit video, decided: its layers are composed, encoded, verified and published."""

    pool = COMPOSE

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._job = job
        self._composing = Composing(config, job)

    def __call__(self, item: Item) -> Item:
        """A lit video, decided; any other unchanged."""
        return self._composing.settled(run_item(self._compose, item) if isinstance(item, Lit) else item)

    def self_test(self, folder: Path) -> None:
        """Compose a known video in `folder`; raises the error of a faulty machine."""
        item = known_item(folder, self._config.decode)
        scene, chunks = Scene.unpack(item.packed()), Chunks.whole(folder, item.info.num_frames)
        files = FrameFiles(folder=folder / "frames")
        save_drawn(files.drawn(0), known_frames(scene))
        refine_chunk(files, 0, Unrefined(scene.motions, scene.camera_33, float(item.info.fps)))
        out = folder / "out"  # apart from the source, which has the same name
        out.mkdir()
        require_avatar(self._made(Lit.after(item), chunks, files, out)[0])

    def _compose(self, item: Lit) -> Decided:
        chunks = self._job.chunks_of(item, self._config)
        files = FrameFiles(folder=self._job.frames_of(item))
        return self._composing.published(lambda folder: self._made(item, chunks, files, folder))

    def _made(self, item: Lit, chunks: Chunks, files: FrameFiles, folder: Path) -> Made:
        """Make and verify the files in `folder`."""
        name, metrics = item.record.video_id, dict(item.metrics)
        work = self._composing.inputs(item, Scene.unpack(item.packed()))
        with timed(metrics, "seconds_compose"):
            layers = compose_chunks(work, chunks, files)
            join_layers(
                work, chunks, composite_path=folder / f"{name}.mp4", avatar_path=folder / f"{name}.avatar.mp4"
            )
        metrics |= {"chunks": len(chunks), "chunks_resumed": layers.resumed}
        return self._composing.verdict(item, work, layers, folder, metrics=metrics, background=item.problems)


def compose_chunks(work: ComposeInputs, chunks: Chunks, files: FrameFiles) -> WrittenLayers:
    """Compose all chunks that are not complete from their refined frames; returns all layers."""
    layers, _ = finished_layers(work, chunks)
    for number in range(layers.resumed, len(chunks)):
        chunk = write_chunk(work, chunks, number, load_refined(files, number))
        state, counted = load_state(files, number)
        add_chunk(layers, work, chunks, number, dataclasses.replace(chunk, state=state, refined=counted))
    return layers
