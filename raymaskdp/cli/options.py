"""Settings of commands that have no configuration of their own: what they take as KEY=VALUE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from raymaskdp import check


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How a run is measured.

    Attributes:
      split: which videos.
      views: clips a video, evenly spread over its time.
      crops: windows a clip, along the axis with room.
      baseline: another run's folder, to give every class's change against it.
    """

    split: str = "test"
    views: Annotated[int, check.Range(1)] = 3
    crops: Annotated[int, check.Range(1)] = 1
    baseline: Path | None = None

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What goes into a report.

    Attributes:
      show_sources: show the source videos, real people included, beside the anonymized ones.
      embed_videos: put what the players play into the file, too.
    """

    show_sources: bool = False
    embed_videos: bool = False


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """What goes into a contact sheet.

    Attributes:
      videos: at most so many.
      frames: of each video.
      show_sources: put frames of the source videos into the picture.
    """

    videos: Annotated[int, check.Range(1)] = 3
    frames: Annotated[int, check.Range(1)] = 6
    show_sources: bool = False

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What the cost of a private run depends on, besides ε or σ.

    Attributes:
      num_records: N, records in the data.
      expected_batch: expected records in a step, q N.
      steps: T; or give `epochs`.
      epochs: instead of `steps`.
      delta: δ.
      mechanism: maskdp, maskdp-full, multiclip, dpsgd or sgd.
      adjacency: zero-out, add-remove or replace.
      unit: what a record is, video or subject.
    """

    num_records: int
    expected_batch: float
    steps: int | None = None
    epochs: float | None = None
    delta: float = 1e-5
    mechanism: str = "maskdp"
    adjacency: str = "zero-out"
    unit: str = "video"


@dataclass(frozen=True, kw_only=True)
class EpsilonOptions(PlanOptions):
    """A plan of which σ is given.

    Attributes:
      noise_multiplier: σ, standard deviation of the noise over the clipping norm.
    """

    noise_multiplier: float


@dataclass(frozen=True, kw_only=True)
class SigmaOptions(PlanOptions):
    """A plan of which ε is given.

    Attributes:
      epsilon: budget of the whole run.
    """

    epsilon: float


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What a ledger is compared with.

    Attributes:
      expected_steps: steps that the published model was trained for.
      data: clip store that the run is said to be on; checked with the run's key, beside the ledger.
    """

    expected_steps: int | None = None
    data: str | None = None


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """The budget of a data set.

    Attributes:
      limit: the most that all runs may cost together, as ε; kept from now on.
      delta: δ of the limit, or of the figures where there is none.
      others: further clip stores of the same videos, whose runs are counted, too.
    """

    limit: float | None = None
    delta: float = 1e-5
    others: tuple[str, ...] = ()
