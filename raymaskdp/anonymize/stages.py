"""The two stages of `anonymize`, as plain classes: one item in, one item out, no Ray.

>>> item = Pending(record=VideoRecord(video_id="a", path="a.mp4"))
>>> Synthesize(config, job)(Analyze(config, job)(item))  # doctest: +SKIP

`Analyze` finds people and fits bodies; `Synthesize` makes, verifies and publishes the output. An error in a
video is caught here and becomes the item's verdict, so it affects that video only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from raymaskdp.anonymize.background.background import Background, find_background, masked_frames, observe
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.shared_plate import Observation, load_views
from raymaskdp.anonymize.compose.overlap import drop_misplaced_avatars
from raymaskdp.anonymize.compose.refiner import Cast, RefinerSettings
from raymaskdp.anonymize.compose.refiners import REFINERS
from raymaskdp.anonymize.compose.scene import Scene, avatars_of
from raymaskdp.anonymize.compose.silhouettes import Silhouettes
from raymaskdp.anonymize.compose.synthesis import SynthesisInputs, WrittenLayers, write_layers
from raymaskdp.anonymize.compose.unseen_legs import hide_unseen_legs
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Analyzed, Decided, Item, Pending
from raymaskdp.anonymize.outcome import (
    doubt_reasons,
    failed,
    figures_of,
    lost_frames,
    plain_metrics,
    published_arrays,
    quarantined,
    unfitted,
    unreleased,
)
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.output.unfinished import (
    chunks_folder,
    chunks_of,
    forget_chunks,
    load_analysis,
    save_analysis,
)
from raymaskdp.anonymize.people.scoring import score
from raymaskdp.anonymize.people.sources import pose_source
from raymaskdp.anonymize.self_test import known_item, require_avatar
from raymaskdp.anonymize.verify import checks
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.bodies.render import Rendered, Renderer
from raymaskdp.errors import MACHINE, UserError, machine_lacks
from raymaskdp.files import sha256_file
from raymaskdp.video import reader, sandbox
from raymaskdp.video.audio import damaged_sound
from raymaskdp.video.containers.mark import is_marked
from raymaskdp.video.containers.same_file import SameFile, look
from raymaskdp.video.mask_film import MaskFilm, bridge, write_npz
from raymaskdp.video.reader import VideoInfo

_log = logging.getLogger(__name__)

KEPT_FIGURES = 64
"""Number of dressed avatars that a worker caches, some megabytes each."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The folders of a run.

    Attributes:
      out: the output folder.
      work: a private folder on the same file system, for unverified files.
      secret: the file of the 32 bytes that determine the avatars; every worker reads it itself.
      plates: a private folder that outlives the run, for observations and views; None if none are shared.
      pieces: a private folder that outlives a killed run, for the complete chunks of unfinished videos; None
        if videos always start from the beginning.
      store: the URL to publish to, None if `out` is the output folder itself; with it a worker uses its own
        folders instead of `out` and `work` (`object_store`).
    """

    out: Path
    work: Path
    secret: SecretFile
    plates: Path | None = None
    pieces: Path | None = None
    store: str | None = None


class Analyze:
    """Finds people and fits bodies: a pending video becomes an analyzed one, or is decided."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._job = job
        self._config_sha256 = config.digest()
        self._secret = job.secret.read()
        self._body = config.body
        self._looks = config.pose.source == "mediapipe"
        self._find_people = pose_source(config.pose, config.gpus)
        self._fit_bodies = FitBodies(config.fit, config.body)
        self._on_doubt = config.on_doubt
        self._decode = config.decode
        self._keep_audio = config.composite.keep_audio
        self._draw_held = config.composite.keep_objects != "none"

    def __call__(self, item: Item) -> Item:
        """A pending video, analyzed, or decided (failed or quarantined); any other unchanged."""
        if not isinstance(item, Pending):
            return item
        analyzed = run_item(self._analyze, item)
        if isinstance(analyzed, Decided):
            forget_chunks(self._job.pieces, self._job.secret, analyzed, self._config_sha256)
        return analyzed

    def self_test(self, folder: Path) -> None:
        """Process a known video in `folder`; raises the error of a faulty machine."""
        item = known_item(folder, self._decode)
        # With poses from files there are none for it.
        with contextlib.nullcontext() if self._looks else contextlib.suppress(UserError):
            self._find_people(reader.VideoFrames(item.source), item.info, item.record)

    def _analyze(self, item: Pending) -> Analyzed | Decided:
        path = item.source
        if is_marked(path):  # detected earlier, except for objects of a store
            raise UserError(f"{item.record.path} was written by this project; outputs are never sources.")
        seen = look(path)
        info = sandbox.probe(path, self._decode)
        film = SameFile.digested(path, seen)
        known: dict[str, Any] = {"info": info, "source_sha256": film.sha256}
        folder = chunks_folder(
            self._job.pieces, self._job.secret, item, known["source_sha256"], self._config_sha256
        )
        if folder is not None and (kept := load_analysis(folder)) is not None:
            return Analyzed.after(item, source_seen=film.seen, **known, **kept)
        seconds: dict[str, Any] = {}
        if self._keep_audio and (lost := damaged_sound(film)):  # raises before the work if no packet decodes
            seconds["sound_packets_lost"] = lost
        with _timed(seconds, "seconds_pose"):
            people = self._find_people(reader.VideoFrames(film), info, item.record)
        known["num_people"] = len(people.persons)
        avatars = avatars_of(item.record, len(people.persons), self._secret)
        with _timed(seconds, "seconds_fit"):
            fitted = self._fit_bodies(people, info, avatars)
            motions = drop_misplaced_avatars(fitted, people, load_body(self._body))
            motions = hide_unseen_legs(motions, people)
        if self._on_doubt == "quarantine":
            problems = unreleased(item, [*doubt_reasons(people), *unfitted(people, motions)])
            if problems:
                doubted = [doubt.frame for doubt in people.doubts]
                return quarantined(item, problems, doubted, metrics=seconds, **known)
        seconds["doubts"] = dict(Counter(doubt.reason for doubt in people.doubts))
        seconds["unposed"] = {
            "no body fits: too little of the person in view, unclear, or turning too fast": lost_frames(
                people.persons, fitted
            ),
            "the body would stand beside the person": lost_frames(fitted, motions),
        }
        metrics: dict[str, Any] = dict(seconds)
        if item.truth is not None:
            metrics["truth"] = plain_metrics(score(people, motions, item.truth, load_body(self._body)))
        film.require_same()
        packed = Scene.of(people, motions, draw_held=self._draw_held).pack()
        analyzed = Analyzed.after(item, source_seen=film.seen, analysis=packed, metrics=metrics, **known)
        if folder is not None:
            save_analysis(folder, analyzed)
        return analyzed


