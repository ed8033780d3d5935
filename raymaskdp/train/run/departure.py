"""Machines that are about to be taken away: asked for about once a second, and waited for at their end.

All workers ask in the same steps, because the first worker's clock decides for all.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from raymaskdp.train.run.job import Worker

NOTICE_S = 1.0
"""Seconds between checks for machines that are about to be taken away; a check takes milliseconds."""

GRACE_S = 30.0
"""Seconds after its announced end for which workers wait on a machine before they continue."""


class Departures:
    """The announced ends of a run's machines, as one worker learns of them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._asked = time.monotonic()
        self._held: float | None = None

    def question(self) -> Tensor:
        """Above 0 on the first worker if it is time to ask, [1]; to be added up over the workers."""
        due = self._worker.rank == 0 and time.monotonic() - self._asked > NOTICE_S
        return torch.full((1,), float(due), device=self._worker.device)

    def answer(self, question: Tensor) -> float | None:
        """When a machine is taken away, seconds since 1970; None if none is, or if it was not asked.

        Args:
          question: the sum over the workers.
        """
        if not question > 0:
            return None
        leaves_at, self._asked = self._worker.leaves_at(), time.monotonic()
        return leaves_at

    def hold(self, leaves_at: float | None, began: float) -> None:
        """Wait for an announced end, once, if it comes during the next step.

        Args:
          leaves_at: the answer of this step.
          began: when this step began, as of `time.monotonic`.
        """
        if leaves_at is None or leaves_at == self._held:
            return
        ahead = NOTICE_S + 2 * (time.monotonic() - began)
        if _hold(leaves_at, ahead):
            self._held = leaves_at


def _hold(leaves_at: float, ahead: float) -> bool:
    """Wait for the end of a machine that is taken away within `ahead` seconds; False if it remains longer.

    Steps after the last checkpoint would be repeated by other workers, and counted twice.
    """
    left = leaves_at - time.time()
    if left > ahead:
        return False
    time.sleep(max(left, 0.0) + GRACE_S)
    return True
