"""Scaling of training over workers: in process, on one worker of Ray Train, and on several.

    raymaskdp benchmark train-scaling --config configs/benchmark_train_scaling.yaml train.data=clips

For public data only: it records the time of steps, which reveals the size of their lots.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from raymaskdp import config as configuration
from raymaskdp.benchmarks.paired import resident_bytes
from raymaskdp.benchmarks.scaling_model import StepModel
from raymaskdp.benchmarks.settings.training import TrainScalingConfig
from raymaskdp.files import private_folder, write_json
from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.train import TrainConfig, loop
from raymaskdp.train.device import device_here
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.ray_workers import run_on_ray, this_worker
from raymaskdp.train.run.setup import set_up

KEY = Key(secret=bytes(32))
"""The same lots for every number of workers; the measured data are public."""

MODELLED = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of workers for the model."""


@dataclass(frozen=True, kw_only=True)
class TrainScalingRow:
    """One number of workers.

    Attributes:
      clips_per_second: clip views that the model processed, over the time of the measured steps.
      over_first: ratio to the first row's.
      wait_share: share of its steps that the first worker spent waiting for clips, 0 to 1.
      exchange_share: share spent waiting for the others' sums, slower workers included.
      memory_growth_mib: growth of the first worker's resident memory, from the first to the last tenth of the
        measured steps, medians.
    """

    workers: int
    clips_per_second: float
    over_first: float
    wait_share: float
    exchange_share: float
    memory_growth_mib: float


@dataclass(frozen=True, kw_only=True)
class TrainScalingResult:
    """The measurements, and the model's predictions.

    Attributes:
      model: fitted to the steps of the first row.
      clips: of a step, on average.
      weak_scaling: by workers, the share of ideal speed if lots grow with them.
      strong_scaling: by workers, the speed-up over one if they share the same lots.
    """

    rows: tuple[TrainScalingRow, ...]
    model: StepModel
    clips: float
    weak_scaling: dict[int, float]
    strong_scaling: dict[int, float]

    def __str__(self) -> str:
        lines = [
            "| workers | clips/s | over first | modelled | waiting for clips | for others | memory (MiB) |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.workers} | {row.clips_per_second:.1f} | {row.over_first:.2f} "
            f"| {self.model.strong(max(row.workers, 1), self.clips):.2f} | {row.wait_share:.1%} "
            f"| {row.exchange_share:.1%} | {row.memory_growth_mib:+.1f} |"
            for row in self.rows
        ]
        model = self.model
        lines += [
            "",
            f"Fitted: {model.fixed_seconds * 1e3:.2f} ms a step, {model.clip_seconds * 1e3:.3f} ms a clip; "
            f"{self.clips:.0f} clips and {model.exchanged_bytes / 2**20:.1f} MiB exchanged a step.",
            "",
            "| workers, modelled | " + " | ".join(map(str, self.weak_scaling)) + " |",
            "| --- " * (1 + len(self.weak_scaling)) + "|",
            "| lots grow with them: of ideal speed | "
            + " | ".join(f"{share:.1%}" for share in self.weak_scaling.values())
            + " |",
            "| the same lots: times as fast | "
            + " | ".join(f"{times:.1f}" for times in self.strong_scaling.values())
            + " |",
        ]
        return "\n".join(lines)


def benchmark_train_scaling(config: TrainScalingConfig) -> TrainScalingResult:
    """Time the steps of one run on different numbers of workers, one after another."""
    with tempfile.TemporaryDirectory(prefix="train-scaling") as scratch:
        measured = [_measure(config, workers, Path(scratch) / str(workers)) for workers in config.workers]
    first = measured[0].clips_per_second
    rows = tuple(
        TrainScalingRow(
            workers=workers,
            clips_per_second=one.clips_per_second,
            over_first=one.clips_per_second / first,
            wait_share=one.waited / one.seconds,
            exchange_share=one.exchanged / one.seconds,
            memory_growth_mib=one.memory_growth / 2**20,
        )
        for workers, one in zip(config.workers, measured, strict=True)
    )
    alone = measured[0]
    model = StepModel.fitted(
        alone.step_clips,
        alone.step_seconds,
        exchanged_bytes=bytes_exchanged(config.train),
        bytes_per_second=config.link_gb_s * 1e9,
        latency_seconds=config.link_latency_s,
    )
    clips = statistics.mean(alone.step_clips)
    return TrainScalingResult(
        rows=rows,
        model=model,
        clips=clips,
        weak_scaling={count: model.weak(count, clips) for count in MODELLED},
        strong_scaling={count: model.strong(count, clips) for count in MODELLED},
    )


