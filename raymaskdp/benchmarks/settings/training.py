"""Settings of the benchmarks of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.models.config import SchemeName
from raymaskdp.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class DpStepConfig:
    """What to measure.

    Attributes:
      models: `vit-196` and `vit-784` (6 layers, width 192, that many tokens), `video` (a clip of 8 frames of
        112 x 112 pixels, 4 layers, width 128, 784 tokens).
      schemes: which parameters train: `all`, `norms+head` or `head`.
      clips: numbers K of clips a record.
      masked: measure MaskDP too, which sends twice the views through the model.
      views: clips in a step; there are views / K records.
      rounds: rounds of one step each.
      minutes: after this time fewer rounds are run, and no case is started; the result says so. 0 for no
        limit.
      whole_proof: prove the separation of records on whole views, which takes many steps, and include its
        memory.
      device: `cpu` or `cuda`.
      threads: threads of each process; 0 for one on each core.
    """

    models: tuple[Literal["vit-196", "vit-784", "video"], ...] = ("vit-196", "vit-784")
    schemes: tuple[Literal["all", "norms+head", "head"], ...] = ("all",)
    clips: tuple[Annotated[int, check.POSITIVE], ...] = (1, 8)
    masked: bool = True
    views: Annotated[int, check.POSITIVE] = 8
    rounds: Annotated[int, check.Range(1)] = 5
    minutes: Annotated[float, check.Range(0)] = 9.0
    whole_proof: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        check.fields(self)
        for clips in self.clips:
            check.in_range("clips", clips, low=1, high=self.views)


@dataclass(frozen=True, kw_only=True)
class DigitsConfig:
    """What to run.

    Attributes:
      epsilons: targets of the private methods.
      seeds: how many seeds; each has its own split, start, lots and noise.
      epochs, rate, delta: the plan's; a step takes each image with probability `rate`.
      sweep: also vary learning rate, clipping norm and λ one at a time at the smallest ε.
    """

    epsilons: tuple[Annotated[float, check.POSITIVE], ...] = (0.5, 1.0, 5.0)
    seeds: Annotated[int, check.Range(2)] = 5
    epochs: Annotated[float, check.POSITIVE] = 20.0
    rate: Annotated[float, check.Range(0, 1, open_low=True)] = 0.05
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-4
    sweep: bool = False

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class DigitsOpacusConfig:
    """What to run.

    Attributes:
      epsilons: targets at `delta`.
      seeds: their number; each has its own split and initial weights.
      epochs, rate, delta, learning_rate, clipping_norm: of every run; a step takes each image with
        probability `rate`.
    """

    epsilons: tuple[Annotated[float, check.POSITIVE], ...] = (1.0, 2.0, 4.0, 8.0)
    seeds: Annotated[int, check.Range(2)] = 5
    epochs: Annotated[float, check.POSITIVE] = 20.0
    rate: Annotated[float, check.Range(0, 1, open_low=True)] = 0.05
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-4
    learning_rate: Annotated[float, check.POSITIVE] = 0.5
    clipping_norm: Annotated[float, check.POSITIVE] = 1.0

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class SchemesConfig:
    """What to measure.

    Attributes:
      train: the run whose schemes are compared.
      schemes: the schemes; `linear` is measured with cached features, too.
      records: in a step.
      rounds: of one step each.
      threads: of each process.
    """

    train: TrainConfig
    schemes: tuple[SchemeName, ...] = ("full", "selective", "adapter", "lora", "linear")
    records: Annotated[int, check.POSITIVE] = 8
    rounds: Annotated[int, check.POSITIVE] = 7
    threads: Annotated[int, check.POSITIVE] = 1

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class TrainScalingConfig:
    """What to measure.

    Attributes:
      train: the run, on public data; its steps, workers, threads and paths are set here.
      workers: numbers of workers to measure; 0 is in process, the reference of the others.
      steps: measured, after `warmup` others.
      warmup: steps before the measured ones.
      link_gb_s, link_latency_s: of the modelled network: throughput of one worker, and latency of one
        message.
    """

    train: TrainConfig
    workers: tuple[Annotated[int, check.Range(0)], ...] = (0, 1, 2)
    steps: Annotated[int, check.POSITIVE] = 100
    warmup: Annotated[int, check.POSITIVE] = 10
    link_gb_s: Annotated[float, check.POSITIVE, Unit("GB/s")] = 10.0
    link_latency_s: Annotated[float, check.Range(0), Unit("s")] = 2e-5

    def __post_init__(self) -> None:
        check.fields(self)
        if not self.workers or len(set(self.workers)) < len(self.workers):
            raise UserError(f"workers must be different numbers from 0 up, not {list(self.workers)}.")
