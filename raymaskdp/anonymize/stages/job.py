"""The folders of a run, which all of its stages share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import InWork, Item
from raymaskdp.anonymize.output.chunks import Chunks
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.output.unfinished import chunks_folder, chunks_of


@dataclass(frozen=True, kw_only=True)
class Job:
    """The folders of a run.

    Attributes:
      out: the output folder.
      work: a private folder on the same file system, for unverified files.
      secret: the file of the 32 bytes that determine the avatars; every worker reads it itself.
      plates: a private folder that outlives the run, for observations and views; None if none are shared.
      chunks: a private folder that outlives a killed run, for the complete chunks of unfinished videos; None
        if videos always start from the beginning.
      frames: a private folder that lasts as long as the run, for the results of stages whose successors have
        pools of their own; None if all stages share one pool.
      store: the URL to publish to, None if `out` is the output folder itself; with it a worker uses its own
        folders instead of `out` and `work` (`object_store`).
    """

    out: Path
    work: Path
    secret: SecretFile
    plates: Path | None = None
    chunks: Path | None = None
    frames: Path | None = None
    store: str | None = None

    def frames_of(self, item: Item) -> Path:
        """The private folder of a video in `frames`, named by a digest of its name."""
        if self.frames is None:
            raise ValueError("this run has no folder for the results of stages")
        name = hashlib.sha256(item.record.video_id.encode("utf-8", "surrogateescape")).hexdigest()
        folder = self.frames / name[:32]
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def chunks_of(self, item: InWork, config: AnonymizeConfig, otherwise: Path | None = None) -> Chunks:
        """The chunks of a video; in `otherwise`, or else with its frames, if they do not outlive the run."""
        kept = chunks_folder(self.chunks, self.secret, item, item.source_sha256, config.digest())
        return chunks_of(item, kept or otherwise or self.frames_of(item), config.chunk_seconds)
