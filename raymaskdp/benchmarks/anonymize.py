"""Overhead and gain of Ray for `anonymize`: `raymaskdp benchmark anonymize`.

The same small videos are processed by the same stages in a plain loop, on one worker and on two, each with
one thread and after a warm-up that is not measured. Poses come from files, so that the time of networks does
not hide that of the pipeline. No-op videos measure the cost of a row. One video in several lengths, each in a
separate process, measures the memory by length.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from raymaskdp.anonymize import anonymize, pipeline
from raymaskdp.anonymize.compose.config import DIFFUSION, CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.sources.smpl import SMPL_PELVIS
from raymaskdp.anonymize.stages import Job
from raymaskdp.benchmarks.settings.videos import BenchmarkAnonymizeConfig
from raymaskdp.datasets.manifest import VideoRecord, read_source
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import reader
from raymaskdp.video.writer import VideoWriter

FPS = 12.0

WAYS = {"overhead": ("plain", "one"), "workers": ("one", "two")}
"""The ways that some parts compare."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Ratio of two speeds, over the rounds, because the load of the machine changes from round to round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, speeds: Mapping[str, Sequence[float]], way: str, than: str) -> Ratio | None:
        """None where one of the two was not measured."""
        if not {way, than} <= speeds.keys():
            return None
        shares = [fast / slow for fast, slow in zip(speeds[way], speeds[than], strict=True)]
        return cls(median=statistics.median(shares), low=min(shares), high=max(shares))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Length of a video, and peak memory of anonymizing it, in MiB of the process; without Ray."""

    minutes: float
    frames: int
    peak_mib: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkAnonymizeResult:
    """Figures, and the machine; None or empty if not measured.

    Attributes:
      plain_fps, one_fps, two_fps: frames a second in a plain loop, on one worker, on two.
      of_ideal: one worker's speed as a share of the plain loop's.
      speedup: of two workers over one.
      rows_per_second: no-op videos through the pipeline.
      memory: by length.
    """

    machine: str
    plain_fps: float | None
    one_fps: float | None
    two_fps: float | None
    of_ideal: Ratio | None
    speedup: Ratio | None
    rows_per_second: float | None
    memory: tuple[MemoryRow, ...]

    def __str__(self) -> str:
        lines = [self.machine]
        if self.one_fps is not None:
            lines += ["", "| | frames/s |", "| --- | --- |"]
            if self.plain_fps is not None:
                lines.append(f"| plain loop | {self.plain_fps:.1f} |")
            share = "" if self.of_ideal is None else f": {self.of_ideal} of the plain loop"
            lines.append(f"| one worker | {self.one_fps:.1f}{share} |")
            if self.two_fps is not None:
                lines.append(f"| two workers | {self.two_fps:.1f}: {self.speedup} times one |")
        if self.rows_per_second is not None:
            lines += ["", f"No-op videos: {self.rows_per_second:.0f} rows/s"]
        if self.memory:
            lines += ["", "| minutes | frames | peak MiB | seconds |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {row.minutes:g} | {row.frames} | {row.peak_mib:.0f} | {row.seconds:.0f} |"
                for row in self.memory
            ]
        return "\n".join(lines)


class Nothing:
    """A no-op stage, which leaves only the cost of the pipeline."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None: ...

    def __call__(self, item: Item) -> Item:
        """The item, unchanged."""
        return item


