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
* A worker on a sick machine fails at once and would take the whole queue. After `FAULTS_TO_RETIRE` equal
  faults in a row it declines rows, ever more slowly, and all that it had gets one more pass on other nodes.
* Actors without a GPU see every GPU of their node unless CUDA is hidden from them.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.distributed.connect import ray_cluster, work_in
from raymaskdp.errors import UserError

_log = logging.getLogger(__name__)

Row = dict[str, Any]

FAULTS_TO_RETIRE = 3
"""Equal faults in a row after which a worker beside others is not relied on any more."""

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
      stage: a class whose instances take a row and return one. It may have a `fault`: what went wrong with it
        through no fault of its input, beginning with the kind of error and a colon.
      arguments: of the class; they go into the object store once.
      workers: actors at most.
      least: actors at the start. Nodes are requested for these at once; for more than these once rows have
        been finished.
      gpus: share of a GPU that an actor holds.

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
                yield from seen.good(_one_pass(todo, stage, shared, pool), lost)
        if lost:
            alone = _Pool(least=1, most=1, gpus=gpus, avoid=seen.nodes())
            last = _Seen(1, last=seen.some_good())
            yield from last.good(_one_pass(list(lost.values()), stage, shared, alone), lost)


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Fewest and most actors, the share of a GPU of each, and the nodes on which there are to be none."""

    least: int
    most: int
    gpus: float
    avoid: frozenset[str] = frozenset()


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
        self._faulty: dict[Any, Row] = {}
        self._retired: dict[str, str] = {}

    def good(self, rows: Iterator[Row], lost: dict[Any, Row]) -> Iterator[Row]:
        """Results, which leave `lost`; faulty ones last, and only those of workers that were not retired.

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
            elif about["fault"]:
                self._faulty[row["name"]] = row | {_ABOUT: about}
            else:
                self._good += 1
                del lost[row["name"]]
                yield row
        for name, row in self._faulty.items():
            about = row.pop(_ABOUT, {})
            if name in lost and about.get("result") and about["actor"] not in self._retired:
                del lost[name]
                yield row
            elif about.get("actor") in self._retired:
                self._declined.add(name)

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
                f"Every worker fails ({said}); mend that (see `raymaskdp doctor`) and run it again."
            )


def _one_pass(rows: list[Row], stage: type, shared: Any, pool: _Pool) -> Iterator[Row]:
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
            fn_constructor_args=[stage, shared, pool.gpus, Path.cwd(), pool.most == 1],
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

    def __init__(self, stage: type, shared: Any, gpus: float, folder: Path, alone: bool) -> None:
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
        context = ray.get_runtime_context()
        self._where = {"node": context.get_node_id(), "actor": context.get_actor_id()}
        self._alone = alone
        self._faults: list[str] = []
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
            return self._answer(row, {}, fault=_said(error))
        return self._answer(row, made, fault=made.pop("fault", ""), result=True)

    def _answer(
        self, row: Row, made: Row, *, fault: str, declined: bool = False, result: bool = False
    ) -> Row:
        if not declined:
            self._faults = [*self._faults, fault][-FAULTS_TO_RETIRE:] if fault else []
            kinds = {text.split(":")[0] for text in self._faults}
            if len(self._faults) == FAULTS_TO_RETIRE and len(kinds) == 1 and not self._alone:
                self._broken = fault
        about = {**self._where, "fault": fault, "declined": declined, "result": result}
        return {**made, "name": row["name"], _ABOUT: about | {"retired": bool(self._broken)}}


def _said(error: BaseException) -> str:
    """An error in one line, its kind first; those for users without it."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
