"""Pools of their own against one operator: `raymaskdp benchmark pools`.

Stand-ins for the stages of `anonymize` sleep for stated times on a local cluster with stated, fake resources.
They run through the same driver as the real stages. The share of the time in which the GPUs are used follows
from the times at which the refiner's stand-ins began and ended.
"""

from __future__ import annotations

import math
import os
import platform
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.benchmarks.settings.videos import PoolsBenchmarkConfig
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool
from raymaskdp.errors import UserError
from raymaskdp.places import temporary_folder

REFINER_CPUS = 0.1
"""CPUs that a worker of the refiner holds, because it mostly waits for its GPU."""

MARGIN = 1.1
"""Workers of the last stages over the number that keeps up with the GPUs without any pause."""

MIDDLE = (0.2, 0.8)
"""The part of the refined items that is measured, without start and end."""

Span = tuple[float, float]
"""The beginning and the end of an item's time on a GPU, seconds."""


@dataclass(frozen=True, kw_only=True)
class PoolsRow:
    """One way of arranging the stages.

    Attributes:
      way: its name.
      workers: of each pool.
      busy: share of all GPUs' time in which they were used, in the middle of the run.
      busy_all: the same from the first use to the last.
      items_per_second: in the middle of the run.
    """

    way: str
    workers: tuple[int, ...]
    busy: float
    busy_all: float
    items_per_second: float


@dataclass(frozen=True, kw_only=True)
class PoolsResult:
    """A row for each way.

    Attributes:
      machine: processors and architecture, and the fake resources.
      items: of each way.
      seconds: of an item on average, by stage.
      rows: pools of their own, and one operator.
    """

    machine: str
    items: int
    seconds: dict[str, float]
    rows: tuple[PoolsRow, ...]

    def __str__(self) -> str:
        seconds = ", ".join(f"{name} {value:g} s" for name, value in self.seconds.items())
        lines = [
            f"{self.items} items of {seconds}; {self.machine}",
            "",
            "| stages | workers | GPUs busy | with start and end | items/s |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.way} | {' + '.join(map(str, row.workers))} | {row.busy:.0%} | {row.busy_all:.0%} "
            f"| {row.items_per_second:.1f} |"
            for row in self.rows
        ]
        return "\n".join(lines)


class StandIn:
    """Sleeps for the times of some stages, and records when the refiner's began and ended."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._stages = stages

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, after the times that it gives for the stages."""
        made = dict(row)
        for stage in self._stages:
            began = time.time()
            time.sleep(row[stage])
            if stage == "refine":
                made |= {"began": began, "ended": time.time()}
        return made


def benchmark_pools(config: PoolsBenchmarkConfig) -> PoolsResult:
    """Run the same items through both arrangements, one after the other, each on a cluster of its own."""
    seconds = {"find": config.find, "refine": config.refine, "compose": config.compose}
    draw = random.Random(config.seed)
    rows = []
    for number in range(config.items):
        length = draw.uniform(1 - config.spread, 1 + config.spread)  # all stages of a long video are long
        rows.append({"name": number} | {name: length * each for name, each in seconds.items()})
    ways = {
        "pools of their own": split_pools(config),
        "one operator": [
            WorkerPool(
                stage=StandIn,
                arguments=(tuple(seconds),),
                needs=Needs(workers=config.gpus, least=config.gpus, gpus=1.0),
            )
        ],
    }
    return PoolsResult(
        machine=f"{config.cpus} CPUs and {config.gpus} GPUs, fake, on {os.cpu_count()} processors, "
        f"{platform.machine()}",
        items=config.items,
        seconds=seconds,
        rows=tuple(_measured(way, rows, pools, config) for way, pools in ways.items()),
    )


def split_pools(config: PoolsBenchmarkConfig) -> list[WorkerPool]:
    """A worker of the refiner for each GPU, what the last stages need, and the other CPUs for the first.

    Raises `UserError` if no CPU is left for the first stages.
    """
    compose = math.ceil(MARGIN * config.gpus * config.compose / config.refine)
    find = math.floor(config.cpus - compose - REFINER_CPUS * config.gpus)
    if find < 1:
        raise UserError(
            f"The last stages need {compose} CPUs of cpus={config.cpus}, and none is left; give more."
        )
    return [
        WorkerPool(stage=StandIn, arguments=(("find",),), needs=Needs(workers=find, least=find)),
        WorkerPool(
            stage=StandIn,
            arguments=(("refine",),),
            needs=Needs(workers=config.gpus, least=config.gpus, cpus=REFINER_CPUS, gpus=1.0),
        ),
        WorkerPool(stage=StandIn, arguments=(("compose",),), needs=Needs(workers=compose, least=compose)),
    ]


def _measured(
    way: str, rows: Sequence[Mapping[str, Any]], pools: Sequence[WorkerPool], config: PoolsBenchmarkConfig
) -> PoolsRow:
    with temporary_folder("pools-") as folder, ray_cluster(num_cpus=config.cpus, num_gpus=config.gpus):
        kept = Path(folder) / "kept" if len(pools) > 1 else None
        done = map_rows([dict(row) for row in rows], pools, keep=kept, ahead=config.ahead)
        spans = sorted(((row["began"], row["ended"]) for row in done), key=lambda span: span[1])
    if len(spans) < len(rows):
        raise UserError(f"{len(rows) - len(spans)} items were lost; see whether memory suffices.")
    low, high = (spans[int(share * (len(spans) - 1))][1] for share in MIDDLE)
    inside = sum(low < ended <= high for _, ended in spans)
    return PoolsRow(
        way=way,
        workers=tuple(pool.needs.workers for pool in pools),
        busy=busy_share(spans, low, high, config.gpus),
        busy_all=busy_share(spans, min(began for began, _ in spans), spans[-1][1], config.gpus),
        items_per_second=inside / (high - low),
    )


def busy_share(spans: Sequence[Span], low: float, high: float, gpus: int) -> float:
    """Share of the time of `gpus` GPUs between `low` and `high` that the spans cover, in [0, 1]."""
    used = sum(max(0.0, min(ended, high) - max(began, low)) for began, ended in spans)
    return used / (gpus * (high - low))
