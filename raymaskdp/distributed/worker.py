"""A worker of a pool: calls a stage for each row, and says how it went. No Ray here.

A worker on a faulty machine fails at once and would consume the whole queue. After `FAILURES_TO_TEST`
consecutive failures it runs its stage's self-test. If that fails, the worker is retired: it declines rows,
with growing delays. If that passes, the rows were at fault, and the next test follows after twice as many
failures. A stage without a self-test is judged by that many equal faults. A worker that reports what its
machine lacks, such as disk space, is retired at once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp.distributed.kept import KeptResults
from raymaskdp.errors import MACHINE, UserError

_log = logging.getLogger(__name__)

Row = dict[str, Any]

FAILURES_TO_TEST = 3
"""Consecutive failures after which a worker tests itself. Three broken videos in a row are rare, and a test
takes about as long as one short video. Rows that fail on a faulty node before the test are retried elsewhere.
"""

MOST_TRIES = 2
"""How often a row is begun in one pass. A row that ends the process each time would be begun for ever."""

LONGEST_DECLINE_S = 30.0
"""Longest delay with which a retired worker returns a row, so that the others take more of them."""

LOOK_S = 0.5
"""Interval at which a worker looks whether the next pool has taken rows, seconds."""

ABOUT = "about the workers"
"""Field of a row with its workers so far and their states, a JSON list with an entry for each pool."""


@dataclass(frozen=True, kw_only=True)
class PoolPlace:
    """A pool's place in one pass.

    Attributes:
      number: of the pool, from 0.
      final: whether it is the last pool.
      alone: whether it has a single worker, which cannot be compared with others.
      gives_up: whether rows that fail are given up, whatever the cause.
      kept: folder of the kept results; None if they are not kept.
      ahead: number of results that may wait for the next pool.
    """

    number: int = 0
    final: bool = True
    alone: bool = False
    gives_up: bool = False
    kept: Path | None = None
    ahead: int = 1


class RowWorker:
    """Rows in, answers out. An answer has the fields of the result, the row's name, and `ABOUT`.

    Args:
      make: creates the stage.
      where: names of this worker (`actor`) and of its machine (`node`).
      place: of its pool.
      begin: called with a row's name before the stage; returns how often the row was begun in this pass, by
        any worker of the pool.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        where: dict[str, str],
        place: PoolPlace,
        begin: Callable[[str], int] = lambda name: 1,
    ) -> None:
        self._where = where
        self._place = place
        self._begin = begin
        self._kept = KeptResults(place.kept) if place.kept is not None else None
        self._faults: list[str] = []
        self._failures = 0
        self._patience = FAILURES_TO_TEST
        self._declined = 0
        self._broken = ""
        try:
            self._stage = make()
        except (Exception, SystemExit) as error:  # noqa: BLE001 — Ray would end the run for it
            self._broken = said(error)

    def __call__(self, row: Row) -> Row:
        before = json.loads(row.pop(ABOUT, "[]"))
        if before and not _goes_on(before[-1]):
            return {**row, ABOUT: json.dumps(before)}  # of no interest to this pool
        if self._kept is not None and before:
            self._kept.take(row["name"], self._place.number - 1)
        if self._kept is not None and not self._place.final:
            known = self._kept.load(row["name"], self._place.number)
            if known is not None:
                return known
        answer, about = self._answer(row)
        answer[ABOUT] = json.dumps([*before, about])
        if self._kept is not None and not self._place.final and _goes_on(about):
            self._kept.save(row["name"], self._place.number, answer)
        return answer

    def _answer(self, row: Row) -> tuple[Row, Row]:
        """The result with the row's name, and the state of this worker."""
        name = {"name": row["name"]}
        if self._broken:
            time.sleep(min(2.0**self._declined, LONGEST_DECLINE_S) if self._declined else 0)
            self._declined += 1
            return name, self._about(self._broken, declined=True)
        self._wait_for_room()
        if self._begin(row["name"]) > MOST_TRIES:
            # Its worker died each time, so it is lost; it says nothing about this worker.
            return name, self._about("", failed=True, judged=False)
        try:
            made: Row = self._stage(row)
        except (Exception, SystemExit) as error:  # noqa: BLE001 — Ray would wait for ever for some of them
            _log.exception("The row %s failed.", row["name"])
            return name, self._about(said(error), failed=True)
        fault = made.pop("fault", "")
        failed = made.pop("failed", bool(fault))
        return {**made, **name}, self._about(fault, failed=failed, result=True)

    def _wait_for_room(self) -> None:
        """Wait while the next pool has enough rows, because what waits takes disk space."""
        if self._kept is None or self._place.final:
            return
        while self._kept.waiting(self._place.number) >= self._place.ahead:
            time.sleep(LOOK_S)

    def _about(
        self,
        fault: str,
        *,
        declined: bool = False,
        failed: bool = False,
        result: bool = False,
        judged: bool = True,
    ) -> Row:
        in_order = judged and not declined and self._in_order(fault, failed)
        return {
            **self._where,
            "pool": self._place.number,
            "fault": self._broken or fault,
            "declined": declined,
            "failed": failed,
            "result": result,
            "in_order": in_order,
            "retired": bool(self._broken),
        }

    def _in_order(self, fault: str, failed: bool) -> bool:
        """Whether this row shows that the worker is working; otherwise it is marked as broken."""
        self._failures = self._failures + 1 if failed else 0
        self._faults = [*self._faults, fault][-FAILURES_TO_TEST:] if fault else []
        if fault.startswith(MACHINE) and not self._place.gives_up:
            self._broken = fault.removeprefix(MACHINE)
            return False
        test = getattr(self._stage, "self_test", None)
        if test is None:
            kinds = {text.split(":")[0] for text in self._faults}
            if len(self._faults) == FAILURES_TO_TEST and len(kinds) == 1 and not self._place.alone:
                self._broken = fault
        elif self._failures == self._patience and not self._place.gives_up:
            try:
                test()
            except (Exception, SystemExit) as error:  # noqa: BLE001 — whatever it is, the machine is at fault
                _log.exception("The self-test of a worker failed.")
                self._broken = f"the self-test says: {said(error)}"
                return False
            self._failures, self._patience = 0, 2 * self._patience
            return True
        return not failed


def _goes_on(about: Row) -> bool:
    """Whether a row has a result for the next pool."""
    return bool(about["result"] and not about["failed"])


def said(error: BaseException) -> str:
    """An error in one line, with its class; a `UserError` without it."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
