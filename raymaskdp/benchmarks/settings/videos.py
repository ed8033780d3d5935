"""Settings of the benchmarks of anonymizing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check, config
from raymaskdp.anonymize.compose.config import REFINER_NAMES
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.errors import UserError


def width_height(size: str) -> tuple[int, int]:
    """`640x480` as numbers; even ones from 64 up, as video codecs require."""
    numbers = [int(part) if part.isdigit() else 0 for part in size.split("x")]
    if len(numbers) != 2 or min(numbers) < 64 or any(number % 2 for number in numbers):
        raise UserError(f"sizes must be like 640x480, of even numbers from 64 up, but one is {size!r}.")
    return numbers[0], numbers[1]


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """What to measure.

    Attributes:
      sizes: frames as WIDTHxHEIGHT.
      video: file whose first frames are anonymized at each size; one person is rendered if unset.
      frames: of each video.
      rounds: number of times that each video is anonymized; results are medians. One more warms up.
      seed: of the person, the movement and the room.
      profile: whether the functions that take most time are listed, too, of one more run at each size.
    """

    sizes: tuple[str, ...] = ("192x144", "640x480", "1920x1080")
    video: str | None = None
    frames: Annotated[int, check.Range(4)] = 24
    rounds: Annotated[int, check.Range(1)] = 3
    seed: Annotated[int, check.Range(0)] = 5
    profile: bool = False

    def __post_init__(self) -> None:
        check.fields(self)
        for size in self.sizes:
            width_height(size)


@dataclass(frozen=True, kw_only=True)
class RealConfig:
    """What to measure.

    Attributes:
      only: names of clips, without the suffix; all of the index where empty.
      every: interval of the output's frames that independent detectors process.
      sheet: an image (.png or .jpg) of some frames of every clip, source above output; None for none.
      anonymize: settings.
    """

    only: tuple[str, ...] = ()
    every: Annotated[int, check.Range(1)] = 10
    sheet: Path | None = None
    anonymize: AnonymizeConfig = field(default_factory=AnonymizeConfig)

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class FidelityConfig:
    """What to compare.

    Attributes:
      people: in the private videos; each has a video of every action.
      folds: number of parts of the people. Each part is the test of heads that learn from the others, so
        every video is tested, and no single person dominates the result.
      variants: settings of `anonymize` to compare with the default ones, each as KEY=VALUE[,KEY=VALUE].
      steps: of the head.
      seeds: heads that are trained on each fold of each version; accuracies are means over them.
      seed: of the private videos.
    """

    people: Annotated[int, check.Range(4)] = 16
    folds: Annotated[int, check.Range(2)] = 4
    variants: tuple[str, ...] = ("composite.max_shade=0",)
    steps: Annotated[int, check.Range(1)] = 60
    seeds: Annotated[int, check.Range(1)] = 2
    seed: Annotated[int, check.Range(0)] = 7

    def __post_init__(self) -> None:
        check.fields(self)
        check.in_range("folds", self.folds, low=2, high=self.people)
        for variant in self.variants:
            config.load(AnonymizeConfig, None, variant.split(","))


@dataclass(frozen=True, kw_only=True)
class CostEstimateConfig:
    """What to compare.

    Attributes:
      people: in as many videos of each length.
      frames: lengths of the videos.
      sample: videos from which the estimate is made.
      workers: of each run.
    """

    people: Annotated[int, check.Range(2)] = 6
    frames: tuple[Annotated[int, check.POSITIVE], ...] = (24, 48, 96)
    sample: Annotated[int, check.POSITIVE] = 4
    workers: tuple[Annotated[int, check.POSITIVE], ...] = (1, 2)

    def __post_init__(self) -> None:
        check.fields(self)


PartName = Literal["overhead", "workers", "rows", "memory"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkAnonymizeConfig:
    """What to measure.

    Attributes:
      parts: "overhead": the plain loop against one worker; "workers": one worker against two; "rows": no-op
        videos, for the pipeline's own cost; "memory": peak memory by length.
      videos, frames: number of videos, and their length, in each round of the first two.
      width, height: of their frames.
      rounds: of the plain loop, of one worker and of two, in turns; results are medians.
      rows: no-op videos.
      minutes: lengths of the videos for memory, of 160×120 pixels.
      refine: how avatars are fitted into the scene in the first two parts; "diffusion" uses small random
        networks, which take most of the time.
      memory_fps: frames a second of the videos for memory; a frame takes about 40 ms, whatever its size.
      seed: of the people and rooms.
    """

    parts: tuple[PartName, ...] = (
        "overhead",
        "workers",
        "rows",
        "memory",
    )
    videos: Annotated[int, check.Range(4)] = 12
    frames: Annotated[int, check.Range(4)] = 24
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 320
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 240
    rounds: Annotated[int, check.Range(1)] = 3
    rows: Annotated[int, check.Range(2)] = 10_000
    minutes: tuple[Annotated[float, check.POSITIVE], ...] = (1.0, 5.0)
    refine: Annotated[str, REFINER_NAMES] = "harmonize"
    memory_fps: Annotated[float, check.Range(1, 60)] = 4.0
    seed: Annotated[int, check.Range(0)] = 5

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class PoolsBenchmarkConfig:
    """What to measure.

    Attributes:
      find, refine, compose: seconds of the stand-ins for the stages, on average; the second one uses a GPU.
        Real videos take longer. Between two items, a worker waits for Ray, some tenths of a second on a busy
        machine.
      spread: relative spread of the items' lengths, uniform.
      cpus, gpus: fake resources of the local cluster.
      items: of each way.
      ahead: items that may wait between two pools.
      seed: of the lengths.
    """

    find: Annotated[float, check.POSITIVE, Unit("s")] = 9.0
    refine: Annotated[float, check.POSITIVE, Unit("s")] = 3.0
    compose: Annotated[float, check.POSITIVE, Unit("s")] = 3.0
    spread: Annotated[float, check.Range(0, 1, open_high=True)] = 0.5
    cpus: Annotated[int, check.Range(2)] = 20
    gpus: Annotated[int, check.Range(1)] = 4
    items: Annotated[int, check.Range(10)] = 36
    ahead: Annotated[int, check.Range(1)] = 16
    seed: Annotated[int, check.Range(0)] = 5

    def __post_init__(self) -> None:
        check.fields(self)
