"""The data of one video that are passed from stage to stage: names, digests and packed results, never frames.

A video is `Pending`, then `Analyzed`, then `Decided`. Each phase has only the fields that are known in it.
`Decided` may follow any of them, because a video may fail or be quarantined at any time. Where stages have
pools of their own, a video is `Drawn` and `Lit` before it is decided.
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
from raymaskdp.video.containers.same_file import SameFile, Seen
from raymaskdp.video.reader import VideoInfo

Status = Literal["done", "quarantined", "failed"]


@dataclass(frozen=True, kw_only=True)
class BackgroundSharing:
    """Other videos of the camera use this video's background.

    Attributes:
      camera: as in the manifest.
      plates: the private folder of observations and plates.
    """

    camera: str
    plates: Path


@dataclass(frozen=True, kw_only=True)
class Item:
    """One video in any phase.

    Attributes:
      record: its names and its path.
      released: reasons for a quarantine that a reviewer has accepted (`decisions`).
      truth: file of ground truth, if the video was synthesized.
      shares: how its background is shared; None if it is not.
      views: file of the views of its camera; None for a video without views.
      local: local copy of a source on an object store, while a worker has one; None for a file.
      source_version: the store's version that was read.
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
        """The next phase of a video: the fields that both phases have, and those in `known`."""
        names = {one.name for one in dataclasses.fields(cls)}
        both = {one.name: getattr(item, one.name) for one in dataclasses.fields(item) if one.name in names}
        return cls(**(both | known))


@dataclass(frozen=True, kw_only=True)
class Pending(Item):
    """A video that was not read yet."""


@dataclass(frozen=True, kw_only=True)
class InWork(Item):
    """A video with detected people that is not decided yet; the base of the phases in between.

    Attributes:
      source_sha256: digest of the source file; "" for the known video of a self-test.
      source_seen: what the file system said of the source file when its digest was taken (`SameFile`).
      info: size, rate and length of the source.
      analysis: packed people and motions, or the file with them in the private folder of the run, until the
        plate of the camera exists; sensitive.
      num_people: tracks.
      metrics: figures for the manifest, plain numbers.
    """

    source_sha256: str
    source_seen: Seen
    info: VideoInfo
    analysis: bytes | Path
    num_people: int
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def film(self) -> SameFile:
        """The source for further passes, which must be over the content with the digest."""
        return SameFile(self.source, self.source_sha256, self.source_seen)

    def packed(self) -> bytes:
        """The packed analysis, from memory or from its file."""
        return self.analysis.read_bytes() if isinstance(self.analysis, Path) else self.analysis


@dataclass(frozen=True, kw_only=True)
class Analyzed(InWork):
    """A video with detected people and fitted bodies.

    Attributes:
      observation: file of its observed background; None if none is kept.
    """

    observation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Drawn(InWork):
    """A video whose frames were emptied and whose avatars were drawn, in files for the refiner.

    Attributes:
      problems: of the background; a video with one is not released.
    """

    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lit(InWork):
    """A drawn video whose avatars were fitted into their scene by the refiner, in files beside the others.

    Attributes:
      problems: as before.
    """

    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decided(Item):
    """A video with a verdict; later stages return it unchanged.

    Attributes:
      status: the verdict.
      reasons: of a quarantine or failure, one sentence each, without personal detail.
      fault: the error of a failure whose cause is not the source; "" for an error that users can fix.
      source_sha256: digest of the source file, "" if it was not read.
      info: size, rate and length of the source, None if it was not read.
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