class Synthesize:
    """Makes plate, avatars and composite, verifies the files, and publishes them or nothing.

    An analyzed video is decided by it.
    """

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._config_sha256 = config.digest()
        self._job = job
        self._secret = job.secret.read()
        self._renderer = Renderer(config.render)
        self._look = LookAgain(config.verify)
        kind = REFINERS[config.composite.refine]
        self._normals = kind.normals
        self._refiner_of = kind.load(
            RefinerSettings(
                composite=config.composite, diffusion=config.diffusion, pose=config.pose, gpus=config.gpus
            )
        )
        self._figures: dict[Avatar, Figure] = {}

    def __call__(self, item: Item) -> Item:
        """An analyzed video, decided; any other unchanged."""
        decided = run_item(self._synthesize, item) if isinstance(item, Analyzed) else item
        if not isinstance(decided, Decided):
            return decided
        forget_chunks(self._job.pieces, self._job.secret, decided, self._config_sha256)
        if decided.status == "quarantined":  # a failure does not invalidate earlier outputs
            manifest.unpublish(self._job.out, item.record.video_id)
        return decided

    def self_test(self, folder: Path) -> None:
        """Finish a known video in `folder`; raises the error of a faulty machine."""
        source = folder / "source"  # apart from the outputs, which have the same name
        source.mkdir()
        require_avatar(self._make(known_item(source, self._config.decode), folder)[0])

    def _synthesize(self, item: Analyzed) -> Decided:
        with tempfile.TemporaryDirectory(dir=self._job.work) as folder:
            decided, frames = self._make(item, Path(folder))
            if decided.status == "done":
                manifest.publish(Path(folder), self._job.out, decided, self._config_sha256, frames)
        return decided

    def _make(self, item: Analyzed, work: Path) -> tuple[Decided, dict[str, Any]]:
        """Make and verify the files in `work`; returns the decided item and the per-frame counts."""
        config, info, name = self._config, item.info, item.record.video_id
        film = item.film()
        scene = Scene.unpack(item.packed())
        kept = chunks_folder(
            self._job.pieces, self._job.secret, item, item.source_sha256, self._config_sha256
        )
        folder = kept or work / "pieces"
        pieces = chunks_of(item, folder, config.piece_seconds)
        metrics = dict(item.metrics) | source_notes(info)

        with _timed(metrics, "seconds_plate"):
            masks_TB = scene.dilated_masks(config.composite.margin * info.height)
            background = _background(item, film, masks_TB, config.plate, folder)
            masks_TB = bridge(masks_TB, round(config.composite.gap * float(info.fps)))
        if math.isfinite(background.drift_px):
            metrics["camera_drift_px"] = round(background.drift_px, 3)
        metrics["plate_unseen"] = round(background.never_observed, 4)
        metrics["plate_lent"] = round(background.shared_fraction, 4)
        avatars = avatars_of(item.record, len(scene.motions), self._secret)
        figures = [self._dressed(avatar) for avatar in avatars]
        cast = Cast(
            motions=scene.motions,
            figures=figures,
            avatars=avatars,
            camera_33=scene.camera_33,
            fps=float(info.fps),
        )
        composite_path, avatar_path = work / f"{name}.mp4", work / f"{name}.avatar.mp4"
        makes = SynthesisInputs(
            source=film,
            info=info,
            scene=scene,
            background=background,
            draw=self._drawer(scene, figures),
            refiner=lambda: self._refiner_of(cast),
            silhouettes=Silhouettes(scene, avatars, config.verify.min_overlap),
            masks_TB=masks_TB,
            flow=_flow(film, masks_TB, config.plate) if background.fit_failure else None,
            look=self._look,
            plates=config.plate,
            composites=config.composite,
            verify=config.verify,
        )
        with _timed(metrics, "seconds_synthesis"):
            layers = write_layers(makes, pieces, composite_path=composite_path, avatar_path=avatar_path)
        metrics |= {"pieces": len(pieces), "pieces_resumed": layers.resumed}
        again = layers.checks.below_silhouettes() - int(scene.doubts_T.sum())
        if again > 0:
            metrics["doubts"] = {
                **metrics.get("doubts", {}),
                "a person was detected in the finished frame": again,
            }
        with _timed(metrics, "seconds_verify"):
            problems = layers.checks.failures()
            if background.mosaic is not None and background.mosaic.surviving:
                problems.append("source pixels under a person mask get into the background")
            problems += unreleased(item, self._judgements(layers, scene.doubts_T))
            files = checks.check_files(
                source=film,
                composite=composite_path,
                avatar=avatar_path,
                info=info,
                replaced_TB=layers.seams_TB,
                avatar_TB=layers.avatar_TB,
                avatar_digest=layers.digest.hex(),
            )
            problems += files.problems
        metrics |= figures_of(layers, files, info.width * info.height)
        metrics |= {f"avatars_{name}": count for name, count in layers.refined.items()}
        film.require_same()  # so that the verdict and the outputs are of the content with the digest
        if problems:
            return quarantined(item, problems, layers.checks.lowered(), metrics=metrics), {}
        write_npz(work / f"{name}.npz", published_arrays(scene, layers, float(info.fps)))
        digests = {
            f"{name}{suffix}": sha256_file(work / f"{name}{suffix}") for suffix in manifest.DATA_SUFFIXES
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

    def _drawer(self, scene: Scene, figures: list[Figure]) -> Callable[[int], Rendered]:
        def draw(index: int) -> Rendered:
            drawn = self._renderer.render(
                scene.posed(figures, index),
                scene.camera_33,
                width=scene.width,
                height=scene.height,
                normals=self._normals,
            )
            return scene.held.draw_over(drawn, index)

        return draw

    def _dressed(self, avatar: Avatar) -> Figure:
        """The avatar's mesh; the latest ones are cached, because subjects recur."""
        if avatar not in self._figures:
            if len(self._figures) >= KEPT_FIGURES:
                self._figures.pop(next(iter(self._figures)))
            self._figures[avatar] = dress(load_body(self._config.body), avatar, self._config.render.textures)
        return self._figures[avatar]


AnyItem = TypeVar("AnyItem", bound=Item)


def run_item(work: Callable[[AnyItem], Item], item: AnyItem) -> Item:
    """`work(item)`, timed; an exception becomes a failed item."""
    began = time.perf_counter()
    made: Item
    try:
        made = work(item)
    except (Exception, SystemExit) as error:  # noqa: BLE001 — an error in one video must not stop the others
        lacking = machine_lacks(error)
        if lacking:
            made = failed(item, lacking, fault=f"{MACHINE}{lacking}")
        elif isinstance(error, UserError):
            made = failed(item, str(error))
        else:
            _log.exception("The video %s failed.", item.record.video_id)
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            made = failed(item, fault, fault=fault)
    return dataclasses.replace(made, seconds=made.seconds + time.perf_counter() - began)


def source_notes(info: VideoInfo) -> dict[str, Any]:
    """Differences from the source, and whether frames have individual times, for the row.

    And what would detect damaged frames.
    """
    changed: dict[str, Any] = {"source_changed": list(info.changed)} if info.changed else {}
    return changed | {"source_integrity": info.integrity} | ({"variable_rate": True} if info.times else {})


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


@contextlib.contextmanager
def _timed(seconds: dict[str, Any], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 3)
