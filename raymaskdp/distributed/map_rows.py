"""Map rows over a pool of actors on Ray Data: the only driver of `anonymize`, `prepare` and features.

The settings and their reasons (measured on Ray 2.60):

* One row a block and `max_errored_blocks=-1`: a row is its own failure domain. Stages catch the errors of
  their input, so a lost block means that a worker process died.
* `max_restarts=-1, max_task_retries=1`: a dead actor is restarted and retries once. With the defaults, a row
  that crashes its actor is retried for ever; with few restarts, other rows are lost.
* One task in flight for each actor: no row waits behind a long one while another actor is idle, and a crash
  loses only the row that caused it.
* Ray does not list dropped blocks, so results are compared with the requested rows, and lost rows get one
  more pass alone, where no other row's crash can affect them.
* An exception in an actor's `__init__` ends the whole pipeline, and `sys.exit` in it or in a call stops it
  for ever; both are caught here.
* A worker on a faulty machine fails at once and would consume the whole queue. After `FAILURES_TO_TEST`
  consecutive failures it runs its stage's self-test. If that fails, the worker is retired: it declines rows,
    with growing delays, and its failed rows get one more pass on other nodes. If that passes, the rows were
    at fault, and the next test follows after twice as many failures. A stage without a self-test is judged by
    that many equal faults. A worker that reports what its machine lacks, such as disk space, is retired at
    once.
* Actors without a GPU use every GPU of their node unless CUDA is hidden from them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.distributed.connect import ray_cluster, work_in
from raymaskdp.errors import MACHINE, UserError

_log = logging.getLogger(__name__)

Row = dict[str, Any]

FAILURES_TO_TEST = 3
"""Consecutive failures after which a worker tests itself. Three broken videos in a row are rare, and a test
takes about as long as one short video. Rows that fail on a faulty node before the test are retried elsewhere.
"""

CEILING = 20
"""Rows that retired workers decline without any success before the run ends."""

LONGEST_DECLINE_S = 30.0
"""Longest delay with which a retired worker returns a row, so that the others take more of them."""

_ABOUT = "about the worker"
"""Field of a row with its worker and that worker's state."""


