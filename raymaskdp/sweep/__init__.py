"""Many trainings, their privacy–utility frontier, and the cost of choosing one of them."""

from raymaskdp.sweep.config import Stopping, SweepConfig, Trial, trials
from raymaskdp.sweep.results import SweepResult
from raymaskdp.sweep.run import sweep
from raymaskdp.sweep.search import Range, Search
from raymaskdp.sweep.selection_cost import SelectionCost

__all__ = [
    "Range",
    "Search",
    "SelectionCost",
    "Stopping",
    "SweepConfig",
    "SweepResult",
    "Trial",
    "sweep",
    "trials",
]
