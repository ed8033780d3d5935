"""Settings, as KEY=VALUE, of commands without a configuration class of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from raymaskdp import check
from raymaskdp.privacy.choices import Adjacency, Mechanism, Unit


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How a run is measured.

    Attributes:
      split: the videos.
      views: clips a video, evenly spaced over its time.
      crops: windows of a clip, along its longer axis.
      baseline: another run's folder; every class is compared with it.
    """

    split: str = "test"
    views: Annotated[int, check.Range(1)] = 3
    crops: Annotated[int, check.Range(1)] = 1
    baseline: Path | None = None

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Contents of a report.

    Attributes:
      show_sources: show the source videos, real people included, beside the anonymized ones.
      embed_videos: embed the videos of the players in the file.
    """

    show_sources: bool = False
    embed_videos: bool = False


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """Contents of a contact sheet.

    Attributes:
      videos: largest number of videos.
      frames: of each video.
      show_sources: add frames of the source videos.
    """

    videos: Annotated[int, check.Range(1)] = 3
    frames: Annotated[int, check.Range(1)] = 6
    show_sources: bool = False

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Parameters of a private run's cost, besides ε or σ.

    Attributes:
      num_records: N, records in the data.
      expected_batch: expected records in a step, q N.
      steps: T; or give `epochs`.
      epochs: instead of `steps`.
      delta: δ.
      mechanism: sgd has no privacy; see `train`.
      adjacency: which change of one record is hidden.
      unit: what a record is, a video or all videos of a subject.
    """

    num_records: Annotated[int, check.Range(1)]
    expected_batch: Annotated[float, check.POSITIVE]
    steps: Annotated[int, check.Range(1)] | None = None
    epochs: Annotated[float, check.POSITIVE] | None = None
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-5
    mechanism: Mechanism = "maskdp"
    adjacency: Adjacency = "zero-out"
    unit: Unit = "video"

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class EpsilonOptions(PlanOptions):
    """A plan with given σ.

    Attributes:
      noise_multiplier: σ, standard deviation of the noise over the clipping norm.
    """

    noise_multiplier: Annotated[float, check.Range(0)]


@dataclass(frozen=True, kw_only=True)
class SigmaOptions(PlanOptions):
    """A plan with given ε.

    Attributes:
      epsilon: budget of the whole run.
    """

    epsilon: Annotated[float, check.POSITIVE]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The claims about a ledger.

    Attributes:
      expected_steps: steps of the published model.
      data: claimed clip store of the run; checked with the run's key, beside the ledger.
    """

    expected_steps: Annotated[int, check.Range(0)] | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """The budget of a data set.

    Attributes:
      limit: upper bound on the total ε of all runs; stored for later runs.
      delta: δ of the limit, or of the figures if there is none.
      others: further clip stores of the same videos, whose runs count as well.
    """

    limit: Annotated[float, check.POSITIVE] | None = None
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-5
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.fields(self)
