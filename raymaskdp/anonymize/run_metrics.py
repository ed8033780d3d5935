"""Metrics of a run for Prometheus: videos, frames, seconds of each stage, and an estimate of the remaining
time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from raymaskdp.anonymize.item import Decided
from raymaskdp.distributed import metrics

METRICS = {
    "raymaskdp_videos": "videos decided, by status (done, quarantined, failed)",
    "raymaskdp_frames": "frames of decided videos, by status",
    "raymaskdp_stage_seconds": "working time of all workers in each stage, by stage",
    "raymaskdp_stage_frames": "frames that went through each stage, by stage",
    "raymaskdp_videos_waiting": "videos that are not decided yet",
    "raymaskdp_utilisation": "working time as a share of all workers' time since the run began",
    "raymaskdp_seconds_left": "estimate, from the videos decided so far and what they took",
}
"""Metrics on Ray's metrics port, each with the prefix `ray_`; counters end in `_total`."""


@dataclass(kw_only=True)
class Throughput:
    """The speed of a run.

    Attributes:
      workers: number of workers, present or on average.
      working: seconds of all workers on decided videos, including their analysis.
      decided: videos.
    """

    workers: float
    working: float = 0.0
    decided: int = 0

    def add(self, item: Decided) -> None:
        """Add a decided item."""
        self.working += item.seconds
        self.decided += 1

    def utilisation(self, elapsed: float) -> float:
        """Share of the workers' time spent on decided videos, in [0, 1], after `elapsed` seconds."""
        return min(1.0, self.working / max(self.workers * elapsed, 1e-9))

    def seconds_left(self, elapsed: float, waiting: int) -> float:
        """Estimate for the `waiting` videos, from the time of the decided ones."""
        return elapsed * waiting / max(self.decided, 1)


class RunMetrics:
    """Metrics of a run for Prometheus; only sums over videos, nothing about a single one."""

    def __init__(self, workers: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`workers` returns the present number of workers; at first it is one if the head has no CPUs."""

        def counted(name: str, tag: str) -> Callable[[float, str], None]:
            return metrics.counter(name, METRICS[name], tag=tag)

        def shown(name: str) -> Callable[[float], None]:
            return metrics.gauge(name, METRICS[name])

        self._videos = counted("raymaskdp_videos", "status")
        self._frames = counted("raymaskdp_frames", "status")
        self._seconds = counted("raymaskdp_stage_seconds", "stage")
        self._stage_frames = counted("raymaskdp_stage_frames", "stage")
        self._waiting = shown("raymaskdp_videos_waiting")
        self._utilisation = shown("raymaskdp_utilisation")
        self._left = shown("raymaskdp_seconds_left")
        self._workers, self._clock = workers, clock
        self._throughput = Throughput(workers=workers())
        self._began = self._counted = clock()
        self._worker_seconds = 0.0

    def count(self, item: Decided, *, waiting: int) -> None:
        """Add a decided item; `waiting` videos are left."""
        self._videos(1, item.status)
        frames = item.info.num_frames if item.info is not None else 0
        if frames:
            self._frames(frames, item.status)
        for name, value in item.metrics.items():
            if name.startswith("seconds_") and value > 0:
                stage = name.removeprefix("seconds_")
                self._seconds(value, stage)
                if frames:
                    self._stage_frames(frames, stage)
        self._throughput.add(item)
        now = self._clock()
        elapsed = now - self._began
        self._worker_seconds += self._workers() * (now - self._counted)
        self._counted = now
        self._throughput.workers = self._worker_seconds / max(elapsed, 1e-9)
        self._waiting(waiting)
        self._utilisation(self.utilisation())
        self._left(self._throughput.seconds_left(elapsed, waiting))

    def utilisation(self) -> float:
        """Share of the workers' time spent on decided videos, until the last decision."""
        return self._throughput.utilisation(self._counted - self._began)
