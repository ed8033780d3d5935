"""Settings of the checks, and of the actions for their results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """How finished frames are checked.

    Attributes:
      min_overlap: an avatar that covers less than this fraction of the person's mask does not suffice; a
        silhouette is drawn, too.
      look_again: run independent detectors on every frame without its avatars, and redact their detections.
        Without it a missed person remains undetected.
      faces: least confidence, in an enlarged crop, of a face that is redacted.
      hands: least confidence of a hand that is redacted, with its forearm.
      people: least confidence of a person who is redacted.
      detector: an ONNX file with an additional detector of people (`onnx_detector`).
      detector_side: side of that detector's input.
      detector_confidence: least confidence of that detector for a person to be redacted.
      max_redacted: a video is quarantined if more than this fraction of its person-frames is shown as less
        than a silhouette. Frames count where there are more of them than person-frames.
      max_blank: a video is quarantined if more than this fraction of its frames is blank.
      empty: status of a video without any detected person: "done" with 0 people, or "quarantine".
    """

    min_overlap: Annotated[float, check.FRACTION] = 0.05
    look_again: bool = True
    faces: Annotated[float, check.Range(0, 1, open_low=True)] = 0.65
    hands: Annotated[float, check.Range(0, 1, open_low=True)] = 0.8
    people: Annotated[float, check.Range(0, 1, open_low=True)] = 0.5
    detector: Path | None = None
    detector_side: Annotated[int, check.Range(32, 4096), Unit("px")] = 640
    detector_confidence: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 0.5
    max_redacted: Annotated[float, check.FRACTION] = 0.5
    max_blank: Annotated[float, check.FRACTION] = 0.2
    empty: Literal["done", "quarantine"] = "done"

    def __post_init__(self) -> None:
        check.fields(self, "verify")
        check.one_of("verify.empty", self.empty, ("done", "quarantine"))
        if self.detector_side % 32:
            raise UserError(f"verify.detector_side must be a multiple of 32, not {self.detector_side}.")
        if self.detector is not None and not self.look_again:
            raise UserError(
                "verify.detector names a detector that verify.look_again=false does not use; "
                "leave one of them out."
            )
