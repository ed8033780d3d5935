"""The two stages of `anonymize`, as plain classes: one item in, one item out, no Ray.

>>> item = Item(record=VideoRecord(video_id="a", path="a.mp4"))
>>> Synthesize(config, job)(Analyze(config, job)(item))  # doctest: +SKIP

`Analyze` finds people and fits bodies; `Synthesize` makes, verifies and publishes the output. What
goes wrong with a video is caught here and becomes the item's status: it costs that video only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp.anonymize import outputs, verify
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.detectors import Detectors
from raymaskdp.anonymize.groundtruth import TruthMetrics, score
from raymaskdp.anonymize.item import Item
from raymaskdp.anonymize.people import People
from raymaskdp.anonymize.plate import PlateConfig
from raymaskdp.anonymize.refiners import Refiners
from raymaskdp.anonymize.scene import Scene, avatars_of
from raymaskdp.anonymize.shared_plate import Observation, load_views
from raymaskdp.anonymize.silhouettes import Silhouettes
from raymaskdp.anonymize.sources import pose_source
from raymaskdp.anonymize.synthesis import Background, Layers, complete, find_background, write_layers
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress
from raymaskdp.bodies.fit import FitBodies
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered, Renderer
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.video import apart, reader
from raymaskdp.video.mask_film import MaskFilm, bridge, write_npz

_log = logging.getLogger(__name__)

FRAMES_TO_LOOK_AT = 8
"""Suspicious frames of a quarantined video that its row names, for `review`."""

KEPT_FIGURES = 64
"""Dressed avatars that a worker keeps, some megabytes each."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where a run works.

    Attributes:
      out: the output folder.
      work: a private folder on the same file system, for what is not verified yet.
      secret: 32 bytes that choose the avatars.
      plates: a private folder that outlives the run, for what cameras see; None where none is shared.
      store: the URL to publish to, None where `out` is the output folder itself; with it a worker takes
        folders of its own instead of `out` and `work` (`carried`).
    """

    out: Path
    work: Path
    secret: bytes = dataclasses.field(repr=False)
    plates: Path | None = None
    store: str | None = None


class Analyze:
    """Finds people and fits bodies; leaves the result, packed, in the item."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._job = job
        self._body = config.body
        self._find_people = pose_source(config.pose)
        self._fit_bodies = FitBodies(config.fit, config.body)
        self._unfittable = config.fit.unfittable
        self._decode = config.decode

    def __call__(self, item: Item) -> Item:
        """A decided item (failed or quarantined), or one with its analysis; who has it passes through."""
        return guarded(self._analyze, item) if item.analysis_file is None else item

    def _analyze(self, item: Item) -> Item:
        path = item.source
        info = apart.probe(path, self._decode)
        item = dataclasses.replace(item, info=info, source_sha256=sha256_file(path))
        seconds: dict[str, float] = {}
        with _timed(seconds, "seconds_pose"), contextlib.closing(reader.stream(path)) as frames:
            people = self._find_people(frames, info, item.record)
        item = dataclasses.replace(item, num_people=len(people.persons), metrics=seconds)
        if problems := _unreleased(item, _suspicions(people)):
            looked_at = [suspicion.frame for suspicion in people.suspicious]
            return _quarantined(item, problems, looked_at)
        avatars = avatars_of(item.record, len(people.persons), self._job.secret)
        with _timed(seconds, "seconds_fit"):
            motions = self._fit_bodies(people, info, avatars)
        problems = _unfitted(people, motions) if self._unfittable == "quarantine" else []
        if problems := _unreleased(item, problems):
            return _quarantined(dataclasses.replace(item, metrics=seconds), problems)
        metrics: dict[str, Any] = dict(seconds)
        if item.truth is not None:
            metrics["truth"] = _plain(score(people, motions, item.truth, load_body(self._body)))
        return dataclasses.replace(item, analysis=Scene.of(people, motions).pack(), metrics=metrics)


