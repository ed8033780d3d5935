"""Paired comparisons of arms over draws that share people, and p-values corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Of the decisions, after correction for the number of comparisons; intervals have 95 %."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean difference of two arms over draws in points, its 95 % interval and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def paired_difference(differences_D: Sequence[float], *, test_to_train: float) -> PairedDifference:
    """The corrected resampled t-test on the differences of D draws, each a mean over seeds.

    Args:
      test_to_train: number of test videos over that of training videos.
    """
    # Draws share people, so their differences are correlated, and s²/D would be too small a variance of
    # their mean: an ordinary paired t-test is wrong far too often. Nadeau and Bengio, "Inference for the
    # generalization error" (Machine Learning 52, 2003) estimate it by s² (1/D + test/train). Seeds share
    # people even more; so they are averaged first, and count for nothing but a smaller s².
    values = np.asarray(differences_D, dtype=float)
    mean = float(values.mean())
    if np.ptp(values) < 1e-9:  # few draws with equal counts: the variance is unknown, not zero
        return PairedDifference(mean=mean, low=-100.0, high=100.0, p=1.0)
    wider = math.sqrt(1 + len(values) * test_to_train)
    ordinary = stats.ttest_1samp(values, 0.0)
    interval = ordinary.confidence_interval(0.95)
    return PairedDifference(
        mean=mean,
        low=mean - wider * (mean - float(interval.low)),
        high=mean + wider * (float(interval.high) - mean),
        p=float(2 * stats.t.sf(abs(ordinary.statistic) / wider, df=ordinary.df)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values (1979), in the order given: below α, the chance of any false decision is at most α.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(value) for value in corrected]
