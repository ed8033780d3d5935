"""How often each row was begun, so that a row whose worker dies each time is not begun for ever."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Tries:
    """The counts of one pass over rows. It outlives the workers, which die with what they know."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[int, str]] = Counter()

    def begin(self, pool: int, name: str) -> int:
        """How often this row was begun by a worker of this pool, with this time."""
        self._begun[pool, name] += 1
        return self._begun[pool, name]


def count_tries() -> Any:
    """A `Tries` in an actor on the driver's node, which no worker's death takes along. It takes no CPU, and
    ends with its last handle.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Tries).options(num_cpus=0, scheduling_strategy=here).remote()
