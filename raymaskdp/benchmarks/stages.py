"""Time of each stage of `anonymize`: milliseconds a frame, at several sizes of frame.

`raymaskdp benchmark stages`. One person is rendered, upscaled for large frames, or a video is given. It is
anonymized by the stages themselves, in this process. Clocks are attached to their parts for the duration of
the measurement. Time counts for the innermost clock; time outside all clocks is "other".
"""

from __future__ import annotations

import contextlib
import cProfile
import functools
import itertools
import os
import platform
import pstats
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Decided, Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.stages import Analyze, Job, Synthesize, draw
from raymaskdp.anonymize.stages import synthesize as last_stage
from raymaskdp.anonymize.verify import checks
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.benchmarks.settings.videos import StagesConfig, width_height
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.bodies.render import Renderer
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import reader
from raymaskdp.video.writer import VideoWriter

STAGES = ("decode", "pose", "fit", "plate", "render", "composite", "encode", "verify", "other")
FPS = 15.0
PROFILED = 15
"""Functions in a profile."""

CAMERA_CRF = 23
"""x264's quality of a source, its default: cameras leave as little noise, and noise would dominate the time.
"""


@dataclass(frozen=True, kw_only=True)
class StagesRow:
    """One stage at one size: median milliseconds a frame, and its share of the sum of all stages."""

    size: str
    stage: str
    ms: float
    share: float


@dataclass(frozen=True, kw_only=True)
class ProfiledFunction:
    """A function at one size.

    Attributes:
      ms: milliseconds a frame in the function itself, without the functions that it calls. The profiler
        slows short functions down.
      calls: number of calls a frame.
    """

    size: str
    function: str
    ms: float
    calls: float


@dataclass(frozen=True, kw_only=True)
class StagesResult:
    """The rows, the speed at each size in frames a second, the machine, and the profile if there is one."""

    machine: str
    rows: tuple[StagesRow, ...]
    frames_per_second: dict[str, float]
    profile: tuple[ProfiledFunction, ...] = ()

    def __str__(self) -> str:
        lines = [self.machine, "", self.table()]
        if self.profile:
            lines += [
                "",
                "| size | function | ms a frame, alone | calls a frame |",
                "| --- | --- | --- | --- |",
            ]
        lines += [f"| {one.size} | {one.function} | {one.ms:.1f} | {one.calls:.1f} |" for one in self.profile]
        return "\n".join(lines)

    def table(self) -> str:
        """Stages by size as a Markdown table: milliseconds a frame, and share of the total."""
        sizes = list(self.frames_per_second)
        cells = {(row.stage, row.size): f"{row.ms:.1f} ({row.share:.0%})" for row in self.rows}
        lines = [f"| ms a frame | {' | '.join(sizes)} |", f"| --- |{' --- |' * len(sizes)}"]
        lines += [f"| {stage} | {' | '.join(cells[stage, size] for size in sizes)} |" for stage in STAGES]
        speeds = " | ".join(f"{self.frames_per_second[size]:.1f}" for size in sizes)
        return "\n".join([*lines, f"| frames/s, all stages | {speeds} |"])


def benchmark_stages(settings: StagesConfig) -> StagesResult:
    """Anonymize the video at every size, and report the time of each stage."""
    rows: list[StagesRow] = []
    speeds: dict[str, float] = {}
    profile: list[ProfiledFunction] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=len(settings.sizes) * (settings.rounds + 1), desc="stages", unit="video") as progress,
    ):
        work = Path(folder)
        (work / "secret").write_bytes(bytes(32))
        job = Job(out=work / "out", work=work / "work", secret=SecretFile.at(work / "secret"))
        job.out.mkdir()
        job.work.mkdir()
        config = AnonymizeConfig(workers=0)
        analyze, finish = Analyze(config, job), Synthesize(config, job)
        for size in settings.sizes:
            video = film(work, size, settings)
            rounds = []
            for _ in range(settings.rounds + 1):
                rounds.append(_anonymize(video, analyze, finish))
                progress.update()
            measured = rounds[1:]
            ms = {s: 1000 * statistics.median(r[s] for r in measured) / settings.frames for s in STAGES}
            total = sum(ms.values())
            rows += [StagesRow(size=size, stage=s, ms=ms[s], share=ms[s] / total) for s in STAGES]
            speeds[size] = 1000 / total
            if settings.profile:
                profile += _profiled(size, functools.partial(_anonymize, video, analyze, finish), settings)
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}; {settings.video or 'one person'}, {settings.frames} frames, "
        f"median of {settings.rounds}"
    )
    return StagesResult(machine=machine, rows=tuple(rows), frames_per_second=speeds, profile=tuple(profile))