def benchmark_anonymize(settings: BenchmarkAnonymizeConfig) -> BenchmarkAnonymizeResult:
    """Measure the pipeline. It takes some minutes, on an otherwise idle machine."""
    rows, memory = None, list[MemoryRow]()
    speeds: dict[str, list[float]] = {}
    with _threads(1), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if ways := {way for part in settings.parts for way in WAYS.get(part, ())}:
            speeds = _speeds(ways, settings, work)
        if "rows" in settings.parts:
            rows = _rows_per_second(settings.rows, AnonymizeConfig(), work)
        if "memory" in settings.parts:
            small = dataclasses.replace(settings, videos=4, width=160, height=120)
            filmed = film(work / "small", small)[0]
            lengths = tqdm(settings.minutes, desc="memory", unit="film")
            memory = [_memory(minutes, settings.memory_fps, work, filmed) for minutes in lengths]
    medians = {way: statistics.median(some) for way, some in speeds.items()}
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}; {settings.videos} videos of {settings.frames} frames, "
        f"{settings.width}x{settings.height}, median of {settings.rounds} (lowest to highest)"
    )
    return BenchmarkAnonymizeResult(
        machine=machine,
        plain_fps=medians.get("plain"),
        one_fps=medians.get("one"),
        two_fps=medians.get("two"),
        of_ideal=Ratio.of(speeds, "one", "plain"),
        speedup=Ratio.of(speeds, "two", "one"),
        rows_per_second=rows,
        memory=tuple(memory),
    )


def _speeds(wanted: Set[str], settings: BenchmarkAnonymizeConfig, work: Path) -> dict[str, list[float]]:
    """Frames a second of each round, by way. The ways alternate, so a slow minute affects all of them."""
    records = film(work / "film", settings)
    config = AnonymizeConfig(
        pose=PoseConfig(source="smpl", skeletons=work / "film" / "poses", veto=False),
        composite=CompositeConfig(refine=settings.refine),
        diffusion=_small_networks(work / "weights") if settings.refine == DIFFUSION else DiffusionConfig(),
    )
    ways: dict[str, Callable[[Sequence[Item], Job], Iterator[Item]]] = {
        "plain": lambda items, job: pipeline.in_process(items, config, job),
        "one": lambda items, job: pipeline.on_ray(items, _workers(config, 1), job),
        "two": lambda items, job: pipeline.on_ray(items, _workers(config, 2), job),
    }
    ways = {way: run for way, run in ways.items() if way in wanted}
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    with tqdm(total=len(ways) * settings.rounds, desc="anonymize", unit="round") as progress:
        for _ in range(settings.rounds):
            for way, run in ways.items():
                speeds[way].append(_speed(run, records, settings, work / "round"))
                progress.update()
    return speeds


def _small_networks(folder: Path) -> DiffusionConfig:
    from raymaskdp.benchmarks.diffusion import tiny_diffusion

    named: dict[str, Any] = {**tiny_diffusion.sd15(folder)}
    return DiffusionConfig(**named, side=128, steps=4, strength=0.5, guidance=1.0, max_pose_shift=0.0)


def film(folder: Path, settings: BenchmarkAnonymizeConfig) -> list[VideoRecord]:
    """Small videos of one person each, with their poses in the folder `poses` below."""
    synthesize(
        folder,
        SynthesizeConfig(
            seed=settings.seed, actions=("wave",), people=settings.videos, rooms=4, cameras=1,
            frames=settings.frames, fps=FPS, width=settings.width, height=settings.height, test_share=0.0,
        ),
    )  # fmt: skip
    for path in (folder / "truth").glob("*.npz"):
        write_poses(path, folder / "poses" / path.name)
    shutil.rmtree(folder / "truth")
    # Without a camera: with shared plates, every round would pass the workers twice.
    return [dataclasses.replace(record, camera=None) for record in read_source(folder)]


def write_poses(truth: Path, path: Path) -> None:
    """The first person of a truth file in AMASS's format."""
    with np.load(truth) as stored:
        turns_TJ3 = stored["rotations"][0]
        moved_T3 = stored["joints3d"][0, :, 0] - SMPL_PELVIS
        camera_33, fps = stored["camera"], stored["fps"]
    path.parent.mkdir(exist_ok=True)
    np.savez(
        path,
        poses=turns_TJ3.reshape(len(turns_TJ3), -1),
        trans=moved_T3,
        mocap_framerate=fps,
        camera=camera_33,
    )


