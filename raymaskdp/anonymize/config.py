"""All settings of `anonymize`, in one frozen tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp import config as configuration
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.compose.config import DIFFUSION, CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.compose.diffusion.weights import check_weights
from raymaskdp.anonymize.people.config import PoseConfig, check_source
from raymaskdp.anonymize.pools import FIND, REFINE, PoolConfig, PoolName, PoolsConfig
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.bodies.fitting.config import FitConfig
from raymaskdp.bodies.settings.render import RenderConfig
from raymaskdp.errors import UserError
from raymaskdp.video.sandbox import DecodeLimits


@dataclass(frozen=True, kw_only=True)
class AnonymizeConfig:
    """Settings of `anonymize`, with a group for each stage.

    Attributes:
      pose: detection and tracking of people.
      fit: fitting of bodies.
      plate: the background without people.
      render: drawing of avatars.
      composite: avatars over the background.
      verify: checks, and redaction of what they find.
      diffusion: how `composite.refine=diffusion` works.
      on_doubt: where a person may have been missed or has no pose, "redact" the region, or "quarantine" the
        video for a reviewer.
      decode: limits of decoding; a video that exceeds them fails.
      body: an SMPL-H file; None for the embedded body.
      secret_file: 32 private bytes that determine the avatars of people; created on first use. None for a
        hidden file beside the output folder. Never publish it.
      chunk_seconds: a video is written in chunks of this length; if its worker dies, another worker resumes
        after the last complete chunk.
      chunks: a private folder for these chunks, which all workers can access; None for a hidden one beside
        the output folder. The chunks of a video are deleted once it is decided.
      workers: largest number of videos processed in parallel. None for one on each CPU of this machine, or
        for as many as an autoscaling cluster can hold, which adapts during the run; 0 to work in this
        process, without Ray.
      gpus: share of a GPU that each worker holds, such as 0.25; 0 renders on the CPU. With a refiner that
        uses a GPU, only the workers of the pool `refine` hold it, and those of `find` if `pose` names
        networks of `transformers`.
      pools: workers of single stages, where they need pools of their own.
      address: a Ray cluster to join; None for the current one, or else a local one.
    """

    RENAMED: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"piece_seconds": "chunk_seconds", "pieces": "chunks"}
    )
    """New names of settings that earlier versions called otherwise; the old ones are an error."""

    pose: PoseConfig = field(default_factory=PoseConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    plate: PlateConfig = field(default_factory=PlateConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    composite: CompositeConfig = field(default_factory=CompositeConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    decode: DecodeLimits = field(default_factory=DecodeLimits)
    on_doubt: Literal["redact", "quarantine"] = "redact"
    body: Path | None = None
    secret_file: Path | None = None
    chunk_seconds: Annotated[float, check.Range(0.1, 3600), Unit("s")] = 60.0
    chunks: Path | None = None
    workers: Annotated[int, check.Range(0)] | None = None
    gpus: Annotated[float, check.Range(0)] = 0.0
    pools: PoolsConfig = field(default_factory=PoolsConfig)
    address: str | None = None

    def __post_init__(self) -> None:
        check.fields(self)
        check_source(self.pose)
        _require_second_opinion(self.pose, self.verify)
        if self.composite.refine == DIFFUSION:
            check_weights(self.diffusion)

    def digest(self) -> str:
        """SHA-256 of all settings that affect the output, without the secret and the settings of the
        machines.
        """
        replaced = dataclasses.replace(
            self, decode=DecodeLimits(), secret_file=None, chunks=None, workers=None, gpus=0.0, address=None
        )
        plain = configuration.plain(replaced)
        del plain["pools"]
        # Under the names of earlier versions, so that their finished videos are not processed again.
        plain["piece_seconds"], plain["pieces"] = plain.pop("chunk_seconds"), plain.pop("chunks")
        return configuration.digest(plain)

    def needs(self, pool: PoolName) -> PoolConfig:
        """The workers of a pool, with the values of `workers` and `gpus` where it has none of its own."""
        own: PoolConfig = getattr(self.pools, pool)
        gpus = own.gpus
        if gpus is None:
            gpus = self.gpus if self.gpus and self._uses_gpu(pool) else 0.0
        workers = own.workers if own.workers is not None else self.workers
        return dataclasses.replace(own, workers=workers or None, gpus=gpus)

    def in_one_pool(self) -> AnonymizeConfig:
        """The same with all stages in one pool, whose workers hold the share `gpus`."""
        alike = PoolConfig(gpus=self.gpus)
        return dataclasses.replace(self, pools=PoolsConfig(find=alike, refine=alike, compose=alike))

    def _uses_gpu(self, pool: PoolName) -> bool:
        """Whether a pool uses the share `gpus`: all of them, unless there is a refiner that needs it."""
        from raymaskdp.anonymize.compose.refiners import REFINERS  # loads networks, which help does not need

        if not REFINERS[self.composite.refine].gpu or pool == REFINE:
            return True
        pose = self.pose
        return pool == FIND and any(name is not None for name in (pose.detector, pose.keypoints, pose.masks))


def _require_second_opinion(pose: PoseConfig, verify: VerifyConfig) -> None:
    """Raise `UserError` if the second detector is the first one, because it would miss the same people."""
    if pose.detector is None or verify.detector is None:
        return
    folder, file = Path(pose.detector).expanduser().resolve(), verify.detector.resolve()
    if file.is_relative_to(folder):
        raise UserError(
            f"verify.detector={verify.detector} is in the folder of pose.detector, but the second "
            "detection must be by another network; leave one of them out."
        )
