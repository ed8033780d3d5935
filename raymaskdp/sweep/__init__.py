"""Many trainings, their privacy–utility frontier, and the cost of choosing one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
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

__getattr__ = imported_on_use(
    __name__,
    {
        "Range": "search",
        "Search": "search",
        "SelectionCost": "selection_cost",
        "Stopping": "config",
        "SweepConfig": "config",
        "SweepResult": "results",
        "Trial": "config",
        "sweep": "run",
        "trials": "config",
    },
)
