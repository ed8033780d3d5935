"""The noise of a run, each step's drawn in threads while the gradients of that step are computed.

Its size depends on the current clipping norm, which is known when the previous step is released.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from torch import Tensor

from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.plan import PrivacyPlan


class NoiseAhead:
    """Makes private updates step by step; their content is that of `PrivacyPlan.private_update`.

    Args:
      plan, key: of the run; `plan` with the clipping norm of the first of the steps.
      shapes: of the numbers of a sum, by name.
      steps: that will be asked for, in this order.
      threads: that draw it, each for one parameter at a time.

    Attributes:
      plan: with the clipping norm of the next step.
      waited: seconds for which updates waited for their noise; as private as the time of a step.
    """

    def __init__(
        self,
        plan: PrivacyPlan,
        key: Key,
        shapes: Mapping[str, tuple[int, ...]],
        steps: range,
        threads: int = 1,
    ) -> None:
        self.plan, self.waited = plan, 0.0
        self._key, self._shapes = key, dict(shapes)
        self._steps = iter(steps)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="noise")
        self._coming: tuple[int, list[Future[dict[str, Tensor]]]] | None = None
        self._begin()

    def __enter__(self) -> NoiseAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def private_update(self, total: ClippedSum, step: int) -> dict[str, Tensor]:
        """The update of the next step; starts drawing the noise of the step after it."""
        assert self._coming is not None
        (number, drawn), self._coming = self._coming, None
        if number != step:
            raise ValueError(f"the noise of step {number} is for no other, and {step} was asked for")
        began = time.perf_counter()
        noise = {name: value for one in drawn for name, value in one.result().items()}
        self.waited += time.perf_counter() - began
        update = self.plan.released(total, noise)
        # Begun only now: the noise of two steps at once would take twice the memory.
        del drawn, noise
        if self.plan.adaptive is not None:
            self.plan = self.plan.at(self.plan.next_norm(update))
        self._begin()
        return update

    def _begin(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._coming = (
                step,
                [
                    self._threads.submit(self.plan.whole_noise, self._key, step, {name: shape})
                    for name, shape in self._shapes.items()
                ],
            )
