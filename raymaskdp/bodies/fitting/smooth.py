"""The one-euro filter (Casiez, Roussel and Vogel 2012), run in both directions, so that there is no lag."""

from __future__ import annotations

import numpy as np


def one_euro(
    values_TX: np.ndarray, rate: float, *, cutoff: float, speed: float = 8.0, derivative_cutoff: float = 2.0
) -> np.ndarray:
    """Smooth series along their first axis: strongly at rest, little in fast motion.

    Args:
      values_TX: float [T, ...].
      rate: samples a second.
      cutoff: cut-off frequency at rest, hertz.
      speed: increase of the cut-off in hertz per unit a second.
      derivative_cutoff: cut-off of the speed estimate, hertz.

    Returns:
      The mean of the filter run forward and backward, same shape.
    """
    there = _filter(values_TX, rate, cutoff, speed, derivative_cutoff)
    back = _filter(values_TX[::-1], rate, cutoff, speed, derivative_cutoff)[::-1]
    return 0.5 * (there + back)


def _filter(values: np.ndarray, rate: float, cutoff: float, speed: float, slow: float) -> np.ndarray:
    result = np.empty_like(values)
    level, drift = values[0], np.zeros_like(values[0])
    result[0] = level
    for index in range(1, len(values)):
        drift = drift + _share(slow, rate) * ((values[index] - values[index - 1]) * rate - drift)
        level = level + _share(cutoff + speed * np.abs(drift), rate) * (values[index] - level)
        result[index] = level
    return result


def _share(cutoff: float | np.ndarray, rate: float) -> float | np.ndarray:
    """Weight of a new sample in an exponential filter with this cut-off."""
    ratio = 2 * np.pi * cutoff / rate
    return ratio / (1 + ratio)
