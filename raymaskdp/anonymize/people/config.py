"""Settings of finding people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check


@dataclass(frozen=True, kw_only=True)
class PoseConfig:
    """How people are found.

    Attributes:
      source: where poses come from, a name in `sources.SOURCES`: "mediapipe" looks for people in the
        video; the others ("ntu", "smarthome", "smpl" and those of entry points) read files.
      skeletons: the folder of those files, one a video.
      veto: with poses from files, detectors look for people whom the files do not know.
      detector: a network of transformers that finds boxes instead of NanoDet, a folder or a hub id: RT-DETR
        or D-FINE with a class "person".
      keypoints: the same for keypoints beside the landmarks: ViTPose of COCO's 17.
      masks: the same for masks beside the segmenter: SAM 2.
      batch: pictures that these three look at at once.
      landmarks: the landmark network, an ONNX file with the form of BlazePose's; None for the bundled one.
      confidence: least probability that the landmark network sees somebody, in (0, 1).
      max_people: people a frame for whom landmarks are looked for, the largest first; the others are
        silhouettes.
      max_gap: longest time between two poses of a person that is filled in, seconds.
      dilation: growth of the masks, as a share of the body's height.
      foreground: confidence from which a pixel beside a person counts as that person's for the segmenter.
    """

    source: str = "mediapipe"
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
