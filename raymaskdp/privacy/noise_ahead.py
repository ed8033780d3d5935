"""The noise of a run, each step's drawn in threads while the gradients of that step are computed.

Its size depends on the current clipping norm, which is known when the previous step is released. It takes 8
bytes a number. Memory is fullest when the forward pass ends, so noise on the same device is best begun then:
activations are freed faster than noise is drawn.
"""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
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
        drawn = []
        if self.plan.grid_step is not None:  # else there is nothing to draw
            for name, place in _places(self._shapes).items():
                drawn.append(self._threads.submit(_draw, self.plan, self._key, step, name, place))
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


def _places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Memory for named shapes, int64, that the system gets back when the last of them is gone.

    On the heap, noise would lie between activations that are freed around it; larger ones would then not fit
    there, and the heap would grow by several times as much. A thread's own heap keeps what it has taken once.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    memory = mmap.mmap(-1, 8 * max(sum(sizes), 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    parts = torch.frombuffer(memory, dtype=torch.int64, count=sum(sizes)).split(sizes)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _draw(plan: PrivacyPlan, key: Key, step: int, name: str, place: Tensor) -> dict[str, Tensor]:
    """The noise of one parameter, at its place."""
    drawn = plan.whole_noise(key, step, {name: tuple(place.shape)})
    np.copyto(place.numpy(), drawn[name].numpy())
    return {name: place}
