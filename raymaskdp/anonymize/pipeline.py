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
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Item
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize, failed
from raymaskdp.runtime import ray_cluster

STAGES = (Analyze, Synthesize)
Stage = Callable[[AnonymizeConfig, Job], Callable[[Item], Item]]


def in_process(
    items: Sequence[Item], config: AnonymizeConfig, job: Job, *, stages: Sequence[Stage] = STAGES
) -> Iterator[Item]:
    """The stages called one after the other, without Ray; decided items in the order given."""
    ready = [stage(config, job) for stage in stages]
    for item in items:
        for stage in ready:
            item = stage(item)
        yield item


def on_ray(
    items: Sequence[Item], config: AnonymizeConfig, job: Job, *, stages: Sequence[Stage] = STAGES
) -> Iterator[Item]:
    """The stages as actor pools on a Ray cluster; decided items as they are finished.

    Every item given comes back exactly once. One whose worker dies again and again, from a crash or for
    want of memory, comes back failed.
    """
    if not items:
        return
    with ray_cluster(config.address, num_cpus=config.workers) as joined:
        room = config.workers or (len(items) if joined else _num_cpus())
        lost = {item.record.video_id: item for item in items}
        metrics = _Metrics()
        # First all of them on all workers, then the lost ones alone.
        for most in (min(room, len(items)), 1):
            if not lost:
                return
            # On a cluster the pool starts with one worker, grows with the backlog as nodes come, and lets
            # idle workers go, and with them their nodes, while the last long videos are worked on.
            pool = (1 if joined else most, most)
            for item in _run(list(lost.values()), config, job, stages, pool=pool):
                if lost.pop(item.record.video_id, None) is not None:  # a retried row may arrive twice
                    metrics.count(item, waiting=len(lost))
                    yield item
        for item in lost.values():
            item = failed(item, "the worker process died at every try (a crash, or not enough memory)")
            metrics.count(item, waiting=0)
            yield item


def _run(
    items: Sequence[Item],
    config: AnonymizeConfig,
    job: Job,
    stages: Sequence[Stage],
    *,
    pool: tuple[int, int],
) -> Iterator[Item]:
    """One pass of a Ray Data pipeline on a pool of fewest and most workers; lost items are missing."""
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
    rows = [{"item": pickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray announces an end to further actor options, but names no other way to limit retries.
        warnings.simplefilter("ignore")
        finished: Any = dataset.map(
            _Worker,  # type: ignore[arg-type]  # a class whose instances are called: what Ray documents
            fn_constructor_args=[stages, config, job],
            compute=ray.data.ActorPoolStrategy(
                min_size=pool[0], max_size=pool[1], max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=config.gpus or None,
            max_restarts=-1,
            max_task_retries=1,
        )
    for row in finished.iter_rows():
        yield pickle.loads(row["item"])  # noqa: S301 — written by our own actors


class _Worker:
    """All stages inside one Ray actor: one thread, and no accelerator but what it was given."""

    def __init__(self, stages: Sequence[Stage], config: AnonymizeConfig, job: Job) -> None:
        if not config.gpus:
            # Actors without GPUs are not masked any more: they would all start on the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import cv2
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._stages = [stage(config, job) for stage in stages]

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        item = pickle.loads(row["item"])  # noqa: S301 — written by our own driver
        for stage in self._stages:
            item = stage(item)
        return {"item": pickle.dumps(item)}


METRICS = {
    "raymaskdp_videos": "videos decided, by status (done, quarantined, failed)",
    "raymaskdp_frames": "frames of decided videos, by status",
    "raymaskdp_stage_seconds": "working time of all workers in each stage, by stage",
    "raymaskdp_videos_waiting": "videos that are not decided yet",
}
"""What a run says of itself on Ray's metrics port, each under the prefix `ray_`; counters end in `_total`."""


class _Metrics:
    """Figures of a run for Prometheus; sums over videos only, nothing of a single one."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge

        videos, frames, seconds, waiting = METRICS
        self._videos = Counter(videos, METRICS[videos], tag_keys=("status",))
        self._frames = Counter(frames, METRICS[frames], tag_keys=("status",))
        self._seconds = Counter(seconds, METRICS[seconds], tag_keys=("stage",))
        self._waiting = Gauge(waiting, METRICS[waiting])

    def count(self, item: Item, *, waiting: int) -> None:
        """Enter a decided item; `waiting` videos are left."""
        self._videos.inc(1, tags={"status": item.status})
        if item.info is not None and item.info.num_frames:
            self._frames.inc(item.info.num_frames, tags={"status": item.status})
        for name, value in item.metrics.items():
            if name.startswith("seconds_") and value > 0:
                self._seconds.inc(value, tags={"stage": name.removeprefix("seconds_")})
        self._waiting.set(waiting)


def _num_cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
