"""Pools of workers: what each needs, and what a cluster can start of them. No Ray here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raymaskdp import check
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a stage needs. Neighbouring stages with equal needs are one operator.

    Attributes:
      workers: largest number of workers.
      least: number of workers at the start. Nodes are requested for these at once, and for more after the
        first rows are finished.
      cpus: CPUs that a worker holds.
      gpus: share of a GPU that a worker holds.
    """

    workers: int = 1
    least: int = 1
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        check.in_range("workers", self.workers, low=1)
        check.in_range("least", self.least, low=1, high=self.workers)
        check.in_range("cpus", self.cpus, low=0, open_low=True)
        check.in_range("gpus", self.gpus, low=0)

    def at_most(self, rows: int) -> Needs:
        """The same for so many rows, which need no more workers."""
        return dataclasses.replace(self, workers=min(self.workers, rows), least=min(self.least, rows))


@dataclass(frozen=True, kw_only=True)
class WorkerPool:
    """A stage and its workers.

    Attributes:
      stage: a class whose instances take a row and return one (`map_rows`).
      arguments: of the class.
      needs: of each worker.
    """

    stage: type
    arguments: tuple[Any, ...] = field(default=(), repr=False)
    needs: Needs = Needs()


def fitted(needs: Sequence[Needs], *, cpus: float, gpus: float) -> list[Needs]:
    """Needs of pools that a cluster with so many CPUs and GPUs can start together; infinite for not known.

    A pool that does not start stops all of them. So the largest pool starts with fewer workers until all
    pools fit. If one worker of each is still too much, each of them holds a smaller share of a CPU. GPUs are
    not divided further, because their memory is not either. A single pool is returned unchanged: its other
    workers may wait for nodes.

    Raises `UserError` if the GPUs do not suffice for one worker of each pool.
    """
    least_gpus = sum(one.gpus for one in needs)
    if least_gpus > gpus:
        raise UserError(
            f"The workers need {least_gpus:g} GPUs, one worker of each pool, but the cluster has {gpus:g}; "
            "lower the share of a GPU that they hold, or set it to 0 to work on CPUs."
        )
    some = list(needs)
    if len(some) == 1:
        return some
    _shrink(some, "gpus", gpus)
    _shrink(some, "cpus", cpus)
    wanted = sum(one.least * one.cpus for one in some)
    if wanted <= cpus:
        return some
    # Ray counts in ten thousandths; rounded down, so that the sum fits.
    return [
        dataclasses.replace(one, cpus=max(1e-4, math.floor(1e4 * one.cpus * cpus / wanted) / 1e4))
        for one in some
    ]


def _shrink(some: list[Needs], resource: str, there: float) -> None:
    """Reduce the workers at the start, those of the largest pool first, until the resource suffices."""

    def asked(one: Needs) -> float:
        return one.least * float(getattr(one, resource))

    while sum(map(asked, some)) > there + 1e-9:
        large = [at for at, one in enumerate(some) if one.least > 1 and asked(one) > 0]
        if not large:
            return
        at = max(large, key=lambda at: asked(some[at]))
        some[at] = dataclasses.replace(some[at], least=some[at].least - 1)
