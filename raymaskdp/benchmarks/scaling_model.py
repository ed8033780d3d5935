"""Time of a training step on n workers: fitted to one worker's steps, extrapolated by a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from scipy import stats

from raymaskdp import check
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StepModel:
    """The time of a step: a constant part, its clips, and the sum over workers.

    Attributes:
      fixed_seconds: of a step without clips: drawing the noise, the update, the ledger.
      clip_seconds: of each clip view of a worker.
      exchanged_bytes: of a worker's sums.
      bytes_per_second, latency_seconds: of the network, for one worker and one message.
    """

    fixed_seconds: Annotated[float, check.Range(0)]
    clip_seconds: Annotated[float, check.Range(0)]
    exchanged_bytes: Annotated[float, check.Range(0)]
    bytes_per_second: Annotated[float, check.POSITIVE]
    latency_seconds: Annotated[float, check.Range(0)]

    def __post_init__(self) -> None:
        check.fields(self)

    @classmethod
    def fitted(
        cls,
        clips: Sequence[float],
        seconds: Sequence[float],
        *,
        exchanged_bytes: float,
        bytes_per_second: float,
        latency_seconds: float,
    ) -> Self:
        """Fitted to the steps of one worker with lots of different sizes: Theil and Sen's line.

        The median of all slopes (Sen 1968) is robust against single slow steps. Neither part is negative: a
        negative one is set to zero. Raises `UserError` for fewer than two steps.
        """
        sizes, times = np.asarray(clips, dtype=float), np.asarray(seconds, dtype=float)
        if len(sizes) < 2:
            raise UserError("A model of the step needs at least two measured steps; set steps=2 or more.")
        slope, fixed = -1.0, 0.0
        if np.ptp(sizes) > 0:
            slope, fixed, *_ = (float(value) for value in stats.theilslopes(times, sizes))
        if fixed < 0 or (
            np.ptp(sizes) == 0 and sizes[0] > 0
        ):  # one size does not determine the constant part
            seen = sizes > 0
            slope, fixed = float(np.median(times[seen] / sizes[seen])), 0.0
        if slope < 0:
            slope, fixed = 0.0, float(np.median(times))
        return cls(
            fixed_seconds=fixed,
            clip_seconds=slope,
            exchanged_bytes=exchanged_bytes,
            bytes_per_second=bytes_per_second,
            latency_seconds=latency_seconds,
        )

    def seconds(self, workers: int, clips: float) -> float:
        """Time of a step in which each of `workers` has `clips`.

        Ring all-reduce: 2 (n - 1) messages of 1/n of the exchanged bytes (Patarasuk and Yuan 2009).
        """
        messages = 2 * (workers - 1)
        message = self.latency_seconds + self.exchanged_bytes / workers / self.bytes_per_second
        return self.fixed_seconds + self.clip_seconds * clips + messages * message

    def weak(self, workers: int, clips: float) -> float:
        """Share of ideal speed, in (0, 1], if the lot grows with the workers: `clips` each."""
        return self.seconds(1, clips) / self.seconds(workers, clips)

    def strong(self, workers: int, clips: float) -> float:
        """Speed-up over one worker, if all share a lot of `clips`."""
        return self.seconds(1, clips) / self.seconds(workers, clips / workers)
