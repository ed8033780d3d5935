"""What Ray costs `anonymize`, and what it gains: `raymaskdp benchmark anonymize`.

The same small videos go through the same stages in a plain loop, on one worker and on two, each with one
thread and after a warm-up that is not counted. Poses come from files, so that no network's speed hides
the pipeline's. Videos that are nothing show what a row costs; one video in several lengths, each in
a process of its own, what memory a length costs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from raymaskdp import check
from raymaskdp.anonymize import pipeline
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Item
from raymaskdp.anonymize.pose import PoseConfig
from raymaskdp.anonymize.sources.smpl import SMPL_PELVIS
from raymaskdp.anonymize.stages import Job
from raymaskdp.datasets.manifest import VideoRecord, read_source
from raymaskdp.datasets.synthesize import SynthesizeConfig, synthesize
from raymaskdp.errors import UserError
from raymaskdp.video import reader
from raymaskdp.video.writer import VideoWriter

FPS = 12.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkAnonymizeConfig:
    """What to measure.

    Attributes:
      videos, frames: so many videos of that length in each round.
      width, height: of the frames.
      rounds: of the plain loop, of one worker and of two, in turns; medians are given.
      rows: videos that are nothing, for the pipeline's own cost; 0 leaves it out.
      minutes: lengths of the videos for memory; none leaves it out.
      seed: of the people and rooms.
    """

    videos: int = 24
    frames: int = 24
    width: int = 320
    height: int = 240
    rounds: int = 3
    rows: int = 10_000
    minutes: tuple[float, ...] = (0.5, 1.0, 5.0)
    seed: int = 5

    def __post_init__(self) -> None:
        check.in_range("videos", self.videos, low=4)
        check.in_range("frames", self.frames, low=4)
        check.in_range("rounds", self.rounds, low=1)
        check.in_range("rows", self.rows, low=0)
        check.in_range("seed", self.seed, low=0)
        for minutes in self.minutes:
            check.positive("minutes", minutes)


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """A length of video, and the most memory that anonymizing it took, in MiB of the process."""

    minutes: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class BenchmarkAnonymizeResult:
    """Figures, and the machine they are of.

    Attributes:
      plain_fps, one_fps, two_fps: frames a second in a plain loop, on one worker, on two.
      of_ideal: one worker's speed as a share of the plain loop's.
      speedup: of two workers over one.
      rows_per_second: no-op videos through the pipeline; None where not measured.
      memory: by length.
    """

    machine: str
    plain_fps: float
    one_fps: float
    two_fps: float
    of_ideal: float
    speedup: float
    rows_per_second: float | None
    memory: tuple[MemoryRow, ...]

    def __str__(self) -> str:
        lines = [
            self.machine,
            "",
            "| | frames/s |",
            "| --- | --- |",
            f"| plain loop | {self.plain_fps:.1f} |",
            f"| one worker | {self.one_fps:.1f} ({self.of_ideal:.2f} of the plain loop) |",
            f"| two workers | {self.two_fps:.1f} ({self.speedup:.2f} times one) |",
        ]
        if self.rows_per_second is not None:
            lines += ["", f"No-op videos: {self.rows_per_second:.0f} rows/s"]
        if self.memory:
            lines += ["", "| minutes | peak MiB |", "| --- | --- |"]
            lines += [f"| {row.minutes:g} | {row.peak_mib:.0f} |" for row in self.memory]
        return "\n".join(lines)


class Nothing:
    """A stage that does nothing; what is left is the pipeline."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None: ...

    def __call__(self, item: Item) -> Item:
        """The item, unchanged."""
        return item


