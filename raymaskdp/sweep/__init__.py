"""Many trainings, the frontier that they draw, and what choosing one of them costs."""

from raymaskdp.sweep.config import Stopping, SweepConfig, Trial, trials
from raymaskdp.sweep.search import Range, Search
from raymaskdp.sweep.selection_cost import Bill
from raymaskdp.sweep.tuner import SweepResult, sweep

__all__ = ["Bill", "Range", "Search", "Stopping", "SweepConfig", "SweepResult", "Trial", "sweep", "trials"]