def _workers(config: AnonymizeConfig, workers: int) -> AnonymizeConfig:
    return dataclasses.replace(config, workers=workers)


def _speed(
    run: Callable[[Sequence[Item], Job], Iterator[Item]],
    records: Sequence[VideoRecord],
    settings: BenchmarkAnonymizeConfig,
    folder: Path,
) -> float:
    """Frames a second after a third of the videos, without the start of the workers."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "secret").write_bytes(bytes(32))
    job = Job(out=folder / "out", work=folder / "work", secret=SecretFile.at(folder / "secret"))
    job.out.mkdir()
    job.work.mkdir()
    times = []
    for item in run([Pending(record=record) for record in records], job):
        if not isinstance(item, Decided):
            continue
        if item.status != "done":
            reasons = "; ".join(item.reasons)
            raise UserError(f"The benchmark's own video was {item.status}: {reasons}. Try another seed.")
        times.append(time.perf_counter())
    begun = max(2, len(times) // 3)
    return settings.frames * (len(times) - begun) / (times[-1] - times[begun - 1])


def _rows_per_second(rows: int, config: AnonymizeConfig, folder: Path) -> float:
    """No-op videos a second on one worker, without the first row."""
    job = Job(out=folder, work=folder, secret=SecretFile.at(folder / "secret"))
    items = [Pending(record=VideoRecord(video_id=f"v{n}", path="none.mp4")) for n in range(rows)]
    done = pipeline.on_ray(items, _workers(config, 1), job, stages=(Nothing,))
    next(done)
    began = time.perf_counter()
    count = sum(1 for _ in done)
    return count / (time.perf_counter() - began)


def _memory(minutes: float, fps: float, folder: Path, filmed: VideoRecord) -> MemoryRow:
    """Peak memory of anonymizing a video of that length in a separate process, without Ray."""
    frames_THW3 = list(reader.stream(filmed.path))
    repeat = max(1, round(60 * fps * minutes / len(frames_THW3)))
    height, width = frames_THW3[0].shape[:2]
    video = folder / f"long-{minutes:g}.mp4"
    with VideoWriter(video, width=width, height=height, fps=fps) as writer:
        for _ in range(repeat):
            for frame_HW3 in frames_THW3:
                writer.write(frame_HW3)
    poses = Path(filmed.path).parents[1] / "poses"
    with np.load(poses / f"{filmed.video_id}.npz") as stored:
        longer = {
            name: np.tile(stored[name], (repeat, 1)) if name in ("poses", "trans") else stored[name]
            for name in stored.files
        }
    np.savez(poses / f"{video.stem}.npz", **(longer | {"mocap_framerate": fps}))  # type: ignore[arg-type]
    command = f"from raymaskdp.benchmarks.anonymize import alone; alone({str(video)!r}, {str(poses)!r})"
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError(f"The benchmark's own film of {minutes:g} minutes failed:\n{said.stderr[-2000:]}")
    return MemoryRow(
        minutes=minutes,
        frames=repeat * len(frames_THW3),
        peak_mib=float(said.stdout.split()[-1]),
        seconds=time.perf_counter() - began,
    )


def alone(video: str, poses: str) -> None:
    """Anonymize a video in this process, and print its peak memory, in MiB."""
    pose = PoseConfig(source="smpl", skeletons=Path(poses), veto=False)
    config = AnonymizeConfig(pose=pose, workers=0)
    result = anonymize(video, Path(video).with_suffix(""), config, progress=False)
    if result.done != 1:
        raise UserError(str(result))
    # The kernel's value for this program alone; that of `getrusage` includes its parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Limit the threads of this process and of its children."""
    import cv2
    import torch

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    torch_before, cv2_before = torch.get_num_threads(), cv2.getNumThreads()
    os.environ.update(dict.fromkeys(names, str(number)))
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        torch.set_num_threads(torch_before)
        cv2.setNumThreads(cv2_before)
