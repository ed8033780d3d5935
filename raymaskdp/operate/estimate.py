"""`raymaskdp estimate`: the time, machines, storage and money that anonymizing a source will need."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from raymaskdp import config, places, storage
from raymaskdp.anonymize import pipeline, shared_background, stages
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.output import manifest
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.datasets.manifest import VideoRecord, read_source
from raymaskdp.datasets.tables import read_parquet
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import UserError
from raymaskdp.files import require_ours, write_json
from raymaskdp.operate.cluster_simulation import Cluster, simulate
from raymaskdp.operate.config import EstimateConfig
from raymaskdp.operate.cost_model import Profile, Size, learn, samples_of
from raymaskdp.places import Place, temporary_folder
from raymaskdp.video import sandbox

PROBED = 400
"""Largest number of videos that are probed; the others are assumed to be like them."""

PROBED_FAR = 40
"""The same for videos on an object store, which have to be downloaded for it."""

USED = "processor_seconds"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The cost of the run on a number of machines.

    Attributes:
      nodes: machines.
      hours, hours_low, hours_high: of wall-clock time, and its range (about nine in ten).
      node_hours: machine hours, start-up and idle ones included.
      money: at the given price.
      busy: share of the paid time that was spent on videos.
    """

    nodes: int
    hours: float
    hours_low: float
    hours_high: float
    node_hours: float
    money: float
    busy: float


@dataclass(frozen=True, kw_only=True)
class EstimateResult:
    """The estimate.

    Attributes:
      videos, frames: of the source; `frames` is an estimate if not all videos were probed.
      machine: the machine of the times.
      samples: number of measured videos.
      frames_per_second: of one worker.
      shares: share of each stage in a worker's time.
      worker_hours: of all videos, on one worker.
      longest_seconds: of the longest video, a lower bound for any cluster.
      gigabytes: that will be written.
      error: relative error that the range allows for.
      offers: one for each number of machines.
    """

    videos: int
    frames: int
    machine: str
    samples: int
    frames_per_second: float
    shares: dict[str, float]
    worker_hours: float
    longest_seconds: float
    gigabytes: float
    error: float
    offers: tuple[Offer, ...]

    def __str__(self) -> str:
        shares = ", ".join(
            f"{name} {share:.0%}" for name, share in sorted(self.shares.items(), key=lambda item: -item[1])
        )
        lines = [
            f"{self.videos} videos, about {self.frames} frames; "
            f"measured on {self.samples} of them, on {self.machine}",
            f"one worker: {self.frames_per_second:.2f} frames/s, {self.worker_hours:.2f} hours ({shares})",
            f"written: about {self.gigabytes:.2f} GB; the longest video takes {self.longest_seconds:.0f} s",
            "",
            "| machines | hours | range | machine hours | money | busy |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {offer.nodes} | {offer.hours:.3g} | {offer.hours_low:.3g} to {offer.hours_high:.3g} "
            f"| {offer.node_hours:.3g} | {offer.money:.2f} | {offer.busy:.0%} |"
            for offer in self.offers
        ]
        return "\n".join(lines)


def estimate(source: Place, settings: EstimateConfig) -> EstimateResult:
    """Estimate a run of `anonymize` over `source`.

    Processes a few of its videos on one worker of a local Ray cluster, in a temporary folder, unless a
    profile or a run is given.

    Raises `UserError` if there are no times to estimate from.
    """
    if settings.save_profile is not None:
        require_ours(settings.save_profile)  # before the work
    records = read_source(source)
    draw = random.Random(settings.seed)
    most = PROBED_FAR if any(places.is_url(record.path) for record in records) else PROBED
    probed = records if len(records) <= most else tuple(draw.sample(records, most))
    limits = settings.anonymize.decode
    sizes = {record.video_id: size for record in probed if (size := _size(record, limits)) is not None}
    if not sizes:
        raise UserError(
            f"No video of {source} can be read; `raymaskdp anonymize` reports the reason for each."
        )
    profile = _profile([record for record in probed if record.video_id in sizes], sizes, settings, draw)
    if settings.save_profile is not None:
        write_json(settings.save_profile, config.to_dict(profile))
    known = list(sizes.values())
    all_sizes = [sizes.get(record.video_id) or draw.choice(known) for record in records]
    seconds = [profile.video(size) for size in all_sizes]
    total, frames = sum(seconds), sum(size.frames for size in all_sizes)
    area = sum(size.frames * size.megapixels for size in all_sizes)
    result = EstimateResult(
        videos=len(records),
        frames=frames,
        machine=profile.machine,
        samples=profile.samples,
        frames_per_second=frames / total,
        shares={
            name: sum(profile.stage(name, size) for size in all_sizes) / total for name in profile.seconds
        },
        worker_hours=total / 3600,
        longest_seconds=max(seconds),
        gigabytes=area * profile.megabytes / 1000,
        error=profile.error,
        offers=tuple(
            _offer(nodes, seconds, _starts(records, settings.anonymize), profile, settings)
            for nodes in settings.nodes
        ),
    )
    if settings.out is not None:
        write_json(settings.out / manifest.COST_PLAN, dataclasses.asdict(result))
    return result


