"""Settings of the fit of bodies to landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Weights of the refinement.

    Attributes:
      iterations: steps of LBFGS; 0 keeps the analytic solution.
      directions: weight of the landmarks' 3-D limb directions against their 2-D positions.
      prior: weight of the deviation from the analytic solution.
      smooth: weight of accelerations, measured between frames 1/30 s apart.
      limits: weight of joint limits.
      contact: weight of the movement of standing feet (`contact`).
    """

    iterations: Annotated[int, check.Range(0, 1000)] = 25
    directions: Annotated[float, check.Range(0)] = 0.04
    prior: Annotated[float, check.Range(0)] = 0.0015
    smooth: Annotated[float, check.Range(0)] = 3.0
    limits: Annotated[float, check.Range(0)] = 0.05
    contact: Annotated[float, check.Range(0)] = 1.0

    def __post_init__(self) -> None:
        check.fields(self, "fit.refine")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How bodies are fitted.

    Attributes:
      field_of_view: assumed angle of view over the image's diagonal.
      lift: correct the bias of MediaPipe's landmarks by a network.
      smoothing: cut-off of the one-euro filter for a landmark at rest.
      max_misfit: largest reprojection error of a fitted body: the mean distance of its points from the
        person's in the image, as a share of the person's extent. Frames above it are not fitted.
      refine: weights of the refinement.
    """

    field_of_view: Annotated[float, check.Range(5, 150), Unit("°")] = 65.0
    lift: bool = True
    smoothing: Annotated[float, check.POSITIVE, Unit("Hz")] = 4.0
    max_misfit: Annotated[float, check.POSITIVE] = 0.15
    refine: RefineConfig = field(default_factory=RefineConfig)

    def __post_init__(self) -> None:
        check.fields(self, "fit")
