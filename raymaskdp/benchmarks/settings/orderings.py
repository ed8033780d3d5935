"""Settings of the benchmark of orderings: which mechanism is better at which ε."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OrderingsConfig:
    """What to compare.

    Attributes:
      people: in the private videos; each has a video of every action of the demo.
      rooms: of the private videos, with two cameras each.
      frames, fps: of each private video.
      test_people: people in the test of a draw; the others train.
      draws: random divisions of the people into training and test. People of different draws overlap.
      seeds: trainings of each arm at each ε on each draw; they differ in initial head, lots, noise and clips.
      epsilons: budgets of the private arms.
      rates: learning rates to choose from, for each arm, ε and draw, on a fifth of its training people.
      choice_seeds: trainings at each of these rates.
      steps, batch, clips, delta: of every training; `clips` is K of the arms with several.
      seed: of the videos and the draws.
      workers: processes; 1 works in this one where it can, 0 does so everywhere, without Ray.
    """

    people: Annotated[int, check.Range(4)] = 184
    rooms: Annotated[int, check.POSITIVE] = 24
    frames: Annotated[int, check.Range(8)] = 12
    fps: Annotated[float, check.Range(1, 60), Unit("frames/s")] = 4.0
    test_people: Annotated[int, check.POSITIVE] = 54
    draws: Annotated[int, check.Range(2)] = 10
    seeds: Annotated[int, check.POSITIVE] = 10
    epsilons: tuple[Annotated[float, check.POSITIVE], ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 8.0)
    rates: tuple[Annotated[float, check.POSITIVE], ...] = (0.01, 0.04, 0.16, 0.64, 2.56)
    choice_seeds: Annotated[int, check.POSITIVE] = 2
    steps: Annotated[int, check.POSITIVE] = 60
    batch: Annotated[float, check.POSITIVE] = 128.0
    clips: Annotated[int, check.Range(1, 8)] = 4
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-4
    seed: Annotated[int, check.Range(0)] = 11
    workers: Annotated[int, check.Range(0)] = 2

    def __post_init__(self) -> None:
        check.fields(self)
        check.in_range("test_people", self.test_people, low=1, high=self.people - 3)
        for name, values in (("epsilons", self.epsilons), ("rates", self.rates)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} must be different numbers, at least one, not {list(values)}.")
