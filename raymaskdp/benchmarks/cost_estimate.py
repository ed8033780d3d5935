"""Estimates and measurements: the wall time that `raymaskdp estimate` predicts, and that of the runs.

`raymaskdp benchmark estimate`. Videos of several lengths are rendered, and the estimate is made from a few of
them. Then all of them are anonymized by one worker and by two. The estimate is made first, so it is
independent of the runs.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.benchmarks.settings.videos import CostEstimateConfig
from raymaskdp.datasets.manifest import VideoRecord, read_source, write_table
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.operate.config import EstimateConfig
from raymaskdp.operate.estimate import estimate
from raymaskdp.places import temporary_folder
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize


@dataclass(frozen=True, kw_only=True)
class CostEstimateRow:
    """Wall time in seconds on a number of workers: predicted, with its range, and measured; the error is
    signed.
    """

    workers: int
    predicted: float
    low: float
    high: float
    taken: float
    error: float


@dataclass(frozen=True, kw_only=True)
class CostEstimateResult:
    """One row for each number of workers.

    Attributes:
      machine: processors and architecture.
      videos, frames: of the run.
      rows: predictions and runs.
    """

    machine: str
    videos: int
    frames: int
    rows: tuple[CostEstimateRow, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.videos} videos, {self.frames} frames, on {self.machine}",
            "",
            "| workers | predicted (s) | range (s) | taken (s) | predicted over taken |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.workers} | {row.predicted:.0f} | {row.low:.0f} to {row.high:.0f} "
            f"| {row.taken:.0f} | {row.error:+.0%} |"
            for row in self.rows
        ]
        return "\n".join(lines)


def benchmark_estimate(config: CostEstimateConfig) -> CostEstimateResult:
    """Estimate, run, and compare. The workers are those of a running Ray cluster, as in practice."""
    with temporary_folder("plan-") as folder:
        source = _draw(Path(folder), config)
        profile = Path(folder) / "profile.yaml"
        first = estimate(source, EstimateConfig(sample=config.sample, nodes=(1,), save_profile=profile))
        rows = []
        for workers in config.workers:
            # One machine with so many workers, whose mutual slowdown is part of the comparison.
            offer = estimate(source, EstimateConfig(profile=profile, nodes=(1,), workers=workers)).offers[0]
            with ray_cluster(num_cpus=workers):
                done = anonymize(
                    source, Path(folder) / f"out{workers}", AnonymizeConfig(workers=workers), progress=False
                )
            predicted, low, high = (
                3600 * hours for hours in (offer.hours, offer.hours_low, offer.hours_high)
            )
            rows.append(
                CostEstimateRow(
                    workers=workers,
                    predicted=predicted,
                    low=low,
                    high=high,
                    taken=done.seconds,
                    error=predicted / done.seconds - 1,
                )
            )
        return CostEstimateResult(
            machine=f"{os.cpu_count()} processors, {platform.machine()}",
            videos=first.videos,
            frames=first.frames,
            rows=tuple(rows),
        )


def _draw(folder: Path, config: CostEstimateConfig) -> Path:
    """Videos of all lengths, and their manifest."""
    records: list[VideoRecord] = []
    for frames in config.frames:
        part = folder / f"f{frames}"
        synthesize(
            part, SynthesizeConfig(people=config.people, actions=("wave",), rooms=2, cameras=1, frames=frames)
        )
        records += [
            VideoRecord(video_id=f"f{frames}_{record.video_id}", path=record.path)
            for record in read_source(part)
        ]
    write_table(folder / "manifest.parquet", records)
    return folder / "manifest.parquet"
