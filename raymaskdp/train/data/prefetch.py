"""Prefetching: a run's views in the order of its steps, read ahead by a thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass
class ReadAhead(Generic[Item, Read]):
    """Iterates over `read(item)` for `items`, in their order; at most `ahead` results are waiting.

    With `ahead=0` items are read when they are requested, without a thread. An error of `read` is
    raised when its item is taken.

    Attributes:
      seconds_waited: waiting time so far. Private, since it reveals how much was read; for
        measuring on public data.
    """

    read: Callable[[Item], Read]
    items: Iterable[Item]
    ahead: int
    seconds_waited: float = field(default=0.0, init=False)

    def __iter__(self) -> Iterator[Read]:
        if self.ahead == 0:
            for item in self.items:
                begin = time.perf_counter()
                read = self.read(item)
                self.seconds_waited += time.perf_counter() - begin
                yield read
            return
        pending: deque[Future[Read]] = deque()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read ahead")
        try:
            for item in self.items:
                pending.append(pool.submit(self.read, item))
                if len(pending) > self.ahead:
                    yield self._take(pending)
            while pending:
                yield self._take(pending)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, pending: deque[Future[Read]]) -> Read:
        begin = time.perf_counter()
        read = pending.popleft().result()
        self.seconds_waited += time.perf_counter() - begin
        return read
