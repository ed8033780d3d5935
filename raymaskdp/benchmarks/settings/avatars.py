"""Settings of the benchmarks of refined and relit avatars."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.anonymize.compose.diffusion.settings import BackendName, DiffusionConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import ActionName

WayName = Literal["as it is", "attention in slices", "compiled", "pictures whole", "nothing shared"]


@dataclass(frozen=True, kw_only=True)
class RefineBenchmarkConfig:
    """What to measure.

    Attributes:
      diffusion: as in `anonymize`; without a `model`, networks are small and random.
      actions: one video each.
      frames, width, height: of every video.
      seed: of people, rooms and avatars.
      pictures: a folder for every method's frames, as PNG; None for none.
    """

    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(side=256, steps=12, guidance=1.0, max_pose_shift=0.0)
    )
    actions: tuple[ActionName, ...] = ("wave", "walk", "squat")
    frames: Annotated[int, check.Range(3)] = 12
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 320
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 240
    seed: Annotated[int, check.Range(0)] = 3
    pictures: Path | None = None

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class RelightConfig:
    """What to measure.

    Attributes:
      scenes: people, each in a room.
      seed: of them; different from that of the network's training.
      frames, width, height: of every scene.
      weights: a network from `models train-refiner`; None for the bundled one.
      pictures: a folder for a strip of each scene: every method and the truth; None for none.
    """

    scenes: Annotated[int, check.Range(1)] = 30
    seed: Annotated[int, check.Range(0)] = 9002
    frames: Annotated[int, check.Range(2)] = 4
    width: Annotated[int, check.Range(32, 4096), Unit("px")] = 240
    height: Annotated[int, check.Range(32, 4096), Unit("px")] = 180
    weights: Path | None = None
    pictures: Path | None = None

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class RefineCostConfig:
    """What to measure.

    Attributes:
      backends: kinds of networks.
      share: channels of the networks, as a share of the real ones; 1 needs a GPU to be of use.
      sides: of the images.
      batches: frames in one batch.
      steps: of denoising.
      ways: of saving memory, or none.
      rounds: results are medians over so many; one more warms up.
      threads: of each process, on a CPU.
      device: cpu or cuda.
    """

    backends: tuple[BackendName, ...] = ("sd15-depth",)
    share: Annotated[float, check.Range(0, 1, open_low=True)] = 0.2
    sides: tuple[Annotated[int, check.Range(64, 2048), Unit("px")], ...] = (512, 1024)
    batches: tuple[Annotated[int, check.POSITIVE], ...] = (1, 4)
    steps: Annotated[int, check.Range(1)] = 4
    ways: tuple[WayName, ...] = ("as it is",)
    rounds: Annotated[int, check.Range(1)] = 3
    threads: Annotated[int, check.Range(1)] = 1
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        check.fields(self)
        for side in self.sides:
            if side % 64:
                raise UserError(f"sides must be multiples of 64, but one is {side}.")
