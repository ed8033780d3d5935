"""The noise of a run, each step's drawn in a thread while the gradients of that step are computed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from torch import Tensor

from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.plan import PrivacyPlan


class NoiseAhead:
    """Makes private updates step by step; what they hold is that of `PrivacyPlan.private_update`.

    Args:
      plan, key: of the run.
      shapes: of the parameters that learn, by name.
      steps: that will be asked for, in this order.
    """

    def __init__(
        self, plan: PrivacyPlan, key: Key, shapes: Mapping[str, tuple[int, ...]], steps: range
    ) -> None:
        self._plan, self._key, self._shapes = plan, key, dict(shapes)
        self._steps = iter(steps)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noise")
        self._coming: tuple[int, Future[dict[str, Tensor]]] | None = None
        self._begin()

    def __enter__(self) -> NoiseAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def private_update(self, total: ClippedSum, step: int) -> dict[str, Tensor]:
        """The update of the next step, and the noise of the one after it begun."""
        assert self._coming is not None
        number, drawn = self._coming
        if number != step:
            raise ValueError(f"the noise of step {number} is for no other, and {step} was asked for")
        noise = drawn.result()
        self._begin()
        return self._plan.released(total, noise)

    def _begin(self) -> None:
        step = next(self._steps, None)
        self._coming = (
            None
            if step is None
            else (step, self._thread.submit(self._plan.whole_noise, self._key, step, self._shapes))
        )
