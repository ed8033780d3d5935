"""Settings of the training of the relighting network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from raymaskdp import check


@dataclass(frozen=True, kw_only=True)
class RefinerTrainingConfig:
    """What to render, and how long to train.

    Attributes:
      seed: of the scenes; the benchmark uses others.
      rooms, rooms_each, lights, frames: number of rooms; of rooms for each person; of lights in each room; of
        frames under each light.
      steps, batch, learning_rate: of AdamW.
    """

    seed: Annotated[int, check.Range(0)] = 4101
    rooms: Annotated[int, check.Range(1)] = 156
    rooms_each: Annotated[int, check.Range(1)] = 3
    lights: Annotated[int, check.Range(1)] = 5
    frames: Annotated[int, check.Range(1)] = 2
    steps: Annotated[int, check.Range(1)] = 3600
    batch: Annotated[int, check.Range(1)] = 8
    learning_rate: Annotated[float, check.POSITIVE] = 1e-3

    def __post_init__(self) -> None:
        check.fields(self)
