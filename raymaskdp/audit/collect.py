"""One pass over every pair of source and output, which collects the inputs of all attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from raymaskdp.audit.attacks import actions, motion
from raymaskdp.audit.attacks.embedding import (
    FACE_MEAN,
    FACE_SPREAD,
    PERSON_MEAN,
    PERSON_SPREAD,
    Embedder,
    mean_direction,
)
from raymaskdp.audit.attacks.faces import Detections, FrameDetectors
from raymaskdp.audit.config import AnonymizationAuditConfig
from raymaskdp.audit.leaks import Leaks, find_leaks
from raymaskdp.audit.video_pairs import Pair, VideoPair, crops, read_pair
from raymaskdp.bodies.body import load_body


@dataclass(frozen=True, kw_only=True, eq=False)
class CollectedPair:
    """The attackers' inputs from one pair; small, but of real people: never written."""

    case: VideoPair
    source: np.ndarray
    output: np.ndarray
    leaks: Leaks
    detections: Detections
    clips: dict[str, np.ndarray] | None
    source_skeleton: motion.MovingSkeleton | None
    output_skeleton: motion.MovingSkeleton | None
    outline: np.ndarray | None
    shape: np.ndarray | None
    vectors: dict[str, tuple[np.ndarray | None, np.ndarray | None]]
    """By attacker given by path: what it makes of source and output; None where it saw nothing."""


def collect(cases: Sequence[VideoPair], settings: AnonymizationAuditConfig) -> list[CollectedPair]:
    """Read all cases, one after another; memory grows by some hundred kilobytes a video."""
    detectors, body = FrameDetectors(settings.pose), load_body(settings.body)
    given = _given(settings, detectors)
    seen = []
    for case in tqdm(cases, "audit", unit="video", disable=not settings.progress):
        pair = read_pair(case, frames=settings.frames)
        labelled = settings.action_epochs and case.row.label and case.row.split
        seen.append(
            CollectedPair(
                case=case,
                source=crops(pair, pair.source_THW3),
                output=crops(pair, pair.output_THW3),
                leaks=find_leaks(pair),
                detections=detectors.detect(pair, frames=settings.detector_frames),
                clips=actions.kinds_of(pair) if labelled else None,
                source_skeleton=motion.source_skeleton(case, detectors.networks) if case.alone else None,
                output_skeleton=motion.output_skeleton(case, body) if case.alone else None,
                outline=motion.outline(case) if case.alone else None,
                shape=motion.shape(case) if case.alone else None,
                vectors={name: embed(pair) for name, embed in given.items()} if case.alone else {},
            )
        )
    return seen


Embed = Callable[[Pair], tuple[np.ndarray | None, np.ndarray | None]]


def _given(settings: AnonymizationAuditConfig, detectors: FrameDetectors) -> dict[str, Embed]:
    """The attackers given by path: their vectors of the source and the output of a pair."""
    given: dict[str, Embed] = {}
    if settings.face_model is not None:
        side = (settings.face_side, settings.face_side)
        faces = Embedder(
            settings.face_model, size=side, mean=FACE_MEAN, spread=FACE_SPREAD, name="face_model"
        )

        def by_face(frames_THW3: np.ndarray) -> np.ndarray | None:
            found = [detectors.face(frame_HW3) for frame_HW3 in frames_THW3]
            return mean_direction([faces(face_HW3) for face_HW3 in found if face_HW3 is not None])

        given["face"] = lambda pair: (by_face(pair.source_THW3), by_face(pair.output_THW3))
    if settings.person_model is not None:
        size = settings.person_size
        people = Embedder(
            settings.person_model, size=size, mean=PERSON_MEAN, spread=PERSON_SPREAD, name="person_model"
        )

        def by_looks(pair: Pair, frames_THW3: np.ndarray) -> np.ndarray | None:
            return mean_direction([people(crop_HW3) for crop_HW3 in crops(pair, frames_THW3, size=size)])

        given["looks"] = lambda pair: (by_looks(pair, pair.source_THW3), by_looks(pair, pair.output_THW3))
    return given
