"""Settings of the pools of workers, and what the stages of each need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from raymaskdp import check
from raymaskdp.errors import UserError

PoolName = Literal["find", "refine", "compose"]
FIND: PoolName = "find"
REFINE: PoolName = "refine"
COMPOSE: PoolName = "compose"
POOL_NAMES: tuple[PoolName, ...] = (FIND, REFINE, COMPOSE)

Count = Annotated[int, check.Range(1)]


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """The workers of some stages.

    Attributes:
      workers: largest number of workers, or [least, most] for a pool that starts with the least and grows
        with its backlog; None for that of `workers`.
      cpus: CPUs that each worker holds.
      gpus: share of a GPU that each worker holds. None for that of `gpus` in the pools that use a GPU, and 0
        in the others.
    """

    workers: Count | tuple[Count, Count] | None = None
    cpus: Annotated[float, check.POSITIVE] = 1.0
    gpus: Annotated[float, check.Range(0)] | None = None

    def __post_init__(self) -> None:
        check.fields(self, "pools")
        if isinstance(self.workers, tuple):
            least, most = self.workers
            if most < least:
                raise UserError(
                    "pools.find, pools.refine or pools.compose: in workers=[least, most] the most must be at "
                    f"least the least; it is [{least}, {most}]."
                )

    @property
    def share(self) -> float:
        """The share of a GPU that a worker holds; 0 for none."""
        return self.gpus or 0.0


@dataclass(frozen=True, kw_only=True)
class PoolsConfig:
    """Pools of workers. Stages whose pools have equal settings share one.

    Attributes:
      find: the stages from the detection of people to the drawing of avatars.
      refine: the stage that fits avatars into their scene.
      compose: the stages from the composite to the verified output.
      ahead: number of videos that may wait between two pools. Their frames take disk space: 1.2 MB for
        one of 1920×1080 pixels of a real clip.
    """

    find: PoolConfig = field(default_factory=PoolConfig)
    refine: PoolConfig = field(default_factory=PoolConfig)
    compose: PoolConfig = field(default_factory=PoolConfig)
    ahead: Annotated[int, check.Range(1)] = 16

    def __post_init__(self) -> None:
        check.fields(self, "pools")
