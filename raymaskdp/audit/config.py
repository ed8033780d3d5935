"""Settings of the audits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.errors import UserError

Side = Annotated[int, check.Range(8, 4096), Unit("px")]


@dataclass(frozen=True, kw_only=True)
class AnonymizationAuditConfig:
    """Settings of `audit anonymization`.

    Attributes:
      videos: largest number of videos, as evenly distributed over subjects as possible.
      frames: of each video, evenly spaced.
      detector_frames: of these, for the detectors of faces and bodies; 0 for none.
      epochs: of the appearance attacker.
      action_epochs: of the action networks; 0 disables action fidelity.
      face_model: an ONNX network for face recognition (image in, vector out), as an additional attacker.
      face_side: side of its input.
      person_model: likewise one for person re-identification.
      person_size: rows and columns of its input.
      pose: the detectors' settings; as in `anonymize`.
      body: the SMPL-H file of the `anonymize` run; None for the embedded body.
      seed: of the attackers.
      progress: show a progress bar.
    """

    videos: Annotated[int, check.Range(1)] = 400
    frames: Annotated[int, check.Range(1)] = 12
    detector_frames: Annotated[int, check.Range(0)] = 2
    epochs: Annotated[int, check.Range(1)] = 15
    action_epochs: Annotated[int, check.Range(0)] = 30
    face_model: Path | None = None
    face_side: Annotated[int, check.Range(8, 4096), Unit("px")] = 112
    person_model: Path | None = None
    person_size: tuple[Side, Side] = (256, 128)
    pose: PoseConfig = field(default_factory=PoseConfig)
    body: Path | None = None
    seed: Annotated[int, check.Range(0)] = 0
    progress: bool = True

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class TrainingAuditConfig:
    """Settings of `audit training`.

    Attributes:
      runs: number of runs of each program on canaries; more runs prove a larger ε, and few are inconclusive.
      loop_steps: updates for which the whole of `train` runs on canaries, without and with every known fault;
        the number of the audited run is most informative. Each of ten runs takes a minute for 2000 steps. 0
        disables it.
      models: models that membership inference trains on Ray Tune, an even number; each takes as long as the
        run did. 0 disables it.
      compare: also attack as many models without privacy, which shows what an attack could find.
      seed: of canaries, halves and attackers.
    """

    runs: Annotated[int, check.Range(8)] = 16
    loop_steps: Annotated[int, check.Range(0)] = 0
    models: Annotated[int, check.Range(0)] = 0
    compare: bool = True
    seed: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        check.fields(self)
        if self.models % 2 or self.models == 2:
            raise UserError(f"models must be 0, or an even number from 4 on, but it is {self.models}.")
