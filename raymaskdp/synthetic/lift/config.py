"""Settings of the training of the lift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check


@dataclass(frozen=True, kw_only=True)
class LiftTrainingConfig:
    """What to render, and how long to train.

    Attributes:
      seeds: of videos with random motion, 192 × 144 pixels.
      large_seeds: of such videos of twice that size.
      high_seeds: of such videos by cameras under the ceiling, which look down at people.
      acted_seeds: of videos of the sample data's actions; leave it empty to evaluate on unseen actions.
      stepping_seeds: of videos of people who step, march, kick or swing a leg.
      videos: for each seed, of one person each.
      frames, fps: of a video.
      epochs: passes over all samples and their mirror images.
      batch: examples in one batch.
      learning_rate, weight_decay, dropout: of AdamW and the network.
      noise: standard deviation added to the landmarks, as a share of a person's spread.
      imagined: number of simulated people, who are not rendered.
      amplitude: weight of the loss of how far each point moves over time. Errors alone are least for an
        estimate that moves less than the person.
      motion: weight of the loss of each point's motions over short times.
      cut: share of the people who are partly outside the frame.
      blind: share of the rendered people whose 3-D landmarks are withheld.
    """

    seeds: tuple[Annotated[int, check.Range(0)], ...] = (2001, 2002, 2003, 2004)
    large_seeds: tuple[Annotated[int, check.Range(0)], ...] = (2006,)
    high_seeds: tuple[Annotated[int, check.Range(0)], ...] = (2201,)
    acted_seeds: tuple[Annotated[int, check.Range(0)], ...] = (2101,)
    stepping_seeds: tuple[Annotated[int, check.Range(0)], ...] = (2301, 2302)
    videos: Annotated[int, check.Range(1)] = 140
    frames: Annotated[int, check.Range(1)] = 24
    fps: Annotated[float, check.Range(1, 240), Unit("frames/s")] = 12.0
    epochs: Annotated[int, check.Range(1)] = 36
    batch: Annotated[int, check.Range(1)] = 24
    learning_rate: Annotated[float, check.POSITIVE] = 1e-3
    weight_decay: Annotated[float, check.POSITIVE] = 1e-2
    dropout: Annotated[float, check.Range(0, 1, open_high=True)] = 0.2
    noise: Annotated[float, check.FRACTION] = 0.02
    imagined: Annotated[int, check.Range(0)] = 2500
    amplitude: Annotated[float, check.Range(0)] = 1.0
    motion: Annotated[float, check.Range(0)] = 1.0
    cut: Annotated[float, check.FRACTION] = 0.35
    blind: Annotated[float, check.FRACTION] = 0.3

    def __post_init__(self) -> None:
        check.fields(self)
