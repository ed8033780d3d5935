"""The stages on Ray Data. The only file of `anonymize` that knows Ray.

What each setting is for (measured on Ray 2.60):

* One row a block and `max_errored_blocks=-1`: a video is its own failure domain. Exceptions are caught
  inside the stages, so a lost block means that a worker process died.
* `max_restarts=-1, max_task_retries=1`: an actor that died comes back and tries once more. With the
  defaults a segfaulting video loops for ever; with few restarts innocent videos are lost.
* One task in flight an actor: nothing waits behind a long video while another actor is idle, and
  nothing is lost with a crash but its cause.
* Dropped blocks are listed nowhere, so rows are reconciled against what was asked for, and lost
  videos get one more chance alone, where nobody else's crash can hit them.
* The stages need the same hardware, so they are one operator: several that reserve CPUs deadlock a
  small cluster, and each would load the networks and the body again.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Item
from raymaskdp.anonymize.object_store import Carried, Stage
from raymaskdp.anonymize.shared_background import BuildViews, Observe, cameras_of, with_views
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize, failed
from raymaskdp.distributed.connect import ray_cluster, work_in

STAGES = (Analyze, Synthesize)
Tasks = Mapping[str, Any]
Run = Callable[[Tasks, Sequence[Stage]], Iterator[tuple[str, Any]]]
"""Takes tasks by name through stages. Each comes back once, or not at all where its worker died."""

NONE_OBSERVED: Mapping[str, Sequence[Path]] = MappingProxyType({})


def in_process(
    items: Sequence[Item],
    config: AnonymizeConfig,
    job: Job,
    *,
    stages: Sequence[Stage] = STAGES,
    observed: Mapping[str, Sequence[Path]] = NONE_OBSERVED,
) -> Iterator[Item]:
    """The stages called one after the other, without Ray; decided items in the order given.

    Args:
      observed: observations of earlier runs, by camera (`shared_background`).

    Videos that lend their camera's other videos a background come first, and twice: pending, once they
    have been analyzed, and decided.
    """

    def run(tasks: Tasks, stages: Sequence[Stage]) -> Iterator[tuple[str, Any]]:
        work = Carried(stages, config, job)
        for name, task in tasks.items():
            yield name, work(task)

    yield from _in_turn(items, run, job, stages, observed)


def on_ray(
    items: Sequence[Item],
    config: AnonymizeConfig,
    job: Job,
    *,
    stages: Sequence[Stage] = STAGES,
    observed: Mapping[str, Sequence[Path]] = NONE_OBSERVED,
) -> Iterator[Item]:
    """The same with actor pools on a Ray cluster; decided items as they are finished.

    Every item given comes back decided exactly once. One whose worker dies again and again, from a crash
    or for want of memory, comes back failed.
    """
    if not items:
        return
    with ray_cluster(config.address, num_cpus=config.workers) as joined:

        def run(tasks: Tasks, stages: Sequence[Stage]) -> Iterator[tuple[str, Any]]:
            room = config.workers or (len(tasks) if joined else _num_cpus())
            lost = dict(tasks)
            # First all of them on all workers, then the lost ones alone.
            for most in (min(room, len(tasks)), 1):
                if not lost:
                    return
                # So many workers as were asked for are asked for at once, and nodes come for them. Else the
                # pool on a cluster starts with one and grows with the backlog, as soon as a first video is
                # done; idle workers are let go, and their nodes, while the last long videos are worked on.
                pool = (1 if joined and config.workers is None else most, most)
                for name, task in _run(lost.copy(), config, job, stages, pool=pool):
                    if lost.pop(name, None) is not None:  # a retried row may arrive twice
                        yield name, task

        metrics, waiting = _Metrics(min(config.workers or _num_cpus(), len(items))), len(items)
        for item in _in_turn(items, run, job, stages, observed):
            if item.status != "pending":
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
    """First what cameras need to know, then their plates, then everything else."""
    waiting = {item.record.video_id: item for item in items}
    lending = {name: item for name, item in waiting.items() if item.lends}
    for item in _complete(lending, run, (Analyze, Observe)):
        if item.status != "pending":
            del waiting[item.record.video_id]
        else:
            waiting[item.record.video_id] = item
        yield item
    cameras = {} if job.plates is None else cameras_of(waiting.values(), job.plates, observed)
    for _ in run(cameras, (BuildViews,)):
        pass  # a camera that is lost has no views, and its videos are left to themselves
    tasks = {name: with_views(item, cameras) for name, item in waiting.items()}
    yield from _complete(tasks, run, stages)


def _complete(tasks: Mapping[str, Item], run: Run, stages: Sequence[Stage]) -> Iterator[Item]:
    """All items, those that were lost as failed ones."""
    lost = dict(tasks)
    for name, item in run(tasks, stages):
        del lost[name]
        yield item
    for item in lost.values():
        yield failed(item, "the worker process died at every try (a crash, or not enough memory)")


def _run(
    tasks: Tasks,
    config: AnonymizeConfig,
    job: Job,
    stages: Sequence[Stage],
    *,
    pool: tuple[int, int],
) -> Iterator[tuple[str, Any]]:
    """One pass of a Ray Data pipeline on a pool of fewest and most workers; lost tasks are missing."""
    import ray
    from ray.data.context import AutoscalingConfig

    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1  # a long video is not a hang
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # With one task in flight an actor the default, 1.75 tasks an actor, is never reached.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=1.0)
    rows = [{"name": name, "task": pickle.dumps(task)} for name, task in tasks.items()]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray announces an end to further actor options, but names no other way to limit retries.
        warnings.simplefilter("ignore")
        finished: Any = dataset.map(
            _Worker,  # type: ignore[arg-type]  # a class whose instances are called: what Ray documents
            fn_constructor_args=[stages, config, job, Path.cwd()],
            compute=ray.data.ActorPoolStrategy(
                min_size=pool[0], max_size=pool[1], max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=config.gpus or None,
            max_restarts=-1,
            max_task_retries=1,
        )
    for row in finished.iter_rows():
        yield row["name"], pickle.loads(row["task"])  # noqa: S301 — written by our own actors


class _Worker:
    """All stages inside one Ray actor: one thread, and no accelerator but what it was given."""

    def __init__(self, stages: Sequence[Stage], config: AnonymizeConfig, job: Job, folder: Path) -> None:
        work_in(folder)
        if not config.gpus:
            # Actors without GPUs are not masked any more: they would all start on the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa draws in as many threads as there are CPUs
        import cv2
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._work = Carried(stages, config, job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = self._work(pickle.loads(row["task"]))  # noqa: S301 — written by our own driver
        return {"name": row["name"], "task": pickle.dumps(task)}


METRICS = {
    "raymaskdp_videos": "videos decided, by status (done, quarantined, failed)",
    "raymaskdp_frames": "frames of decided videos, by status",
    "raymaskdp_stage_seconds": "working time of all workers in each stage, by stage",
    "raymaskdp_stage_frames": "frames that went through each stage, by stage",
    "raymaskdp_videos_waiting": "videos that are not decided yet",
    "raymaskdp_utilisation": "working time as a share of all workers' time since the run began",
    "raymaskdp_seconds_left": "estimate, from the videos decided so far and what they took",
}
"""What a run says of itself on Ray's metrics port, each under the prefix `ray_`; counters end in `_total`."""


