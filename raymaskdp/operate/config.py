"""Settings of the estimate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from raymaskdp import check
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """The run to estimate, and its machines.

    Attributes:
      anonymize: the settings of the run.
      sample: videos of various lengths that one worker processes here to measure the time; 0 with a
        `profile`.
      profile: a profile that an earlier estimate saved, of the machines of the run.
      run: an output folder of `anonymize` whose times are used, instead of a sample.
      save_profile: file for the measured profile.
      out: output folder of the estimated run; the estimate is stored in it, and the run's report compares.
      nodes: numbers of machines to estimate for.
      workers: workers on each machine.
      cores: processors of each machine; those of this one for None.
      price: of a machine for an hour, in any currency.
      node_start: seconds until a requested machine is available; 0 for running machines.
      losses: spot machines lost per hour of running time.
      seed: of the sample and of the losses.
    """

    anonymize: AnonymizeConfig = dataclasses.field(default_factory=AnonymizeConfig)
    sample: Annotated[int, check.Range(0)] = 4
    profile: Path | None = None
    run: Path | None = None
    save_profile: Path | None = None
    out: Path | None = None
    nodes: tuple[Annotated[int, check.Range(1, 10_000)], ...] = (1, 2, 4, 8, 16)
    workers: Annotated[int, check.POSITIVE] = 1
    cores: Annotated[int, check.POSITIVE] | None = None
    price: Annotated[float, check.Range(0)] = 0.0
    node_start: Annotated[float, check.Range(0)] = 0.0
    losses: Annotated[float, check.Range(0)] = 0.0
    seed: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        check.fields(self)
        if self.profile is not None and self.run is not None:
            raise UserError("Give either a profile or a run to learn from, and not both.")