def benchmark_anonymize(settings: BenchmarkAnonymizeConfig) -> BenchmarkAnonymizeResult:
    """Measure the pipeline. Takes some minutes, on a machine that does nothing else."""
    with _threads(1), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        records = film(work / "film", settings)
        config = AnonymizeConfig(
            pose=PoseConfig(source="smpl", skeletons=work / "film" / "poses", veto=False)
        )
        ways: dict[str, Callable[[Sequence[Item], Job], Iterator[Item]]] = {
            "plain": lambda items, job: pipeline.in_process(items, config, job),
            "one": lambda items, job: pipeline.on_ray(items, _workers(config, 1), job),
            "two": lambda items, job: pipeline.on_ray(items, _workers(config, 2), job),
        }
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        with tqdm(total=len(ways) * (settings.rounds + 1), desc="anonymize", unit="round") as progress:
            for number in range(settings.rounds + 1):
                for way, run in ways.items():
                    fps = _speed(run, records, settings, work / "round")
                    if number:  # the first one warms up
                        speeds[way].append(fps)
                    progress.update()
            rows = _rows_per_second(settings.rows, config, work) if settings.rows else None
        medians = {way: statistics.median(some) for way, some in speeds.items()}
        # Shares are medians over rounds, too: what else the machine does changes from round to round.
        of_ideal = statistics.median(np.divide(speeds["one"], speeds["plain"]))
        speedup = statistics.median(np.divide(speeds["two"], speeds["one"]))
        memory = tuple(_memory(minutes, work, records[0]) for minutes in settings.minutes)
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}; {settings.videos} videos of {settings.frames} frames, "
        f"{settings.width}x{settings.height}, median of {settings.rounds}"
    )
    return BenchmarkAnonymizeResult(
        machine=machine,
        plain_fps=medians["plain"],
        one_fps=medians["one"],
        two_fps=medians["two"],
        of_ideal=float(of_ideal),
        speedup=float(speedup),
        rows_per_second=rows,
        memory=memory,
    )


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
    # Each by itself: with shared plates, every round would go through the workers twice.
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
    """Frames a second after a third of the videos: how fast workers start is another matter."""
    shutil.rmtree(folder, ignore_errors=True)
    job = Job(out=folder / "out", work=folder / "work", secret=bytes(32))
    job.out.mkdir(parents=True)
    job.work.mkdir()
    times = []
    for item in run([Item(record=record) for record in records], job):
        if item.status != "done":
            reasons = "; ".join(item.reasons)
            raise UserError(f"The benchmark's own video was {item.status}: {reasons}. Try another seed.")
        times.append(time.perf_counter())
    begun = max(2, len(times) // 3)
    return settings.frames * (len(times) - begun) / (times[-1] - times[begun - 1])


def _rows_per_second(rows: int, config: AnonymizeConfig, folder: Path) -> float:
    """Videos that are nothing through one worker; all of it counts, but for the first row."""
    job = Job(out=folder, work=folder, secret=bytes(32))
    items = [Item(record=VideoRecord(video_id=f"v{n}", path="none.mp4")) for n in range(rows)]
    done = pipeline.on_ray(items, _workers(config, 1), job, stages=(Nothing,))
    next(done)
    began = time.perf_counter()
    count = sum(1 for _ in done)
    return count / (time.perf_counter() - began)


def _memory(minutes: float, folder: Path, filmed: VideoRecord) -> MemoryRow:
    """Anonymize a video of that length in a process of its own, without Ray."""
    frames_THW3 = list(reader.stream(filmed.path))
    repeat = max(1, round(60 * FPS * minutes / len(frames_THW3)))
    height, width = frames_THW3[0].shape[:2]
    video, out = folder / f"long-{minutes:g}.mp4", folder / f"long-{minutes:g}"
    with VideoWriter(video, width=width, height=height, fps=FPS) as writer:
        for _ in range(repeat):
            for frame_HW3 in frames_THW3:
                writer.write(frame_HW3)
    poses = Path(filmed.path).parents[1] / "poses"
    with np.load(poses / f"{filmed.video_id}.npz") as stored:
        longer = {
            name: np.tile(stored[name], (repeat, 1)) if name in ("poses", "trans") else stored[name]
            for name in stored.files
        }
    np.savez(poses / f"{video.stem}.npz", **longer)  # type: ignore[arg-type]
    command = [
        sys.executable, "-m", "raymaskdp", "anonymize", str(video), "--out", str(out), "--json", "workers=0",
        "pose.source=smpl", f"pose.skeletons={poses}", "pose.veto=false",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # it has been waited for
        said.seek(0)
        answer = said.read()
    if not answer or json.loads(answer)["done"] != 1:
        raise UserError(f"The benchmark's own video of {minutes:g} minutes was not done. Try another seed.")
    return MemoryRow(minutes=minutes, peak_mib=usage.ru_maxrss / 1024)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many threads in this process and in those it starts."""
    import cv2
    import torch

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
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
