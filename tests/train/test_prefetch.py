"""Reading ahead: in order, bounded, and with errors where they belong."""

from __future__ import annotations

import threading
import time

import pytest

from raymaskdp.train.data.prefetch import ReadAhead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_order_is_kept_and_no_more_waits_than_said(ahead) -> None:
    begun: list[int] = []

    def read(item: int) -> int:
        begun.append(item)
        return item * item

    taken = 0
    for value in ReadAhead(read, range(20), ahead):
        assert value == taken * taken
        taken += 1
        end = time.monotonic() + 10  # what is allowed to run ahead does, sooner or later
        while len(begun) < min(taken + ahead, 20) and time.monotonic() < end:
            time.sleep(0.001)
        assert len(begun) == min(taken + ahead, 20)
        time.sleep(0.002)
        assert len(begun) == min(taken + ahead, 20)  # and no more
    assert taken == 20


def test_an_error_comes_with_its_item() -> None:
    def read(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    found = iter(ReadAhead(read, range(5), 3))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(found)


def test_reading_hides_behind_the_work_and_its_thread_ends() -> None:
    def read(item: int) -> int:
        time.sleep(0.02)
        return item

    waited = {}
    for ahead in (0, 2):
        reading = ReadAhead(read, range(10), ahead)
        for _ in reading:
            time.sleep(0.04)
        waited[ahead] = reading.seconds_waited
    assert waited[0] >= 0.2
    assert waited[2] < waited[0] / 2
    abandoned = iter(ReadAhead(read, range(10), 2))
    next(abandoned)
    abandoned.close()
    assert not any(thread.name.startswith("read ahead") for thread in threading.enumerate())