def _profiled(size: str, work: Callable[[], object], settings: StagesConfig) -> list[ProfiledFunction]:
    """The functions that take most time in one run."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    found: dict[tuple[str, int, str], tuple[int, int, float, float, Any]]
    found = pstats.Stats(profiler).stats  # type: ignore[attr-defined]  # the module's stubs leave it out
    largest = sorted(found.items(), key=lambda entry: -entry[1][2])[:PROFILED]
    return [
        ProfiledFunction(
            size=size,
            function=name.strip("<>") if file == "~" else f"{Path(file).stem}.{name}",
            ms=1000 * alone / settings.frames,
            calls=calls / settings.frames,
        )
        for (file, _, name), (_, calls, alone, _, _) in largest
    ]


def film(folder: Path, size: str, settings: StagesConfig) -> Path:
    """A video of that size, as a camera encodes it: of one person, or the beginning of the given one.

    Large ones are upscaled from half the size, with new noise.
    """
    width, height = width_height(size)
    if settings.video is not None:
        return _resized(Path(settings.video), folder / f"{size}.mp4", width, height, settings.frames)
    shrink = 2 if height > 720 and width % 4 == 0 and height % 4 == 0 else 1
    synthesize(
        folder / size,
        SynthesizeConfig(
            seed=settings.seed, actions=("wave",), people=1, rooms=1, cameras=1, frames=settings.frames,
            fps=FPS, width=width // shrink, height=height // shrink, test_share=0.0,
        ),
    )  # fmt: skip
    (filmed,) = (folder / size / "videos").glob("*.mp4")
    rng, encoded = np.random.default_rng(settings.seed), folder / f"{size}.mp4"
    with VideoWriter(encoded, width=width, height=height, fps=FPS, crf=CAMERA_CRF) as writer:
        for frame_HW3 in reader.stream(filmed):
            if shrink == 1:
                writer.write(frame_HW3)
                continue
            large_HW3 = cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_CUBIC)
            noise_HW3 = rng.normal(0, 2, large_HW3.shape)
            writer.write(np.clip(np.rint(large_HW3 + noise_HW3), 0, 255).astype(np.uint8))
    return encoded


def _resized(video: Path, encoded: Path, width: int, height: int, frames: int) -> Path:
    with VideoWriter(
        encoded, width=width, height=height, fps=reader.probe(video).fps, crf=CAMERA_CRF
    ) as writer:
        for frame_HW3 in itertools.islice(reader.stream(video), frames):
            writer.write(cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_AREA))
    return encoded


def _anonymize(video: Path, analyze: Analyze, finish: Synthesize) -> dict[str, float]:
    """Seconds of each stage for one video."""
    clocks = _Clocks()
    with clocks.around():
        began = time.perf_counter()
        item = finish(analyze(Pending(record=VideoRecord(video_id=video.stem, path=str(video)))))
        total = time.perf_counter() - began
    assert isinstance(item, Decided)
    if item.status != "done":
        raise UserError(
            f"The benchmark's own video was {item.status}: {'; '.join(item.reasons)}. Try another seed."
        )
    seconds = {stage: clocks.seconds[stage] for stage in STAGES}
    return seconds | {"other": total - sum(seconds.values())}


class _Clocks:
    """Stopwatches of the stages; one is paused while another inside it runs."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def run(self, stage: str) -> Iterator[None]:
        """Count time for `stage`; a verification counts as a whole."""
        if self._running and self._running[-1] == "verify":
            stage = "verify"
        self._switch()
        self._running.append(stage)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """Attach the clocks to the parts of the stages for the duration of the block."""
        parts: list[tuple[Any, str, str]] = [
            (FindPeople, "__call__", "pose"),
            (FitBodies, "__call__", "fit"),
            (draw, "observe", "plate"),
            (draw, "find_background", "plate"),
            (last_stage, "write_layers", "composite"),
            (Renderer, "render", "render"),
            (VideoWriter, "write", "encode"),
            (VideoWriter, "close", "encode"),
            (LookAgain, "__call__", "verify"),
            (checks, "check_files", "verify"),
        ]
        with contextlib.ExitStack() as undo:
            for owner, name, stage in parts:
                self._replace(undo, owner, name, self._timed(getattr(owner, name), stage))
            self._replace(undo, reader, "stream", self._timed_frames(reader.stream))
            yield

    @staticmethod
    def _replace(undo: contextlib.ExitStack, owner: Any, name: str, other: Any) -> None:
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, other)

    def _timed(self, part: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @functools.wraps(part)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.run(stage):
                return part(*arguments, **options)

        return timed

    def _timed_frames(self, stream: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(stream)
        def timed(path: LocalPath, start: int = 0) -> Iterator[np.ndarray]:
            with contextlib.closing(stream(path, start)) as frames:
                while True:
                    with self.run("decode"):
                        frame_HW3 = next(frames, None)
                    if frame_HW3 is None:
                        return
                    yield frame_HW3

        return timed
