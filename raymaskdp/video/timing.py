"""Times of pictures: a constant rate, or a time stamp for each picture, which is kept.

What a file says about its rate is believed where the times of its pictures agree with it. A browser's
recording says nothing, or thousands a second, and a phone's camera waits for light: those have times.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

USUAL = Fraction(25)
"""Frames a second where nothing at all is known."""

ROUNDED_S = 0.001
"""Seconds by which times at a constant rate may be off: containers round them, at worst to milliseconds."""

_STANDARD = tuple(
    Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60")
)
_LONGEST_TICK = Fraction(1, 1000)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When the pictures of a film are shown.

    Attributes:
      fps: frames a second; the mean where the rate is not constant.
      times: where it is not, when each picture is shown and when the last one ends, in ticks from the first
        picture on; empty at a constant rate.
      tick: seconds.
    """

    fps: Fraction
    times: tuple[int, ...] = ()
    tick: Fraction = _LONGEST_TICK

    @classmethod
    def of(
        cls,
        stamps: Sequence[int | None],
        tick: Fraction | None,
        declared: Iterable[Fraction | None],
        last: int | None = None,
    ) -> Timing:
        """The timing of pictures with these time stamps.

        Args:
          stamps: of each picture, in the order in which they are shown; None where there is none.
          tick: of the stamps, in seconds.
          declared: rates that the file claims, the most trusted first.
          last: how long the last picture is shown, in ticks, if that is known.

        Stamps that are missing or go backwards say nothing; then the rate that is claimed is believed.
        """
        claimed = [Fraction(rate) for rate in declared if rate]
        known = [stamp for stamp in stamps if stamp is not None]
        steps = [after - before for before, after in itertools.pairwise(known)]
        if tick is None or len(known) < len(stamps) or not steps or min(steps) <= 0:
            return cls(fps=next((rate for rate in claimed if 1 <= rate <= 300), USUAL))
        times = [stamp - known[0] for stamp in known]
        mean = 1 / (Fraction(times[-1], len(steps)) * tick)
        near = [rate for rate in _STANDARD if abs(rate / mean - 1) < Fraction(1, 200)]
        for rate in (*claimed, *near, mean.limit_denominator(1001)):
            if _is_constant(times, tick, rate):
                return cls(fps=rate)
        end = times[-1] + (last or round(statistics.median(steps)))
        return cls(fps=len(times) / (end * tick), times=(*times, end), tick=tick)

    def at(self, index: int) -> Fraction:
        """When a picture is shown, seconds behind the first one."""
        return self.times[index] * self.tick if self.times else index / self.fps


def _is_constant(times: Sequence[int], tick: Fraction, rate: Fraction) -> bool:
    within = max(float(tick), ROUNDED_S) * 1.01
    step, seconds = float(1 / rate), float(tick)
    return all(abs(time * seconds - number * step) <= within for number, time in enumerate(times))
