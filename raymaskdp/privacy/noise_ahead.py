"""The noise of a run, each step's drawn in threads while the gradients of that step are computed.

Its size depends on the current clipping norm, which is known when the previous step is released. It takes 8
bytes a number. Memory is fullest when the forward pass ends, so noise on the same device is best begun then:
activations are freed faster than noise is drawn.
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

    def __enter__(self) -> NoiseAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def begin(self) -> None:
        """Start drawing the noise of the next step; without effect if that has begun, or if none is left."""
        step = None if self._coming else next(self._steps, None)
        if step is None:
            return
        drawn = [
            self._threads.submit(self.plan.whole_noise, self._key, step, {name: shape})
            for name, shape in self._shapes.items()
        ]
        self._coming = (step, drawn)

    def private_update(self, total: ClippedSum, step: int) -> dict[str, Tensor]:
        """The update of the next step; waits for its noise, and draws it if that has not begun."""
        self.begin()
        assert self._coming is not None
        (number, drawn), self._coming = self._coming, None
        if number != step:
            raise ValueError(f"the noise of step {number} is for no other, and {step} was asked for")
        began = time.perf_counter()
        noise = {name: value for one in drawn for name, value in one.result().items()}
        self.waited += time.perf_counter() - began
        update = self.plan.released(total, noise)
        if self.plan.adaptive is not None:
            self.plan = self.plan.at(self.plan.next_norm(update))
        return update