class Synthesize:
    """Makes plate, avatars and composite, verifies the files, and publishes them or nothing."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._config = config
        self._config_sha256 = config.digest()
        self._job = job
        self._renderer = Renderer(config.render)
        self._detectors = Detectors(config.pose)
        self._refiners = Refiners(config)
        self._figures: dict[Avatar, Figure] = {}

    def __call__(self, item: Item) -> Item:
        """A decided item. Items decided before pass through."""
        decided = item if item.status != "pending" else guarded(self._synthesize, item)
        if decided.status != "done":
            outputs.withdraw(self._job.out, item.record.video_id)
        return dataclasses.replace(decided, analysis=None)

    def _synthesize(self, item: Item) -> Item:
        with tempfile.TemporaryDirectory(dir=self._job.work) as folder:
            item, frames = self._make(item, Path(folder))
            if item.status == "done":
                outputs.publish(Path(folder), self._job.out, item, self._config_sha256, frames)
        return item

    def _make(self, item: Item, work: Path) -> tuple[Item, dict[str, Any]]:
        """Make and verify the files in `work`; the decided item and the per-frame counts."""
        assert item.info is not None
        config, info, name = self._config, item.info, item.record.video_id
        source = item.source
        scene = _scene(item)
        metrics = dict(item.metrics)
        if config.verify.require_people and not scene.visible_PT.any():
            return _quarantined(item, ["no person was found, so none could be replaced"]), {}

        with _timed(metrics, "seconds_plate"):
            masks_TB = scene.everybody(config.composite.margin * info.height)
            background = _background(item, masks_TB, config.plate)
            masks_TB = bridge(masks_TB, round(config.composite.gap * float(info.fps)))
            problems = _unreleased(item, self._background_problems(background))
        if math.isfinite(background.drift_px):
            metrics["camera_drift_px"] = round(background.drift_px, 3)
        metrics["plate_unseen"] = round(background.unseen, 4)
        metrics["plate_lent"] = round(background.lent, 4)
        if problems:
            return _quarantined(dataclasses.replace(item, metrics=metrics), problems), {}

        avatars = avatars_of(item.record, len(scene.motions), self._job.secret)
        figures = [self._dressed(avatar) for avatar in avatars]
        refiner = self._refiners(scene, figures, avatars, float(info.fps))
        composite_path, avatar_path = work / f"{name}.mp4", work / f"{name}.avatar.mp4"
        with _timed(metrics, "seconds_synthesis"):
            layers = write_layers(
                source=source,
                info=info,
                scene=scene,
                background=background,
                draw=self._drawer(scene, figures),
                refiner=refiner,
                silhouettes=Silhouettes(scene, self._flat_avatars(item, scene)),
                composite_path=composite_path,
                avatar_path=avatar_path,
                masks_TB=masks_TB,
                plates=config.plate,
                composites=config.composite,
                verify=config.verify,
            )
        with _timed(metrics, "seconds_verify"):
            problems = layers.checks.problems()
            problems += _unreleased(item, verify.detector_problems(self._detectors, layers.empty_frames))
            files = verify.check_files(
                source=source,
                composite=composite_path,
                avatar=avatar_path,
                info=info,
                replaced_TB=layers.seams_TB,
                avatar_TB=layers.avatar_TB,
                avatar_digest=layers.avatar_digest,
            )
            problems += files.problems
        metrics |= _figures(layers, files, info.width * info.height) | self._refiners.counts(refiner)
        item = dataclasses.replace(item, metrics=metrics)
        if problems:
            return _quarantined(item, problems), {}
        write_npz(work / f"{name}.npz", _published_arrays(scene, layers, float(info.fps)))
        digests = {
            f"{name}{suffix}": sha256_file(work / f"{name}{suffix}") for suffix in outputs.DATA_SUFFIXES
        }
        return dataclasses.replace(item, status="done", outputs=digests), layers.checks.summary()

    def _background_problems(self, background: Background) -> list[str]:
        if background.plate is None:
            if self._config.plate.moving_camera == "quarantine":
                return [f"the camera moves by {background.drift_px:.1f} pixels, so no plate can be made"]
            return []
        if background.unseen > self._config.verify.max_unseen:
            return [f"{background.unseen:.0%} of the background is never seen"]
        return verify.detector_problems(self._detectors, [("the plate", background.plate.color_HW3)])

    def _drawer(self, scene: Scene, figures: list[Figure]) -> Callable[[int], Rendered]:
        def draw(index: int) -> Rendered:
            return self._renderer.render(
                scene.posed(figures, index), scene.camera_33, width=scene.width, height=scene.height
            )

        return draw

    def _flat_avatars(self, item: Item, scene: Scene) -> list[Avatar]:
        """Whose colours silhouettes have; none where none are wanted."""
        if self._config.fit.unfittable != "silhouette":
            return []
        return avatars_of(item.record, len(scene.motions), self._job.secret)

    def _dressed(self, avatar: Avatar) -> Figure:
        """The avatar's mesh; the latest are kept, because subjects come back."""
        if avatar not in self._figures:
            if len(self._figures) >= KEPT_FIGURES:
                self._figures.pop(next(iter(self._figures)))
            self._figures[avatar] = dress(load_body(self._config.body), avatar, self._config.render.textures)
        return self._figures[avatar]


