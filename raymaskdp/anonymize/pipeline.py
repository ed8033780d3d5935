"""The list of stages, and their execution: in this process, or by the workers of a Ray cluster.

Neighbouring stages with equal needs are one operator, because several operators that reserve CPUs slow a
small cluster down, and each would load the networks and the body again. By default all needs are equal. With
a refiner that uses a GPU, three pools follow each other, and only the refiner's workers hold a share of it:

    [ find ▸ fit ▸ background ▸ draw ]  ──▶  [ refine ]  ──▶  [ compose ▸ encode ▸ verify ▸ publish ]

Frames pass from pool to pool in files of the run's private folder (`compose.synthesis.stored`).
`distributed.map_rows` ensures that a video that kills its worker costs no other video.
"""

from __future__ import annotations

import itertools
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.object_store import Stage, StoreStages
from raymaskdp.anonymize.outcome import failed
from raymaskdp.anonymize.pools import FIND, POOL_NAMES, PoolConfig, PoolName
from raymaskdp.anonymize.run_locally import run_locally
from raymaskdp.anonymize.run_metrics import RunMetrics
from raymaskdp.anonymize.shared_background import BuildViews, Observe, cameras_of, with_views
from raymaskdp.anonymize.stages import Analyze, Compose, Draw, Job, Refine, Synthesize
from raymaskdp.distributed.connect import cluster_size, num_cpus, on_other_nodes, ray_cluster
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool
from raymaskdp.errors import UserError

STAGES: tuple[Stage, ...] = (Analyze, Synthesize)
"""All stages, for one pool; frames stay in memory."""

SPLIT: tuple[Stage, ...] = (Analyze, Draw, Refine, Compose)
"""The same for several pools."""

Tasks = Mapping[str, Any]
Run = Callable[[Tasks, Sequence[Stage]], Iterator[tuple[str, Any]]]
"""Runs tasks by name through stages. Each comes back once, or not at all if its worker died."""

NONE_OBSERVED: Mapping[str, Sequence[Path]] = MappingProxyType({})


def is_split(config: AnonymizeConfig) -> bool:
    """Whether the stages have pools of their own, so that they need a folder for frames."""
    return config.workers != 0 and len({config.needs(pool) for pool in POOL_NAMES}) > 1


def operators(stages: Sequence[Stage], config: AnonymizeConfig) -> list[tuple[PoolConfig, tuple[Stage, ...]]]:
    """Neighbouring stages with equal needs together, and these needs."""
    pool: PoolName = FIND
    needed = []
    for stage in stages:
        pool = getattr(stage, "pool", pool)
        needed.append((config.needs(pool), stage))
    return [
        (needs, tuple(stage for _, stage in some))
        for needs, some in itertools.groupby(needed, key=lambda one: one[0])
    ]


def in_process(
    items: Sequence[Item],
    config: AnonymizeConfig,
    job: Job,
    *,
    stages: Sequence[Stage] = STAGES,
    observed: Mapping[str, Sequence[Path]] = NONE_OBSERVED,
) -> Iterator[Item]:
    """The stages called one after the other, without Ray; decided items in the given order.

    Args:
      observed: observations of earlier runs, by camera (`shared_background`).

    Videos that share their background with other videos of their camera come first, and twice: `Analyzed`,
    and later `Decided`. Raises `UserError` if this machine is at fault and not the videos; those that failed
    on it are then not decided.
    """

    def run(tasks: Tasks, stages: Sequence[Stage]) -> Iterator[tuple[str, Any]]:
        yield from run_locally(tasks, StoreStages(stages, config, job))

    yield from _in_turn(items, run, job, stages, observed)


def on_ray(
    items: Sequence[Item],
    config: AnonymizeConfig,
    job: Job,
    *,
    stages: Sequence[Stage] | None = None,
    observed: Mapping[str, Sequence[Path]] = NONE_OBSERVED,
) -> Iterator[Item]:
    """The same with actor pools on a Ray cluster; decided items in the order of completion.

    Every item comes back decided exactly once. An item whose worker dies repeatedly, by a crash or for lack
    of memory, comes back as failed. Raises `UserError` before any work if another node cannot read the
    secret, or when no worker of a pool is reliable.
    """
    if not items:
        return
    split = is_split(config)
    with ray_cluster(config.address, num_cpus=None if split else config.workers) as joined:
        for refusal in filter(None, on_other_nodes(job.secret.refusal)):
            raise UserError(refusal)

        def run(tasks: Tasks, stages: Sequence[Stage]) -> Iterator[tuple[str, Any]]:
            if not tasks:
                return
            rows = [{"name": name, "task": pickle.dumps(task)} for name, task in tasks.items()]
            some = operators(stages, config)
            needs = _needs([needs for needs, _ in some], len(rows), joined=joined)
            pools = [
                WorkerPool(stage=_Tasks, arguments=(fused, config, job), needs=one)
                for (_, fused), one in zip(some, needs, strict=True)
            ]
            keep = None
            if len(pools) > 1 and job.frames is not None:
                keep = Path(tempfile.mkdtemp(prefix="results-", dir=job.frames))
            for row in map_rows(rows, pools, keep=keep, ahead=config.pools.ahead):
                task = pickle.loads(row["task"])  # noqa: S301 — written by our own actors
                if job.frames is not None and isinstance(task, Decided):
                    shutil.rmtree(job.frames_of(task), ignore_errors=True)
                yield row["name"], task

        all_stages = stages or (SPLIT if split else STAGES)
        sizes = [_most(needs) for needs, _ in operators(all_stages, config)]
        known = sum(filter(None, sizes)) if all(sizes) else None
        metrics = RunMetrics(lambda: min(known or num_cpus(), len(items) * len(sizes)))
        waiting = len(items)
        for item in _in_turn(items, run, job, all_stages, observed):
            if isinstance(item, Decided):
                waiting -= 1
                metrics.count(item, waiting=waiting)
            yield item


