"""Rows through a pool of actors on Ray Data: the one driver of `anonymize`, `prepare` and features.

What each setting is for (measured on Ray 2.60):

* One row a block and `max_errored_blocks=-1`: a row is its own failure domain. Stages catch what their
  input may raise, so a lost block means that a worker process died.
* `max_restarts=-1, max_task_retries=1`: an actor that died is restarted and tries once more. With the
  defaults a row that crashes its actor is retried for ever; with few restarts innocent rows are lost.
* One task in flight an actor: no row waits behind a long one while another actor is idle, and a crash
  loses only the row that caused it.
* Ray lists dropped blocks nowhere, so rows are compared with what was asked for, and lost rows get one
  more pass alone, where no other row's crash can hit them.
* Actors without a GPU see every GPU of their node unless CUDA is hidden from them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raymaskdp.distributed.connect import ray_cluster, work_in

Row = dict[str, Any]


def map_rows(
    rows: Sequence[Row], stage: type, *arguments: Any, workers: int, least: int = 1, gpus: float = 0.0
) -> Iterator[Row]:
    """What `stage(*arguments)` makes of each row, on a pool of actors; in any order, each at most once.

    Args:
      rows: each with a `name` of its own, which its result gets, too.
      stage: a class whose instances take a row and return one.
      arguments: of the class; they go into the object store once.
      workers: actors at most.
      least: actors at the start. Nodes are requested for these at once; for more than these once rows have
        been finished.
      gpus: share of a GPU that an actor holds.

    A row whose actor dies is tried once more, and then once more after all others, alone. One that ends its
    actor each time has no result. Runs on the cluster that was joined, or on a local one of its own.
    """
    if not rows:
        return
    lost = {row["name"]: row for row in rows}
    with ray_cluster():
        import ray

        shared = ray.put(arguments)
        for most in (workers, 1):
            if not lost:
                return
            most = min(most, len(lost))
            for row in _one_pass(list(lost.values()), stage, shared, (min(least, most), most), gpus):
                if lost.pop(row["name"], None) is not None:  # a row that is tried again may arrive twice
                    yield row


def _one_pass(rows: list[Row], stage: type, shared: Any, pool: tuple[int, int], gpus: float) -> Iterator[Row]:
    """One Ray Data pipeline on a pool of fewest and most actors; lost rows are missing."""
    import ray
    from ray.data.context import AutoscalingConfig

    context = ray.data.DataContext.get_current()
    # For a lost block Ray logs an error with its traceback. Whatever keeps that record keeps the pool, whose
    # actors then hold their CPUs, and on a small cluster the actors of the next pass wait for ever.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1  # a long row is not a hang
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # With one task in flight an actor the default, 1.75 tasks an actor, is never reached.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=1.0)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray announces an end to further actor options, but names no other way to limit retries.
        warnings.simplefilter("ignore")
        finished: Any = dataset.map(
            _Actor,  # type: ignore[arg-type]  # a class whose instances are called: what Ray documents
            fn_constructor_args=[stage, shared, gpus, Path.cwd()],
            compute=ray.data.ActorPoolStrategy(
                min_size=pool[0], max_size=pool[1], max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=gpus or None,
            max_restarts=-1,
            max_task_retries=1,
        )
    yield from finished.iter_rows()


class _Actor:
    """A stage in a Ray actor: one thread, and no accelerator but what it was given."""

    def __init__(self, stage: type, shared: Any, gpus: float, folder: Path) -> None:
        work_in(folder)
        if not gpus:
            # Actors without GPUs are not masked any more: they would all start on the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa draws in as many threads as there are CPUs
        import cv2
        import ray
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._stage = stage(*ray.get(shared))

    def __call__(self, row: Row) -> Row:
        made: Row = self._stage(row)
        return {**made, "name": row["name"]}