def bytes_exchanged(config: TrainConfig) -> int:
    """Bytes that a worker exchanges in a step: two float32 sums over all trained parameters."""
    model = set_up(config).model
    return 2 * 4 * sum(value.numel() for value in model.parameters() if value.requires_grad)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The first worker's measurements: seconds, bytes, and clips of all workers."""

    step_seconds: tuple[float, ...]
    step_clips: tuple[int, ...]
    waited: float
    exchanged: float
    memory_growth: float

    @property
    def seconds(self) -> float:
        return sum(self.step_seconds)

    @property
    def clips_per_second(self) -> float:
        return sum(self.step_clips) / self.seconds


def _measure(config: TrainScalingConfig, workers: int, out: Path) -> Measured:
    compute = replace(
        config.train.compute, workers=workers, threads=1, progress=False,
        checkpoint_every=config.warmup + config.steps,
    )  # fmt: skip
    train_config = replace(config.train, out=out, steps=config.warmup + config.steps, compute=compute)
    setup = set_up(train_config)
    job = setup.job
    private_folder(job.folder)
    job.key_file.write_bytes(KEY.secret)
    write_json(job.folder / "warmup.json", config.warmup)
    setup.cache_features()
    if workers:
        run_on_ray(job, measure_in_worker)
    else:
        measure_here(job, Worker(device=device_here(job.config.compute.gpus)))
    return configuration.build(
        Measured, json.loads((job.folder / "measured.json").read_text(encoding="utf-8")), where="measured"
    )


def measure_in_worker(job: TrainingJob) -> None:
    """The function of every worker of Ray Train."""
    measure_here(job, this_worker(job))


def measure_here(job: TrainingJob, worker: Worker) -> None:
    """Run the loop with a stopwatch; the first worker writes `measured.json` to the job's folder."""
    warmup = json.loads((job.folder / "warmup.json").read_text(encoding="utf-8"))
    watch = StopWatch(worker)
    waited = loop.run(job, replace(worker, all_reduce=watch.all_reduce), watch.on_step)
    if worker.rank == 0:
        write_json(job.folder / "measured.json", asdict(watch.measured(job.plan, warmup, waited)))


class StopWatch:
    """Times of a worker's steps and exchanges, and its memory."""

    def __init__(self, worker: Worker) -> None:
        self._all_reduce = worker.all_reduce
        self._exchanging = 0.0
        self._ends: list[float] = []
        self._exchanged: list[float] = []
        self._memory: list[int] = []

    def all_reduce(self, tensor: Tensor) -> None:
        """The worker's own, timed."""
        begin = time.perf_counter()
        self._all_reduce(tensor)
        self._exchanging += time.perf_counter() - begin

    def on_step(self, report: StepReport) -> None:
        """Record the end of a step."""
        self._ends.append(time.perf_counter())
        self._exchanged.append(self._exchanging)
        self._memory.append(resident_bytes())

    def measured(self, plan: PrivacyPlan, warmup: int, waited: float) -> Measured:
        """The measurements after the first `warmup` steps; `waited` is of all steps, and assumed to be
        uniform.
        """
        steps = len(self._ends) - warmup
        clips = tuple(
            len(plan.lot(KEY, step)) * plan.num_views + len(plan.public_lot(KEY, step)) * plan.clips
            for step in range(warmup, warmup + steps)
        )
        ends = self._ends[warmup - 1 :]
        tenth = max(steps // 10, 1)
        memory = self._memory[warmup:]
        return Measured(
            step_seconds=tuple(after - before for before, after in itertools.pairwise(ends)),
            step_clips=clips,
            waited=waited * steps / len(self._ends),
            exchanged=self._exchanged[-1] - self._exchanged[warmup - 1],
            memory_growth=_median(memory[-tenth:]) - _median(memory[:tenth]),
        )


def _median(values: Sequence[int]) -> float:
    return float(statistics.median(values)) if values else math.nan
