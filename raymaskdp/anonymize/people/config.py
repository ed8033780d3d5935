"""Settings of person detection and tracking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.extensions import Names

NETWORKS = "mediapipe"
"""The source that detects people in the video; the others read files."""

SOURCE_NAMES = Names("raymaskdp.pose_sources", [NETWORKS, "ntu", "smarthome", "smpl"])


@dataclass(frozen=True, kw_only=True)
class PoseConfig:
    """How people are detected and tracked.

    Attributes:
      source: where poses come from. "mediapipe" detects people in the video; the
        others ("ntu", "smarthome", "smpl" and those of entry points) read files.
      skeletons: the folder of these files, one a video.
      veto: with poses from files, also run detectors, which find people who are missing in the files.
      detector: a detector of `transformers` that replaces NanoDet, a folder or a hub id: RT-DETR or D-FINE
        with a class "person".
      keypoints: a keypoint network in addition to the landmarks, a folder or a hub id: ViTPose with COCO's 17
        keypoints.
      masks: a segmentation network in addition to the segmenter, a folder or a hub id: SAM 2.
      batch: images in one batch of these three networks.
      landmarks: the landmark network, an ONNX file with BlazePose's inputs and outputs; None for the bundled
        one.
      confidence: least probability of a person in the output of the landmark network, in (0, 1).
      max_people: number of people a frame for whom landmarks are computed, the largest first; the others
        become silhouettes.
      max_gap: longest gap between two poses of a person that is interpolated.
      dilation: dilation of the masks, as a share of the body's height.
      foreground: least confidence of the segmenter for a pixel beside a person to be added to that person's
        mask.
    """

    source: Annotated[str, SOURCE_NAMES] = NETWORKS
    skeletons: Path | None = None
    veto: bool = True
    detector: str | None = None
    keypoints: str | None = None
    masks: str | None = None
    batch: Annotated[int, check.Range(1, 1024)] = 8
    landmarks: Path | None = None
    confidence: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 0.5
    max_people: Annotated[int, check.Range(0, 1000)] = 8
    max_gap: Annotated[float, check.Range(0), Unit("s")] = 1.0
    dilation: Annotated[float, check.Range(0, 0.5)] = 0.02
    foreground: Annotated[float, check.Range(0, 1, open_low=True)] = 0.6

    def __post_init__(self) -> None:
        check.fields(self, "pose")


def check_source(config: PoseConfig) -> None:
    """Raise `UserError` for a missing folder, or a network that is not used."""
    reads_files = config.source in SOURCE_NAMES.built_in and config.source != NETWORKS
    if config.source == NETWORKS and config.skeletons is not None:
        raise UserError(
            "pose.skeletons is given, but pose.source=mediapipe reads no files; name their source."
        )
    if reads_files and config.skeletons is None:
        raise UserError(f"pose.source={config.source} reads files; give their folder as pose.skeletons=DIR.")
    if reads_files:
        unasked = {"keypoints": config.keypoints, "masks": config.masks}
        for name in (name for name, place in unasked.items() if place is not None):
            raise UserError(
                f"pose.{name} names a network that pose.source={config.source} does not use; leave one of "
                "them out."
            )
        if config.detector is not None and not config.veto:
            raise UserError(
                "pose.detector names a network that pose.veto=false does not use; leave one of them out."
            )
