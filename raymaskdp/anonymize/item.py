"""What travels from stage to stage for one video: names, digests and packed results, never frames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video.reader import VideoInfo

Status = Literal["pending", "done", "quarantined", "failed"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One video on its way through the stages.

    Attributes:
      record: who and where it is.
      status: "pending" until a stage decides; a decided item passes the later stages untouched.
      reasons: why it was quarantined or failed, one sentence each, without personal detail.
      fault: the error that failed it, where that was not said of its source: "" for what users can mend.
      released: reasons to quarantine it that somebody has looked at and accepted (`decisions`).
      source_sha256: digest of the source file, "" before it was read.
      local: copy of a source that is on an object store, while a worker has one; None for a file.
      source_version: what the store calls the version that was read.
      info: size, rate and length of the source, None before it was read.
      analysis: packed people and motions between analysis and synthesis; sensitive.
      analysis_file: where they wait, in the private folder of the run, for the plate of the camera.
      lends: whether what it shows of the background is for other videos of its camera, too.
      observation: file of what it shows of the background.
      views: file of what its camera sees in all videos; None for a video that is left to itself.
      num_people: tracks.
      seconds: working time so far, of all stages.
      truth: file of ground truth, where the video was synthesized.
      metrics: figures for the manifest, plain numbers.
      outputs: SHA-256 of each file written, by name.
    """

    record: VideoRecord
    status: Status = "pending"
    reasons: tuple[str, ...] = ()
    fault: str = ""
    released: tuple[str, ...] = ()
    source_sha256: str = ""
    local: str | None = None
    source_version: str | None = None
    info: VideoInfo | None = None
    analysis: bytes | None = None
    analysis_file: str | None = None
    lends: bool = False
    observation: str | None = None
    views: str | None = None
    num_people: int = 0
    seconds: float = 0.0
    truth: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The file to read."""
        return self.local or self.record.path


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as compressed bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_arrays(packed: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack_arrays`."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
