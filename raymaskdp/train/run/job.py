"""A run, and the role of a process in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from raymaskdp.privacy import PrivacyPlan
from raymaskdp.train.checkpoint import Identity
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.device import CPU


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One run, as sent to every worker. Has no secret; the key is read from the run's folder."""

    config: TrainConfig
    folder: Path
    plan: PrivacyPlan
    identity: Identity

    @property
    def unread_mark(self) -> Path:
        """A file that exists if a clip could not be read, in a step that was or will be released."""
        return self.folder / "private" / "unread"

    @property
    def unused_mark(self) -> Path:
        """A file that exists until a ledger is created: nothing was released with the run's key."""
        return self.folder / "private" / "unused"

    @property
    def key_file(self) -> Path:
        return self.folder / "private" / "key"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def curve_file(self) -> Path:
        return self.folder / "curve.jsonl"

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger.jsonl"


@dataclass(frozen=True)
class Worker:
    """A worker's rank and connections.

    Attributes:
      all_reduce: adds a tensor up over all workers, in place.
      leaves_at: when a machine of the run is taken away, in seconds since 1970; None if none is, infinite if
        the time is unknown. All workers call it in the same steps, and get the same result.
      device: of its model and gradients.
    """

    rank: int = 0
    world_size: int = 1
    all_reduce: Callable[[Tensor], None] = lambda tensor: None
    leaves_at: Callable[[], float | None] = lambda: None
    device: torch.device = CPU
