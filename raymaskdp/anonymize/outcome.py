"""The outcome of a video: reasons of a quarantine, figures for its row, arrays for its files."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.synthesis.layers import WrittenLayers
from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.people.people import People, Person
from raymaskdp.anonymize.people.scoring import TruthMetrics
from raymaskdp.anonymize.verify import checks
from raymaskdp.bodies.motion import Motion
from raymaskdp.check import finite_or_none
from raymaskdp.errors import MACHINE, UserError, machine_lacks
from raymaskdp.video.reader import VideoInfo

_log = logging.getLogger(__name__)

FRAMES_TO_LOOK_AT = 8
"""Number of frames with a reason for the quarantine that the row names, for `review`."""


def failed(item: Item, reason: str, fault: str = "") -> Decided:
    """The item, decided as failed because of `reason`; `fault` as in `Decided`."""
    return Decided.after(item, status="failed", reasons=(reason,), fault=fault)


def quarantined(item: Item, reasons: list[str], frames: Sequence[int] = (), **known: Any) -> Decided:
    """The item, decided as quarantined, with the `known` fields.

    `frames` are those to review, of which a few are kept.
    """
    metrics = dict(known.pop("metrics", {}))
    if frames:
        listed = np.unique(frames)
        picked = np.linspace(0, len(listed) - 1, min(len(listed), FRAMES_TO_LOOK_AT)).round().astype(int)
        metrics["frames"] = [int(frame) for frame in listed[picked]]
    return Decided.after(item, status="quarantined", reasons=tuple(reasons), metrics=metrics, **known)


def unreleased(item: Item, problems: list[str]) -> list[str]:
    """The problems that no reviewer has accepted. Only judgements are passed to this function."""
    return [problem for problem in problems if problem not in item.released]


def doubt_reasons(people: People) -> list[str]:
    """Frames with doubts by reason, one sentence each."""
    frames: dict[str, list[int]] = {}
    for doubt in people.doubts:
        frames.setdefault(doubt.reason, []).append(doubt.frame)
    return [f"{reason} ({checks.name_frames(np.unique(at))})" for reason, at in frames.items()]


def unfitted(people: People, motions: list[Motion]) -> list[str]:
    """Frames with a visible person to whom no body could be fitted, as one sentence or none."""
    pairs = zip(people.persons, motions, strict=True)
    missing_PT = np.array([person.visible_T & ~motion.visible_T for person, motion in pairs])
    if not missing_PT.any():
        return []
    frames = np.flatnonzero(missing_PT.any(0))
    return [f"no body can be fitted to a person, out of view or unclear ({checks.name_frames(frames)})"]


def lost_frames(before: Sequence[Person | Motion], after: Sequence[Motion]) -> int:
    """Number of person-frames that are visible in `before` and not in `after`."""
    pairs = zip(before, after, strict=True)
    return sum(int(np.count_nonzero(one.visible_T & ~other.visible_T)) for one, other in pairs)


def figures_of(layers: WrittenLayers, files: checks.FileChecks, pixels: int) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "person_frames": layers.checks.by_rung(),
        "avatar_fraction": round(float(layers.checks.avatar_pixels_T.mean() / pixels), 4),
        "masked_fraction": round(float(layers.checks.masked_T.mean() / pixels), 4),
        "changed_fraction": round(float(layers.checks.changed_T.mean() / pixels), 4),
        "surviving_pixels": int(layers.checks.surviving_T.clip(0).sum()),
    }
    if files.background_psnr is not None:
        figures["background_psnr"] = round(files.background_psnr, 2)
    return figures


def plain_metrics(metrics: TruthMetrics) -> dict[str, float | None]:
    """Figures for JSON, which has no NaN."""
    return {name: finite_or_none(round(value, 4)) for name, value in dataclasses.asdict(metrics).items()}


def published_arrays(scene: Scene, layers: WrittenLayers, fps: float) -> dict[str, Any]:
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


def source_notes(info: VideoInfo) -> dict[str, Any]:
    """Differences from the source, and whether frames have individual times, for the row.

    And what would detect damaged frames.
    """
    changed: dict[str, Any] = {"source_changed": list(info.changed)} if info.changed else {}
    return changed | {"source_integrity": info.integrity} | ({"variable_rate": True} if info.times else {})


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


@contextlib.contextmanager
def timed(seconds: dict[str, Any], name: str) -> Iterator[None]:
    """Enter the seconds that the block takes, by name."""
    began = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - began, 3)