def _most(pool: PoolConfig) -> int | None:
    """Largest number of workers of a pool, if it is given."""
    return pool.workers[1] if isinstance(pool.workers, tuple) else pool.workers


def _needs(pools: Sequence[PoolConfig], rows: int, *, joined: bool) -> list[Needs]:
    """What the workers of each operator need.

    A given number of workers is requested at once, and nodes are started for them. Otherwise a pool on a
    joined cluster starts with one worker and grows with its backlog after the first video; idle workers and
    their nodes are released while the last long videos are processed. On a cluster of our own, pools with a
    GPU have a worker for each share, and the last of the others gets a quarter of the remaining CPUs, because
    the search takes most of the time.
    """
    cpus, gpus = cluster_size()
    sizes: list[tuple[int, int]] = []
    left = cpus if joined else max(1.0, cpus - sum(_shares(pool, gpus) * pool.cpus for pool in pools))
    for number, pool in enumerate(pools):
        if isinstance(pool.workers, tuple):
            sizes.append(pool.workers)
        elif pool.workers is not None:
            sizes.append((pool.workers, pool.workers))
        elif joined:
            sizes.append((1, rows))
        else:
            part = 1.0 if len(pools) == 1 else (0.75 if number == 0 else 0.25)
            most = max(1, _shares(pool, gpus) or int(part * left / pool.cpus))
            sizes.append((most, most))
    return [
        Needs(workers=most, least=least, cpus=pool.cpus, gpus=pool.share)
        for (least, most), pool in zip(sizes, pools, strict=True)
    ]


def _shares(pool: PoolConfig, gpus: float) -> int:
    """Number of a pool's workers for which so many GPUs suffice; 0 for a pool without GPUs."""
    return int(gpus / pool.share) if pool.share else 0


def _in_turn(
    items: Sequence[Item],
    run: Run,
    job: Job,
    stages: Sequence[Stage],
    observed: Mapping[str, Sequence[Path]],
) -> Iterator[Item]:
    """First the observations of cameras, then their plates, then all other work."""
    waiting = {item.record.video_id: item for item in items}
    sharing = {name: item for name, item in waiting.items() if item.shares is not None}
    for item in _complete(sharing, run, (Analyze, Observe)):
        if isinstance(item, Decided):
            del waiting[item.record.video_id]
        else:
            waiting[item.record.video_id] = item
        yield item
    cameras = {} if job.plates is None else cameras_of(waiting.values(), job.plates, observed)
    for _ in run(cameras, (BuildViews,)):
        pass  # a lost camera has no views, so its videos use their own background
    tasks = {name: with_views(item, cameras) for name, item in waiting.items()}
    yield from _complete(tasks, run, stages)


def _complete(tasks: Mapping[str, Item], run: Run, stages: Sequence[Stage]) -> Iterator[Item]:
    """All items; lost ones as failed."""
    lost = dict(tasks)
    for name, item in run(tasks, stages):
        del lost[name]
        yield item
    for item in lost.values():
        yield failed(item, "the worker process died at every attempt (a crash, or lack of memory)")


class _Tasks:
    """All stages in one actor: pickled tasks in and out, a format that Ray Data transfers unchanged."""

    def __init__(self, stages: Sequence[Stage], config: AnonymizeConfig, job: Job) -> None:
        self._work = StoreStages(stages, config, job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = self._work(pickle.loads(row["task"]))  # noqa: S301 — written by our own driver
        failed = isinstance(task, Decided) and task.status == "failed"
        fault = task.fault if isinstance(task, Decided) else ""
        return {"task": pickle.dumps(task), "fault": fault, "failed": failed}

    def self_test(self) -> None:
        """Test the stages on a known video; raises the machine's error."""
        self._work.self_test()
