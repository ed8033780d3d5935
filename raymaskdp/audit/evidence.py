"""One look at every pair of source and output, which collects what all attacks need of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from raymaskdp import check
from raymaskdp.anonymize.pose import PoseConfig
from raymaskdp.audit import actions, motion
from raymaskdp.audit.faces import Lookout, Sightings
from raymaskdp.audit.leaks import Leaks, find_leaks
from raymaskdp.audit.pairs import Case, crops, read_pair
from raymaskdp.bodies.body import load_body


@dataclass(frozen=True, kw_only=True)
class AnonymizationAuditConfig:
    """Settings of `audit anonymization`.

    Attributes:
      videos: at most so many are looked at, of each subject as many as can be.
      frames: of each video, evenly spread.
      detector_frames: of these, shown to the detectors of faces and bodies; 0 for none.
      epochs: of the appearance attacker.
      action_epochs: of the networks that name actions; 0 leaves action fidelity out.
      pose: the detectors' settings; as in `anonymize`.
      body: the SMPL-H file that `anonymize` was given; None for the embedded body.
      seed: of the attackers.
      progress: draw a progress bar.
    """

    videos: int = 400
    frames: int = 12
    detector_frames: int = 2
    epochs: int = 15
    action_epochs: int = 30
    pose: PoseConfig = field(default_factory=PoseConfig)
    body: Path | None = None
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("videos", "frames", "epochs"):
            check.in_range(name, getattr(self, name), low=1)
        for name in ("detector_frames", "action_epochs", "seed"):
            check.in_range(name, getattr(self, name), low=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the attacks need of one pair; small, but of real people: never written."""

    case: Case
    source: np.ndarray
    output: np.ndarray
    leaks: Leaks
    sightings: Sightings
    clips: dict[str, np.ndarray] | None
    source_skeleton: motion.Skeleton | None
    output_skeleton: motion.Skeleton | None
    outline: np.ndarray | None
    shape: np.ndarray | None


def look(cases: Sequence[Case], settings: AnonymizationAuditConfig) -> list[Seen]:
    """Read all cases, one after another; memory grows by some hundred kilobytes a video."""
    lookout, body = Lookout(settings.pose), load_body(settings.body)
    seen = []
    for case in tqdm(cases, "audit", unit="video", disable=not settings.progress):
        pair = read_pair(case, frames=settings.frames)
        labelled = settings.action_epochs and case.row.label and case.row.split
        seen.append(
            Seen(
                case=case,
                source=crops(pair, pair.source_THW3),
                output=crops(pair, pair.output_THW3),
                leaks=find_leaks(pair),
                sightings=lookout.look(pair, frames=settings.detector_frames),
                clips=actions.kinds_of(pair) if labelled else None,
                source_skeleton=motion.source_skeleton(case, lookout.networks) if case.alone else None,
                output_skeleton=motion.output_skeleton(case, body) if case.alone else None,
                outline=motion.outline(case) if case.alone else None,
                shape=motion.shape(case) if case.alone else None,
            )
        )
    return seen