def map_rows(
    rows: Sequence[Row], stage: type, *arguments: Any, workers: int, least: int = 1, gpus: float = 0.0
) -> Iterator[Row]:
    """The result of `stage(*arguments)` for each row, on a pool of actors; in any order, each at most once.

    Args:
      rows: each with a unique `name`, which its result gets, too.
      stage: a class whose instances take a row and return one. The result may have a `fault`: an error that
        its input did not cause, beginning with the kind of error and a colon; and `failed`: whether the row
        has no result, for any reason. Instances may have a method `self_test` that raises if the machine is
        faulty.
      arguments: of the class; they are put into the object store once.
      workers: largest number of actors.
      least: number of actors at the start. Nodes are requested for these at once, and for more after the
        first rows are finished.
      gpus: share of a GPU that an actor holds.

    Failed rows are returned after their worker has succeeded with another one, has passed its self-test, or
    all rows are done. A row whose actor dies is retried once, and then once more after all others, alone. A
    row that kills its actor each time, or raises, has no result. Raises `UserError` if all workers fail in
    the same way. Runs on the joined cluster, or on its own local one.
    """
    if not rows:
        return
    lost = {row["name"]: row for row in rows}
    with ray_cluster():
        import ray

        shared = ray.put(arguments)
        most = min(workers, len(rows))
        seen = _Seen(most)
        for again in (False, True):
            todo = [lost[name] for name in (seen.again(lost) if again else lost)]
            if todo:
                pool = _Pool(
                    least=min(least, most, len(todo)),
                    most=min(most, len(todo)),
                    gpus=gpus,
                    avoid=seen.nodes(),
                )
                with contextlib.closing(_one_pass(todo, stage, shared, pool)) as made:
                    yield from seen.good(made, lost)
        if lost:
            some = seen.some_good()
            alone = _Pool(least=1, most=1, gpus=gpus, avoid=seen.nodes(), last=some)
            last = _Seen(1, last=some)
            with contextlib.closing(_one_pass(list(lost.values()), stage, shared, alone)) as made:
                yield from last.good(made, lost)


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Actors of one pass.

    Attributes:
      least, most: their number.
      gpus: share of a GPU of each.
      avoid: nodes without actors.
      last: whether failed rows are given up, whatever the cause.
    """

    least: int
    most: int
    gpus: float
    avoid: frozenset[str] = frozenset()
    last: bool = False


class _Seen:
    """The results of rows, and the unreliable workers.

    Args:
      most: workers.
      last: whether failed rows may be given up, because others succeeded.
    """

    def __init__(self, most: int, *, last: bool = False) -> None:
        self._most = most
        self._last = last
        self._good = 0
        self._declined: set[Any] = set()
        self._held: dict[Any, tuple[Row, Row]] = {}  # failed rows, and their metadata
        self._retired: dict[str, str] = {}

    def good(self, rows: Iterator[Row], lost: dict[Any, Row]) -> Iterator[Row]:
        """Results, which are removed from `lost`; failed rows after their worker has succeeded, or at the
        end.

        Those of retired workers are not results. Raises `UserError` once all workers are retired.
        """
        for row in rows:
            if row["name"] not in lost:  # a retried row may arrive twice
                continue
            about = row.pop(_ABOUT)
            if about["retired"]:
                self._retired[about["actor"]] = about["node"]
                self._require_some_left(about["fault"])
            if about["declined"]:
                self._declined.add(row["name"])
                continue
            if about["failed"]:
                self._held[row["name"]] = (row, about)
            else:
                self._good += 1
                del lost[row["name"]]
                yield row
            if about["in_order"]:
                yield from self._released({about["actor"]}, lost)
        yield from self._released({about["actor"] for _, about in self._held.values()}, lost)

    def _released(self, actors: set[str], lost: dict[Any, Row]) -> Iterator[Row]:
        """Failed rows of these workers, no longer held back; those of retired ones are retried by others."""
        theirs = [name for name, (_, about) in self._held.items() if about["actor"] in actors]
        for name in theirs:
            row, about = self._held.pop(name)
            if about["actor"] in self._retired:
                self._declined.add(name)
            elif name in lost and about["result"]:
                del lost[name]
                yield row

    def some_good(self) -> bool:
        """Whether any row had a result."""
        return bool(self._good)

    def again(self, lost: Mapping[Any, Row]) -> list[Any]:
        """Rows for another worker to retry, because they were not at fault."""
        return [name for name in lost if name in self._declined]

    def nodes(self) -> frozenset[str]:
        """Nodes with retired workers; none if no other node would be left."""
        import ray

        sick = frozenset(self._retired.values())
        return sick if {node["NodeID"] for node in ray.nodes() if node["Alive"]} - sick else frozenset()

    def _require_some_left(self, fault: str) -> None:
        if self._last:
            return
        if len(self._retired) >= self._most or (not self._good and len(self._declined) >= CEILING):
            said = fault.rstrip(".")
            raise UserError(
                f"Every worker fails ({said}); fix that (see `raymaskdp doctor`) and run the command again."
            )


def _one_pass(rows: list[Row], stage: type, shared: Any, pool: _Pool) -> Generator[Row, None, None]:
    """One Ray Data pipeline on a pool of actors; lost rows are missing."""
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
    elsewhere: dict[str, Any] = {}
    if pool.avoid:
        elsewhere["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(pool.avoid))})"}
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray has deprecated further actor options, but has no other way to limit retries.
        warnings.simplefilter("ignore")
        finished: Any = dataset.map(
            _Actor,  # type: ignore[arg-type]  # a class with callable instances, as Ray documents
            fn_constructor_args=[stage, shared, Path.cwd(), pool],
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            num_gpus=pool.gpus or None,
            max_restarts=-1,
            max_task_retries=1,
            **elsewhere,
        )
    yield from finished.iter_rows()


class _Actor:
    """A stage in a Ray actor: one thread, and no accelerator except the assigned one."""

    def __init__(self, stage: type, shared: Any, folder: Path, pool: _Pool) -> None:
        work_in(folder)
        if not pool.gpus:
            # Ray no longer masks GPUs for actors without GPUs, so all of them would use the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa uses as many threads as there are CPUs
        import cv2
        import ray
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        context = ray.get_runtime_context()
        self._where = {"node": context.get_node_id(), "actor": context.get_actor_id()}
        self._pool = pool
        self._faults: list[str] = []
        self._failures = 0
        self._patience = FAILURES_TO_TEST
        self._declined = 0
        self._broken = ""
        try:
            self._stage = stage(*ray.get(shared))
        except (Exception, SystemExit) as error:  # noqa: BLE001 — Ray would end the run for it
            self._broken = _said(error)

    def __call__(self, row: Row) -> Row:
        if self._broken:
            time.sleep(min(2.0**self._declined, LONGEST_DECLINE_S) if self._declined else 0)
            self._declined += 1
            return self._answer(row, {}, fault=self._broken, declined=True)
        try:
            made: Row = self._stage(row)
        except (Exception, SystemExit) as error:  # noqa: BLE001 — Ray would wait for ever for some of them
            _log.exception("The row %s failed.", row["name"])
            return self._answer(row, {}, fault=_said(error), failed=True)
        fault = made.pop("fault", "")
        return self._answer(row, made, fault=fault, failed=made.pop("failed", bool(fault)), result=True)

    def _answer(
        self,
        row: Row,
        made: Row,
        *,
        fault: str,
        declined: bool = False,
        failed: bool = False,
        result: bool = False,
    ) -> Row:
        in_order = not declined and self._in_order(fault, failed)
        about = {
            **self._where,
            "fault": self._broken or fault,
            "declined": declined,
            "failed": failed,
            "result": result,
            "in_order": in_order,
            "retired": bool(self._broken),
        }
        return {**made, "name": row["name"], _ABOUT: about}

    def _in_order(self, fault: str, failed: bool) -> bool:
        """Whether this row shows that the worker is working; otherwise it is marked as broken."""
        self._failures = self._failures + 1 if failed else 0
        self._faults = [*self._faults, fault][-FAILURES_TO_TEST:] if fault else []
        if fault.startswith(MACHINE) and not self._pool.last:
            self._broken = fault.removeprefix(MACHINE)
            return False
        test = getattr(self._stage, "self_test", None)
        if test is None:
            kinds = {text.split(":")[0] for text in self._faults}
            if len(self._faults) == FAILURES_TO_TEST and len(kinds) == 1 and self._pool.most > 1:
                self._broken = fault
        elif self._failures == self._patience and not self._pool.last:
            try:
                test()
            except (Exception, SystemExit) as error:  # noqa: BLE001 — whatever it is, the machine is at fault
                _log.exception("The self-test of a worker failed.")
                self._broken = f"the self-test says: {_said(error)}"
                return False
            self._failures, self._patience = 0, 2 * self._patience
            return True
        return not failed


def _said(error: BaseException) -> str:
    """An error in one line, with its class; a `UserError` without it."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