def guarded(work: Callable[[Item], Item], item: Item) -> Item:
    """`work(item)`, timed; what it raises becomes a failed item."""
    began = time.perf_counter()
    try:
        item = work(item)
    except UserError as error:
        item = failed(item, str(error))
    except Exception as error:  # noqa: BLE001 — whatever breaks one video must not stop the others
        _log.exception("The video %s failed.", item.record.video_id)
        item = failed(item, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return dataclasses.replace(item, seconds=item.seconds + time.perf_counter() - began)


def _scene(item: Item) -> Scene:
    """What the analysis found, from the item or from where it waited."""
    if item.analysis is None:
        assert item.analysis_file is not None
        return Scene.unpack(Path(item.analysis_file).read_bytes())
    return Scene.unpack(item.analysis)


def _background(item: Item, masks_TB: MaskFilm, plates: PlateConfig) -> Background:
    """The background of a video, with the help of its camera's views where those could be built."""
    assert item.info is not None
    views = load_views(item.views) if item.views and Path(item.views).is_file() else ()
    if item.observation is None:
        return find_background(item.source, item.info, masks_TB, plates, views)
    return complete(Observation.load(item.observation), plates, views)


def failed(item: Item, reason: str) -> Item:
    """The item, decided: it could not be worked on, because of `reason`."""
    return dataclasses.replace(item, status="failed", reasons=(reason,), analysis=None)


def _quarantined(item: Item, reasons: list[str], frames: Sequence[int] = ()) -> Item:
    """The item, decided; `frames` are those to look at, of which a few are remembered."""
    metrics = dict(item.metrics)
    if frames:
        listed = np.unique(frames)
        picked = np.linspace(0, len(listed) - 1, min(len(listed), FRAMES_TO_LOOK_AT)).round().astype(int)
        metrics["frames"] = [int(frame) for frame in listed[picked]]
    return dataclasses.replace(
        item, status="quarantined", reasons=tuple(reasons), metrics=metrics, analysis=None
    )


def _unreleased(item: Item, problems: list[str]) -> list[str]:
    """The problems that nobody has looked at and accepted. Only judgements pass through here."""
    return [problem for problem in problems if problem not in item.released]


def _suspicions(people: People) -> list[str]:
    """Suspicious frames by reason, one sentence each."""
    frames: dict[str, list[int]] = {}
    for suspicion in people.suspicious:
        frames.setdefault(suspicion.reason, []).append(suspicion.frame)
    return [f"{reason} ({verify.name_frames(np.unique(at))})" for reason, at in frames.items()]


def _unfitted(people: People, motions: list[Motion]) -> list[str]:
    """Frames in which somebody is seen to whom no body could be fitted, as one sentence or none."""
    pairs = zip(people.persons, motions, strict=True)
    missing_PT = np.array([person.visible_T & ~motion.visible_T for person, motion in pairs])
    if not missing_PT.any():
        return []
    frames = np.flatnonzero(missing_PT.any(0))
    return [f"no body can be fitted to a person, out of view or unclear ({verify.name_frames(frames)})"]


def _figures(layers: Layers, files: verify.FileChecks, pixels: int) -> dict[str, Any]:
    figures = {
        "avatar_fraction": round(float(layers.checks.avatar_T.mean() / pixels), 4),
        "masked_fraction": round(float(layers.checks.masked_T.mean() / pixels), 4),
        "changed_fraction": round(float(layers.checks.changed_T.mean() / pixels), 4),
        "surviving_pixels": int(layers.checks.surviving_T.clip(0).sum()),
    }
    if files.background_psnr is not None:
        figures["background_psnr"] = round(files.background_psnr, 2)
    return figures


def _plain(metrics: TruthMetrics) -> dict[str, float | None]:
    """Figures for JSON, which has no NaN."""
    values = dataclasses.asdict(metrics).items()
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in values}


def _published_arrays(scene: Scene, layers: Layers, fps: float) -> dict[str, Any]:
    motions = scene.motions
    return {
        "rotations": np.array([m.rotations_TJ3 for m in motions], np.float32),
        "translation": np.array([m.translation_T3 for m in motions], np.float32),
        "betas": np.array([m.betas_S for m in motions], np.float32),
        "visible": np.array([m.visible_T for m in motions], bool),
        "camera": scene.camera_33.astype(np.float32),
        "track_ids": np.array([m.track_id for m in motions], np.int32),
        "person_masks": layers.removed_TB,
        "avatar_masks": layers.avatar_TB,
        "height": np.int32(scene.height),
        "width": np.int32(scene.width),
        "fps": np.float64(fps),
    }


@contextlib.contextmanager
def _timed(seconds: dict[str, Any], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 3)
