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
* An exception in an actor's `__init__` ends the whole pipeline, and `sys.exit` in it or in a call stops it
  for ever: both are caught here.
* A worker on a sick machine fails at once and would take the whole queue. After `FAILURES_TO_TEST` failures
  in a row it tries its stage's self-test. If that fails it is retired: it declines rows, ever more slowly,
  and what it had gets one more pass on other nodes. If that passes the rows were at fault, and the next test
  is after twice as many. A stage without a self-test is judged by that many equal faults. A worker that says
  what the machine lacks, such as disk space, is believed at once.
* Actors without a GPU see every GPU of their node unless CUDA is hidden from them.
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
"""Failures in a row after which a worker tests itself. Three broken videos in a row are rare, and a test
takes about as long as one short video. What a sick node fails until then is tried again elsewhere."""

CEILING = 20
"""Rows that retired workers decline while no row at all succeeds, after which the run ends."""

LONGEST_DECLINE_S = 30.0
"""A worker that was retired gives back a row after at most so long, so that others take more of them."""

_ABOUT = "about the worker"
"""Where a row says which worker it comes from and how it did."""


def map_rows(
    rows: Sequence[Row], stage: type, *arguments: Any, workers: int, least: int = 1, gpus: float = 0.0
) -> Iterator[Row]:
    """What `stage(*arguments)` makes of each row, on a pool of actors; in any order, each at most once.

    Args:
      rows: each with a `name` of its own, which its result gets, too.
      stage: a class whose instances take a row and return one. The result may have a `fault`: what went wrong
        through no fault of its input, beginning with the kind of error and a colon; and `failed`: whether
        nothing came of the row, whatever was at fault. Instances may have a method `self_test` that raises
        where the machine is not in order.
      arguments: of the class; they go into the object store once.
      workers: actors at most.
      least: actors at the start. Nodes are requested for these at once; for more than these once rows have
        been finished.
      gpus: share of a GPU that an actor holds.

    Failed rows come once their worker has done another one, has passed its self-test, or all are done.
    A row whose actor dies is tried once more, and then once more after all others, alone. One that ends its
    actor each time, or raises, has no result. Raises `UserError` if all workers fail alike.
    Runs on the cluster that was joined, or on a local one of its own.
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
      least, most: how many.
      gpus: share of a GPU of each.
      avoid: nodes on which there are to be none.
      last: whether what fails now is given up, whatever is at fault.
    """

    least: int
    most: int
    gpus: float
    avoid: frozenset[str] = frozenset()
    last: bool = False


class _Seen:
    """What came of rows, and which workers are not to be relied on.

    Args:
      most: workers.
      last: whether rows that are not done now may be given up, since others were done.
    """

    def __init__(self, most: int, *, last: bool = False) -> None:
        self._most = most
        self._last = last
        self._good = 0
        self._declined: set[Any] = set()
        self._held: dict[Any, tuple[Row, Row]] = {}  # failed rows, and what is about them
        self._retired: dict[str, str] = {}

    def good(self, rows: Iterator[Row], lost: dict[Any, Row]) -> Iterator[Row]:
        """Results, which leave `lost`; failed ones when their worker has proved itself, or at last.

        Those of workers that were retired are no results.

        Raises `UserError` once all workers are retired.
        """
        for row in rows:
            if row["name"] not in lost:  # a row that is tried again may arrive twice
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
        """Failed rows of these workers, no longer held; of retired ones they are to be tried by others."""
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
        """Rows that another worker is to try, beside others: it was not they that were at fault."""
        return [name for name in lost if name in self._declined]

    def nodes(self) -> frozenset[str]:
        """Nodes with workers that were retired; none if no other would be left."""
        import ray

        sick = frozenset(self._retired.values())
        return sick if {node["NodeID"] for node in ray.nodes() if node["Alive"]} - sick else frozenset()

    def _require_some_left(self, fault: str) -> None:
        if self._last:
            return
        if len(self._retired) >= self._most or (not self._good and len(self._declined) >= CEILING):
            said = fault.rstrip(".")
            raise UserError(
                f"Every worker fails ({said}); fix that (see `raymaskdp doctor`) and run it again."
            )


def _one_pass(rows: list[Row], stage: type, shared: Any, pool: _Pool) -> Generator[Row, None, None]:
    """One Ray Data pipeline on a pool of actors; lost rows are missing."""
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
    elsewhere: dict[str, Any] = {}
    if pool.avoid:
        elsewhere["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(pool.avoid))})"}
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray announces an end to further actor options, but names no other way to limit retries.
        warnings.simplefilter("ignore")
        finished: Any = dataset.map(
            _Actor,  # type: ignore[arg-type]  # a class whose instances are called: what Ray documents
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
    """A stage in a Ray actor: one thread, and no accelerator but what it was given."""

    def __init__(self, stage: type, shared: Any, folder: Path, pool: _Pool) -> None:
        work_in(folder)
        if not pool.gpus:
            # Actors without GPUs are not masked any more: they would all start on the first one.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa draws in as many threads as there are CPUs
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
        """Whether this row shows that the worker is in order; one that is not is broken from now on."""
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
    """An error in one line, its kind first; those for users without it."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
