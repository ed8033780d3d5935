"""What travels from stage to stage for one video: names, digests and packed results, never frames.

A video is `Pending`, then `Analyzed`, then `Decided`. Each phase has what is known in it, and nothing that is
not; any of them may be followed by `Decided`, because a video may fail or be held back at any time.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video.reader import VideoInfo

Status = Literal["done", "quarantined", "failed"]


@dataclass(frozen=True, kw_only=True)
class BackgroundSharing:
    """That other videos of its camera use what a video shows of the background.

    Attributes:
      camera: as the manifest has it.
      plates: the private folder for what cameras see.
    """

    camera: str
    plates: Path


@dataclass(frozen=True, kw_only=True)
class Item:
    """One video, whatever its phase.

    Attributes:
      record: its names and where it is.
      released: reasons to quarantine it that a reviewer has accepted (`decisions`).
      truth: file of ground truth, where the video was synthesized.
      shares: with whom it shares its background; None where with no other video.
      views: file of what its camera sees in all videos; None for a video that is left to itself.
      local: copy of a source that is on an object store, while a worker has one; None for a file.
      source_version: what the store calls the version that was read.
      seconds: working time so far, of all stages.
    """

    record: VideoRecord
    released: tuple[str, ...] = ()
    truth: str | None = None
    shares: BackgroundSharing | None = None
    views: str | None = None
    local: str | None = None
    source_version: str | None = None
    seconds: float = 0.0

    @property
    def source(self) -> str:
        """The file to read."""
        return self.local or self.record.path

    @classmethod
    def after(cls, item: Item, **known: Any) -> Self:
        """This phase of a video after another one: with what both have, and with what is `known` now."""
        names = {one.name for one in dataclasses.fields(cls)}
        both = {one.name: getattr(item, one.name) for one in dataclasses.fields(item) if one.name in names}
        return cls(**(both | known))


@dataclass(frozen=True, kw_only=True)
class Pending(Item):
    """A video of which nothing was read yet."""


@dataclass(frozen=True, kw_only=True)
class Analyzed(Item):
    """A video in which people were found and bodies fitted.

    Attributes:
      source_sha256: digest of the source file; "" for the known video of a self-test.
      info: size, rate and length of the source.
      analysis: packed people and motions, or the file in the private folder of the run where they wait for
        the plate of the camera; sensitive.
      num_people: tracks.
      observation: file of what it shows of the background; None where none is kept.
      metrics: figures for the manifest, plain numbers.
    """

    source_sha256: str
    info: VideoInfo
    analysis: bytes | Path
    num_people: int
    observation: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def packed(self) -> bytes:
        """The analysis, from wherever it is."""
        return self.analysis.read_bytes() if isinstance(self.analysis, Path) else self.analysis


@dataclass(frozen=True, kw_only=True)
class Decided(Item):
    """A video with a verdict; later stages pass it on as it is.

    Attributes:
      status: what became of it.
      reasons: why it was quarantined or failed, one sentence each, without personal detail.
      fault: the error that failed it, where that was not said of its source: "" for what users can fix.
      source_sha256: digest of the source file, "" where it was not read.
      info: size, rate and length of the source, None where it was not read.
      num_people: tracks.
      metrics: figures for the manifest, plain numbers.
      outputs: SHA-256 of each file written, by name.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    fault: str = ""
    source_sha256: str = ""
    info: VideoInfo | None = None
    num_people: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as compressed bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_arrays(packed: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack_arrays`."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
