"""The plot of a run's guarantee shows its curve, by both accountants, and no test below its edge."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import norm

from raymaskdp.privacy.prices.accounting import SubsampledGaussian, cost
from raymaskdp.privacy.prices.tradeoff import tradeoff
from raymaskdp.report.pictures.plots import draw_tradeoff

EVENT = SubsampledGaussian(rate=1.0, noise_multiplier=2.0, steps=1, contribution="one-sided")


def test_the_plot_shows_the_whole_curve_and_the_quoted_pair() -> None:
    curve, both = tradeoff(EVENT), cost(EVENT, 1e-5)
    quoted = min(both.rdp, both.pld)
    figure = draw_tradeoff(curve, epsilon=quoted, delta=1e-5)
    left, right = figure.axes
    pld, rdp, point = left.lines
    for line, deltas in ((pld, curve.deltas_pld), (rdp, curve.deltas_rdp)):
        assert tuple(line.get_xdata()) == curve.epsilons
        assert tuple(line.get_ydata()) == deltas
    assert (point.get_xdata(), point.get_ydata()) == ([quoted], [1e-5])
    at = np.interp(quoted, curve.epsilons, np.log(np.maximum(curve.deltas, 1e-300)))
    assert at == pytest.approx(np.log(1e-5), abs=0.2)
    # The filled part is what no test reaches: its upper edge is at most the best test's misses.
    edges = right.collections[0].get_paths()[0].vertices
    alarms, misses = edges[:, 0], edges[:, 1]
    best = norm.cdf(norm.ppf(1 - np.clip(alarms, 1e-12, 1)) - 1 / EVENT.noise_multiplier)
    assert (misses <= best + 1e-6).all()
    assert misses.max() > 0.95
    plt.close(figure)