def _starts(records: Sequence[VideoRecord], settings: AnonymizeConfig) -> int:
    """How often workers start: for observations, for plates and for all videos, or once."""
    return 3 if shared_background.donors(records, settings.plate.shared_videos) else 1


def _offer(
    nodes: int, seconds: Sequence[float], starts: int, profile: Profile, settings: EstimateConfig
) -> Offer:
    cores = settings.cores or os.cpu_count() or 1
    slower = profile.slower(settings.workers, cores)
    start = starts * profile.start * profile.slower(settings.workers, cores, starting=True)
    cluster = Cluster(
        nodes=nodes,
        workers=settings.workers,
        node_start=settings.node_start,
        worker_start=start,
        losses=settings.losses,
    )
    outcome = simulate([slower * each for each in seconds], cluster, seed=settings.seed)
    # The errors of the videos' times are fully correlated, by about the profile's error.
    spread = math.exp(1.65 * profile.error)
    start += settings.node_start
    working = max(outcome.seconds - start, 0.0)
    return Offer(
        nodes=nodes,
        hours=outcome.seconds / 3600,
        hours_low=(start + working / spread) / 3600,
        hours_high=(start + working * spread) / 3600,
        node_hours=outcome.node_seconds / 3600,
        money=outcome.node_seconds / 3600 * settings.price,
        busy=outcome.busy,
    )


def _profile(
    records: Sequence[VideoRecord], sizes: dict[str, Size], settings: EstimateConfig, draw: random.Random
) -> Profile:
    if settings.profile is not None:
        return config.load(Profile, settings.profile)
    if settings.run is not None:
        table = read_parquet(settings.run / manifest.MANIFEST).to_dict("records")
        samples = samples_of(table, {str(row["video_id"]): _written(settings.run, row) for row in table})
        return learn(samples, machine=f"the machines of {settings.run}", start=0.0)
    if not settings.sample:
        raise UserError("Give sample=4 to measure videos here, or a profile, or a run.")
    ordered = sorted(records, key=lambda r: sizes[r.video_id].frames * sizes[r.video_id].megapixels)
    step = max(len(ordered) / settings.sample, 1.0)
    picks = sorted(
        {min(int((number + draw.random()) * step), len(ordered) - 1) for number in range(settings.sample)}
    )
    return _measure([ordered[pick] for pick in picks if pick < len(ordered)], settings.anonymize)


class Clock:
    """The last stage of a sample: records the processor time of its worker so far."""

    def __init__(self, config: AnonymizeConfig, job: stages.Job) -> None:
        pass

    def __call__(self, item: Item) -> Item:
        times = os.times()
        used = times.user + times.system + times.children_user + times.children_system
        if not isinstance(item, Decided):
            return item
        return dataclasses.replace(item, metrics={**item.metrics, USED: used})


def _measure(records: Sequence[VideoRecord], settings: AnonymizeConfig) -> Profile:
    """Process some videos on one worker, as a run does, the first of them twice.

    The start (processes, imports, networks) is the time that repeated videos do not need.
    """
    twice = dataclasses.replace(records[0], video_id=f"{records[0].video_id}-first")
    items = [Pending(record=record) for record in (twice, *records)]
    with temporary_folder("plan-") as folder, ray_cluster(num_cpus=1):
        out, unverified = folder / "out", folder / "work"
        out.mkdir()
        unverified.mkdir()
        job = stages.Job(out=out, work=unverified, secret=SecretFile.at(folder / "secret"))
        began = time.perf_counter()
        done = list(
            tqdm(
                pipeline.on_ray(
                    items,
                    dataclasses.replace(settings, workers=1).in_one_pool(),
                    job,
                    stages=(*pipeline.STAGES, Clock),
                ),
                total=len(items),
                desc="sample",
                unit="video",
                leave=False,
            )
        )
        wall = time.perf_counter() - began
        decided = [item for item in done if isinstance(item, Decided)]
        rows = {item.record.video_id: dataclasses.asdict(manifest.row_of(item, "")) for item in decided}
        megabytes = {name: _written(out, row) for name, row in rows.items()}
        del rows[twice.video_id]
        samples = samples_of(rows.values(), megabytes)
        steady = sum(float(str(row["seconds"])) for row in rows.values())
        again = float(str(rows[records[0].video_id]["seconds"]))
        used = [item.metrics[USED] for item in decided if USED in item.metrics] or [0.0]
        return learn(
            samples,
            machine=f"this machine ({platform.machine()}), one worker",
            start=max(wall - steady - again, 0.0),
            cores=(max(used) - min(used)) / max(steady, 1e-9),
        )


def _written(folder: Path, row: dict[str, object]) -> float:
    """Megabytes of a video's files in an output folder."""
    name = str(row["video_id"])
    files = [folder / f"{name}{suffix}" for suffix in (*manifest.DATA_SUFFIXES, ".json")]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def _size(record: VideoRecord, limits: sandbox.DecodeLimits) -> Size | None:
    """The size of a video; None if it cannot be read, in which case it costs almost nothing, and the run
    reports it.
    """
    try:
        with storage.local_copy(record.path) as path:
            info = sandbox.probe(path, limits)
    except UserError:
        return None
    return Size(frames=info.num_frames, megapixels=info.width * info.height / 1e6)
