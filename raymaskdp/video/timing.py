"""Presentation times of frames: a constant rate, or a time stamp for each frame, which is kept.

The declared rate of a file is used if the times of its frames agree with it. A browser's recording declares
no rate, or one of thousands a second, and a phone's camera reduces the rate in low light: these have
individual times.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

USUAL = Fraction(25)
"""Frame rate if nothing is known."""

ROUNDED_S = 0.001
"""Tolerance in seconds of times at a constant rate; containers round them, at worst to milliseconds."""

_STANDARD = tuple(
    Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60")
)
_LONGEST_TICK = Fraction(1, 1000)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Presentation times of the frames of a video.

    Attributes:
      fps: frames a second; the mean if the rate is not constant.
      times: for a variable rate, the time of each frame and the end of the last one, in ticks after the first
        frame; empty at a constant rate.
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
        """The timing of frames with these time stamps.

        Args:
          stamps: of each frame, in presentation order; None for a missing one.
          tick: of the stamps, in seconds.
          declared: rates that the file declares, the most reliable first.
          last: duration of the last frame, in ticks, if known.

        If stamps are missing or decrease, the declared rate is used.
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
        """Presentation time of a frame, in seconds after the first one."""
        return self.times[index] * self.tick if self.times else index / self.fps


def _is_constant(times: Sequence[int], tick: Fraction, rate: Fraction) -> bool:
    within = max(float(tick), ROUNDED_S) * 1.01
    step, seconds = float(1 / rate), float(tick)
    return all(abs(time * seconds - number * step) <= within for number, time in enumerate(times))