@dataclass(kw_only=True)
class Flow:
    """How fast a run gets on.

    Attributes:
      workers: how many there are at most.
      working: seconds of all workers on decided videos, analysis included.
      decided: videos.
    """

    workers: int
    working: float = 0.0
    decided: int = 0

    def add(self, item: Item) -> None:
        """Enter a decided item."""
        self.working += item.seconds
        self.decided += 1

    def utilisation(self, elapsed: float) -> float:
        """Share of the workers' time in which they worked on what is decided, after `elapsed` seconds."""
        return self.working / max(self.workers * elapsed, 1e-9)

    def seconds_left(self, elapsed: float, waiting: int) -> float:
        """For the `waiting` videos, if they take what the decided ones took."""
        return elapsed * waiting / max(self.decided, 1)


class _Metrics:
    """Figures of a run for Prometheus; sums over videos only, nothing of a single one."""

    def __init__(self, workers: int) -> None:
        from ray.util.metrics import Counter, Gauge

        def counter(name: str, tag: str) -> Any:
            return Counter(name, METRICS[name], tag_keys=(tag,))

        def gauge(name: str) -> Any:
            return Gauge(name, METRICS[name])

        self._videos = counter("raymaskdp_videos", "status")
        self._frames = counter("raymaskdp_frames", "status")
        self._seconds = counter("raymaskdp_stage_seconds", "stage")
        self._stage_frames = counter("raymaskdp_stage_frames", "stage")
        self._waiting = gauge("raymaskdp_videos_waiting")
        self._utilisation = gauge("raymaskdp_utilisation")
        self._left = gauge("raymaskdp_seconds_left")
        self._flow = Flow(workers=workers)
        self._began = time.monotonic()

    def count(self, item: Item, *, waiting: int) -> None:
        """Enter a decided item; `waiting` videos are left."""
        self._videos.inc(1, tags={"status": item.status})
        frames = item.info.num_frames if item.info is not None else 0
        if frames:
            self._frames.inc(frames, tags={"status": item.status})
        for name, value in item.metrics.items():
            if name.startswith("seconds_") and value > 0:
                stage = {"stage": name.removeprefix("seconds_")}
                self._seconds.inc(value, tags=stage)
                if frames:
                    self._stage_frames.inc(frames, tags=stage)
        self._flow.add(item)
        elapsed = time.monotonic() - self._began
        self._waiting.set(waiting)
        self._utilisation.set(self._flow.utilisation(elapsed))
        self._left.set(self._flow.seconds_left(elapsed, waiting))


def _num_cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
