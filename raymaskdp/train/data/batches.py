"""The views of a step's records, as pixels or as features of a frozen backbone.

Shapes: N records, K clips of each, M draws of a record, ... the shape of one view.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raymaskdp.privacy import Key, changed_clips
from raymaskdp.train.config import ClipConfig
from raymaskdp.train.data import clips
from raymaskdp.train.data.clips import Clip, Record
from raymaskdp.train.data.store import ClipStore


@dataclass(frozen=True)
class Views:
    """Both views of some clips of some records.

    Attributes:
      full: float32 [N, K, ...].
      public: the same of the public views.
      labels: class of each clip, int64 [N, K], or its findings, float32 [N, K, classes].
      usable: False for a clip that could not be read, bool [N, K]; it must get no weight.
      changed: whether the full view differs from the public one, bool [N, K].
    """

    full: Tensor
    public: Tensor
    labels: Tensor
    usable: Tensor
    changed: Tensor

    def to(self, device: torch.device) -> Views:
        """The same on another device. Copies to a GPU use pinned memory, asynchronously."""
        if device.type != "cuda":
            return Views(**{name: value.to(device) for name, value in vars(self).items()})
        with torch.cuda.device(device):  # pinning in another thread would also initialise the first GPU
            pinned = {name: value.pin_memory() for name, value in vars(self).items()}
            return Views(**{name: value.to(device, non_blocking=True) for name, value in pinned.items()})


class Inputs(Protocol):
    """A source of views."""

    def read(self, records_N: np.ndarray, draws_NK: np.ndarray) -> Views:
        """Views of the draws numbered `draws_NK` of the records with indices `records_N`; N may not be 0."""


def pick_draws(
    key: Key, stream: str, step: int, records_N: np.ndarray, count: int, config: ClipConfig
) -> np.ndarray:
    """Numbers of the `count` clips of each record that a step uses, int64 [N, count].

    Different moments, in all copies; they depend on the key, not on the data.
    """
    moments, copies = count // config.copies, np.arange(config.copies)
    picked = [
        key.stream(stream, step, int(record)).choice(config.draws, size=moments, replace=False)
        for record in records_N
    ]
    moments_NM = np.array(picked, dtype=np.int64).reshape(len(records_N), moments)
    return (moments_NM[..., None] * config.copies + copies).reshape(len(records_N), count)


@dataclass(frozen=True)
class PixelInputs:
    """Clips read from the store and converted to views when needed.

    Attributes:
      masked: whether public views are needed. If not, they are the full ones, and all count as changed.
      unread: has an entry for every clip that could not be read. A step with one may have another result if
        it is repeated.
    """

    store: ClipStore
    records: tuple[Record, ...]
    config: ClipConfig
    masked: bool = True
    unread: list[bool] = field(default_factory=list, compare=False, repr=False)

    def read(self, records_N: np.ndarray, draws_NK: np.ndarray) -> Views:
        drawn = [
            self._draw(self.records[record], int(number))
            for record, numbers in zip(records_N, draws_NK, strict=True)
            for number in numbers
        ]
        shape = draws_NK.shape
        usable = [clip is not None for clip in drawn]
        readable = [clip if clip is not None else self._blank() for clip in drawn]
        full = clips.full_views(readable, self.store.fill).unflatten(0, shape)
        public, changed = full, torch.ones(shape, dtype=torch.bool)
        if self.masked:
            public = clips.public_views(readable, self.store.fill).unflatten(0, shape)
            changed = changed_clips(full, public)
        labels = torch.from_numpy(np.stack([self.store.target(clip.label) for clip in readable]))
        return Views(
            full=full,
            public=public,
            labels=labels.unflatten(0, shape),
            usable=torch.tensor(usable).view(shape),
            changed=changed,
        )

    def _draw(self, record: Record, number: int) -> Clip | None:
        # A file that was damaged after the start counts as a record that contributes nothing. A message
        # here would reveal the records of the lot.
        try:
            return clips.draw(self.store, record, number, self.config)
        except (OSError, ValueError):
            self.unread.append(True)
            return None

    def _blank(self) -> Clip:
        size = (self.config.frames, *self.config.size_in(self.store))
        frames = np.full((*size, 3), self.store.fill, dtype=np.uint8)
        label = "|" if self.store.several else self.store.classes[0]
        return Clip(frames, np.ones(size, dtype=bool), label)


@dataclass(frozen=True)
class FeatureInputs:
    """Features of every draw of every record: what `PixelInputs` reads, through the backbone, once."""

    bank: Views

    def digest(self) -> str:
        """SHA-256 (hex) of all features; as private as they are."""
        digest = hashlib.sha256()
        for name, value in vars(self.bank).items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def read(self, records_N: np.ndarray, draws_NK: np.ndarray) -> Views:
        at = (torch.from_numpy(records_N)[:, None], torch.from_numpy(draws_NK))
        bank = self.bank
        return Views(bank.full[at], bank.public[at], bank.labels[at], bank.usable[at], bank.changed[at])
