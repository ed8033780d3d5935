"""The results of rows, and the workers that were found unreliable. No Ray here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raymaskdp.distributed.worker import ABOUT, Row
from raymaskdp.errors import UserError

CEILING = 20
"""Rows that retired workers decline without any success before the run ends."""


class RowResults:
    """The results of rows, and the unreliable workers.

    Args:
      most: workers of each pool.
      last: whether failed rows may be given up, because others succeeded.
    """

    def __init__(self, most: Sequence[int], *, last: bool = False) -> None:
        self._most = most
        self._last = last
        self._good = 0
        self._declined: set[Any] = set()
        self._held: dict[Any, tuple[Row, Row]] = {}  # failed rows, and their metadata
        self._retired: list[dict[str, str]] = [{} for _ in most]

    def good(self, rows: Iterator[Row], lost: dict[Any, Row]) -> Iterator[Row]:
        """Results, which are removed from `lost`; failed rows after their worker has succeeded, or at the
        end.

        Those of retired workers are not results. Raises `UserError` once all workers of a pool are retired.
        """
        for row in rows:
            if row["name"] not in lost:  # a retried row may arrive twice
                continue
            workers = json.loads(row.pop(ABOUT))
            about = workers[-1]
            for one in workers:
                if one["retired"]:
                    self._retired[one["pool"]][one["actor"]] = one["node"]
                    self._require_some_left(one["pool"], one["fault"])
            if about["declined"]:
                self._declined.add(row["name"])
            elif about["failed"]:
                self._held[row["name"]] = (row, about)
            else:
                self._good += 1
                del lost[row["name"]]
                yield row
            yield from self._released({one["actor"] for one in workers if one["in_order"]}, lost)
        yield from self._released({about["actor"] for _, about in self._held.values()}, lost)

    def _released(self, actors: set[str], lost: dict[Any, Row]) -> Iterator[Row]:
        """Failed rows of these workers, no longer held back; those of retired ones are retried by others."""
        theirs = [name for name, (_, about) in self._held.items() if about["actor"] in actors]
        for name in theirs:
            row, about = self._held.pop(name)
            if about["actor"] in self._retired[about["pool"]]:
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

    def sick(self, pool: int) -> frozenset[str]:
        """Nodes with retired workers of a pool."""
        return frozenset(self._retired[pool].values())

    def _require_some_left(self, pool: int, fault: str) -> None:
        if self._last:
            return
        if len(self._retired[pool]) >= self._most[pool] or (
            not self._good and len(self._declined) >= CEILING
        ):
            why = fault.rstrip(".")
            raise UserError(
                f"Every worker fails ({why}); fix that (see `raymaskdp doctor`) and run the command again."
            )
