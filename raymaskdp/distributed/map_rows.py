"""Map rows over pools of actors on Ray Data: the only driver of `anonymize`, `prepare` and features.

Each stage with its needs is one operator with a pool of its own; all of them are one pipeline. The settings
and their reasons (measured on Ray 2.60):

* One row a block and `max_errored_blocks=-1`: a row is its own failure domain. Stages catch the errors of
  their input, so a lost block means that a worker process died.
* Ray Data restarts a dead actor and retries its row for ever. So workers count how often a row was begun
  (`tries.Tries`), and give it up after `worker.MOST_TRIES`.
* One task in flight for each actor: no row waits behind a long one while another actor is idle.
* Ray does not list dropped blocks, so results are compared with the requested rows, and lost rows get one
  more pass alone, where no other row's crash can affect them.
* An exception in an actor's `__init__` ends the whole pipeline, and `sys.exit` in it or in a call stops it
  for ever; both are caught (`worker`).
* A worker on a faulty machine is retired (`worker`), and its failed rows get one more pass on other nodes.
* Results of a pool can be kept in a folder, so that a crash in a later pool does not repeat its work.
* A row that failed or was declined passes through the later pools unchanged.
* Every pool holds at least one worker from the beginning, because Ray Data does not start one where the
  others have taken all CPUs; `pools.fitted` ensures that they fit.
* Actors without a GPU use every GPU of their node unless CUDA is hidden from them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.distributed.connect import cluster_size, ray_cluster, work_in
from raymaskdp.distributed.kept import KeptResults
from raymaskdp.distributed.pools import Needs, WorkerPool, fitted
from raymaskdp.distributed.results import RowResults
from raymaskdp.distributed.tries import count_tries
from raymaskdp.distributed.worker import PoolPlace, Row, RowWorker


def map_rows(
    rows: Sequence[Row], pools: Sequence[WorkerPool], *, keep: Path | None = None, ahead: int = 1
) -> Iterator[Row]:
    """The result of all stages for each row, on a pool of actors each; in any order, each at most once.

    Args:
      rows: each with a unique `name`, which its results get, too.
      pools: stages and their needs. A stage is a class whose instances take a row and return one, the input
        of the next stage. The result may have a `fault`: an error that its input did not cause, beginning
        with the kind of error and a colon; and `failed`: whether the row has no result, for any reason.
        Instances may have a method `self_test` that raises if the machine is faulty. Their arguments are put
        into the object store once.
      keep: a private folder that all workers can access, for the results of all pools but the last, until the
        row is finished; None to repeat them after a crash in a later pool.
      ahead: number of kept results that may wait for the next pool; above it, workers wait.

    Failed rows are returned after their worker has succeeded with another one, has passed its self-test, or
    all rows are done. A row whose actor dies is retried once, and then once more after all others, alone. A
    row that kills its actor each time, or raises, has no result. Raises `UserError` if all workers of a pool
    fail in the same way, or if the cluster has no GPU for one of the pools beside the others. Runs on the
    joined cluster, or on its own local one.
    """
    if not rows:
        return
    lost = {row["name"]: row for row in rows}
    with ray_cluster():
        import ray

        shared = [ray.put(pool.arguments) for pool in pools]
        needs = [pool.needs.at_most(len(rows)) for pool in pools]
        cpus, gpus = cluster_size()
        seen = RowResults([one.workers for one in needs])
        for again in (False, True):
            todo = [lost[name] for name in (seen.again(lost) if again else lost)]
            if todo:
                some = fitted([one.at_most(len(todo)) for one in needs], cpus=cpus, gpus=gpus)
                many = _Pass(pools=pools, shared=shared, needs=some, keep=keep, ahead=ahead)
                with contextlib.closing(_run(todo, many, seen)) as made:
                    yield from _forgotten(seen.good(made, lost), keep, len(pools))
        if lost:
            single = fitted([one.at_most(1) for one in needs], cpus=cpus, gpus=gpus)
            last = RowResults([1] * len(pools), last=seen.some_good())
            alone = _Pass(
                pools=pools, shared=shared, needs=single, keep=keep, ahead=ahead, last=seen.some_good()
            )
            with contextlib.closing(_run(list(lost.values()), alone, seen)) as made:
                yield from _forgotten(last.good(made, lost), keep, len(pools))


def _forgotten(rows: Iterator[Row], keep: Path | None, pools: int) -> Iterator[Row]:
    """The finished rows, whose kept results are removed."""
    for row in rows:
        if keep is not None:
            KeptResults(keep).forget(row["name"], pools)
        yield row


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pass:
    """One pass of rows through all pools.

    Attributes:
      pools: the stages.
      shared: references to their arguments.
      needs: the workers of this pass.
      keep, ahead: as in `map_rows`.
      last: whether failed rows are given up, whatever the cause.
    """

    pools: Sequence[WorkerPool]
    shared: Sequence[Any]
    needs: Sequence[Needs]
    keep: Path | None
    ahead: int
    last: bool = False


def _run(rows: list[Row], one: _Pass, seen: RowResults) -> Generator[Row, None, None]:
    """One Ray Data pipeline with an operator for each pool; lost rows are missing."""
    import ray
    from ray.data.context import AutoscalingConfig

    context = ray.data.DataContext.get_current()
    # For a lost block Ray logs an error with its traceback. Any reference to that record keeps the pool,
    # whose actors then hold their CPUs, and on a small cluster the actors of the next pass wait for ever.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1  # a long row is not a hang
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # With one task in flight an actor the default, 1.75 tasks an actor, is never reached.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=1.0)
    tries = count_tries()
    finished: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
    for number, (pool, needs) in enumerate(zip(one.pools, one.needs, strict=True)):
        place = PoolPlace(
            number=number,
            final=number == len(one.pools) - 1,
            alone=needs.workers == 1,
            gives_up=one.last,
            kept=one.keep,
            ahead=one.ahead,
        )
        elsewhere: dict[str, Any] = {}
        if avoid := _avoided(seen.sick(number), needs):
            elsewhere["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}
        finished = finished.map(
            _RowActor,
            fn_constructor_args=[pool.stage, one.shared[number], Path.cwd(), place, needs.gpus, tries],
            compute=ray.data.ActorPoolStrategy(
                min_size=needs.least, max_size=needs.workers, max_tasks_in_flight_per_actor=1
            ),
            num_cpus=needs.cpus,
            num_gpus=needs.gpus or None,
            **elsewhere,
        )
    yield from finished.iter_rows()


def _avoided(sick: frozenset[str], needs: Needs) -> frozenset[str]:
    """The nodes with retired workers; none if no other node has what a worker needs."""
    import ray

    others = [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] not in sick
        and node["Resources"].get("CPU", 0) >= needs.cpus
        and node["Resources"].get("GPU", 0) >= needs.gpus
    ]
    return sick if others else frozenset()


class _RowActor(RowWorker):
    """A worker in a Ray actor: one thread, and no accelerator except the assigned one."""

    def __init__(
        self, stage: type, shared: Any, folder: Path, place: PoolPlace, gpus: float, tries: Any
    ) -> None:
        work_in(folder)
        if not gpus:
            # Ray no longer masks GPUs for actors without GPUs, so all of them would use the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa uses as many threads as there are CPUs
        os.environ["OMP_NUM_THREADS"] = "1"  # torch's, if the stage imports it
        import cv2
        import ray

        cv2.setNumThreads(1)
        if "torch" in sys.modules:  # imported with the stage's module, before the line above
            sys.modules["torch"].set_num_threads(1)
        context = ray.get_runtime_context()
        where = {"node": context.get_node_id(), "actor": str(context.get_actor_id())}

        def begin(name: str) -> int:
            return int(ray.get(tries.begin.remote(place.number, name)))

        super().__init__(lambda: stage(*ray.get(shared)), where, place, begin)
