"""Settings of `raymaskdp prepare`: how clips are made, and by how many workers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from raymaskdp import check
from raymaskdp.train.prepare import PrepareConfig


@dataclass(frozen=True, kw_only=True)
class PrepareJob(PrepareConfig):
    """Size of the stored frames, and the workers that make them.

    Attributes:
      workers: actors of Ray Data; 0 for threads of this process.
    """

    workers: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.fields(self)

    @property
    def settings(self) -> PrepareConfig:
        """All but the workers: what the clips depend on."""
        names = [field.name for field in dataclasses.fields(PrepareConfig)]
        return PrepareConfig(**{name: getattr(self, name) for name in names})
