"""The list of stages, and their execution: in this process, or by the workers of a Ray cluster.

The stages need the same hardware, so they are one operator: several operators that reserve CPUs deadlock a
small cluster, and each would load the networks and the body again. `distributed.map_rows` ensures that a
video that kills its worker costs no other video.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item
from raymaskdp.anonymize.object_store import Stage, StoreStages
from raymaskdp.anonymize.outcome import failed
from raymaskdp.anonymize.run_locally import run_locally
from raymaskdp.anonymize.run_metrics import RunMetrics
from raymaskdp.anonymize.shared_background import BuildViews, Observe, cameras_of, with_views
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize
from raymaskdp.distributed.connect import num_cpus, on_other_nodes, ray_cluster
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.errors import UserError

STAGES = (Analyze, Synthesize)
Tasks = Mapping[str, Any]
Run = Callable[[Tasks, Sequence[Stage]], Iterator[tuple[str, Any]]]
"""Runs tasks by name through stages. Each comes back once, or not at all if its worker died."""

NONE_OBSERVED: Mapping[str, Sequence[Path]] = MappingProxyType({})


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
    stages: Sequence[Stage] = STAGES,
    observed: Mapping[str, Sequence[Path]] = NONE_OBSERVED,
) -> Iterator[Item]:
    """The same with actor pools on a Ray cluster; decided items in the order of completion.

    Every item comes back decided exactly once. An item whose worker dies repeatedly, by a crash or for lack
    of memory, comes back as failed. Raises `UserError` before any work if another node cannot read the
    secret, or when no worker is reliable.
    """
    if not items:
        return
    with ray_cluster(config.address, num_cpus=config.workers) as joined:
        for refusal in filter(None, on_other_nodes(job.secret.refusal)):
            raise UserError(refusal)

        def run(tasks: Tasks, stages: Sequence[Stage]) -> Iterator[tuple[str, Any]]:
            most = config.workers or (len(tasks) if joined else num_cpus())
            # A given number of workers is requested at once, and nodes are started for them. Otherwise the
            # pool on a cluster starts with one worker and grows with the backlog after the first video; idle
            # workers and their nodes are released while the last long videos are processed.
            least = 1 if joined and config.workers is None else most
            rows = [{"name": name, "task": pickle.dumps(task)} for name, task in tasks.items()]
            for row in map_rows(
                rows, _Tasks, stages, config, job, workers=most, least=least, gpus=config.gpus
            ):
                yield row["name"], pickle.loads(row["task"])  # noqa: S301 — written by our own actors

        metrics = RunMetrics(lambda: min(config.workers or num_cpus(), len(items)))
        waiting = len(items)
        for item in _in_turn(items, run, job, stages, observed):
            if isinstance(item, Decided):
                waiting -= 1
                metrics.count(item, waiting=waiting)
            yield item


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
