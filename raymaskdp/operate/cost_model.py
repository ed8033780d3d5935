"""Time of each stage for a video of a given size, estimated from finished videos.

A stage's time is modelled as `frames · (a + b · megapixels)` with a, b ≥ 0, fitted by non-negative least
squares on relative errors, so that short and long videos have equal weight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from raymaskdp.errors import UserError

LAST = "verify"
"""The last stage; only a completely processed video has it."""

OTHER = "other"
"""Time of a video outside its stages: decoding in a separate process, hashing, recording."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a video: its frames, and millions of pixels of one."""

    frames: int
    megapixels: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A finished video: its size, seconds by stage, and megabytes written (0 if none)."""

    size: Size
    seconds: Mapping[str, float]
    megabytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Cost of a worker on one kind of machine.

    Attributes:
      machine: the measured machine, in words.
      seconds: by stage, seconds a frame, and seconds a frame and megapixel.
      megabytes: written for each frame and megapixel.
      start: seconds from the request of a worker to its first frame.
      cores: processors that one worker uses; 0 if the measured times already include the mutual slowdown of
        workers, as those of a run.
      error: typical relative error of a video's predicted time, by leave-one-out prediction.
      samples: number of videos.
    """

    machine: str
    seconds: dict[str, tuple[float, float]]
    megabytes: float
    start: float
    error: float
    samples: int
    cores: float = 0.0

    def slower(self, workers: int, cores: int, *, starting: bool = False) -> float:
        """Slowdown factor of `workers` that share a machine with so many processors.

        During their start, Ray's own processes use about one more processor.
        """
        if not self.cores:
            return 1.0
        wanted = workers * max(self.cores, 1.0) + 1 if starting else workers * self.cores
        return max(1.0, wanted / cores)

    def video(self, size: Size) -> float:
        """Seconds of a worker for a video."""
        return sum(self.stage(name, size) for name in self.seconds)

    def stage(self, name: str, size: Size) -> float:
        """Seconds of one stage."""
        fixed, area = self.seconds[name]
        return size.frames * (fixed + area * size.megapixels)


def learn(samples: Sequence[Sample], *, machine: str, start: float, cores: float = 0.0) -> Profile:
    """The profile of a machine from videos processed on it. Raises `UserError` if none has all stages."""
    whole = [sample for sample in samples if LAST in sample.seconds]
    if not whole:
        raise UserError(
            "No video of the sample went through all stages, so there are no times to estimate from; "
            "use more videos (sample=10), or others."
        )
    return Profile(
        machine=machine,
        seconds=_fit(whole),
        megabytes=float(
            np.mean([sample.megabytes / (sample.size.frames * sample.size.megapixels) for sample in whole])
        ),
        start=start,
        error=_error(whole),
        samples=len(whole),
        cores=cores,
    )


def samples_of(rows: Iterable[Mapping[str, object]], megabytes: Mapping[str, float]) -> list[Sample]:
    """Samples from rows of a manifest that `anonymize` wrote, with the megabytes of each video's files."""
    found = []
    for row in rows:
        metrics = json.loads(str(row["metrics"]))
        seconds = {
            name.removeprefix("seconds_"): float(value)
            for name, value in metrics.items()
            if name.startswith("seconds_")
        }
        if row["num_frames"] and seconds:
            seconds[OTHER] = max(float(str(row["seconds"])) - sum(seconds.values()), 0.0)
            pixels = int(str(row["width"])) * int(str(row["height"]))
            size = Size(frames=int(str(row["num_frames"])), megapixels=pixels / 1e6)
            video = str(row["video_id"])
            found.append(Sample(size=size, seconds=seconds, megabytes=megabytes.get(video, 0.0)))
    return found


def _fit(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    fitted = {}
    for name in samples[0].seconds:
        taken = np.array([max(sample.seconds.get(name, 0.0), 1e-3) for sample in samples])
        design = np.array(
            [[sample.size.frames, sample.size.frames * sample.size.megapixels] for sample in samples]
        )
        (fixed, area), _ = nnls(design / taken[:, None], np.ones(len(samples)))
        fitted[name] = (float(fixed), float(area))
    return fitted


def _error(samples: Sequence[Sample]) -> float:
    """Root mean square of log(predicted / measured), by leave-one-out prediction; 0.3 for a single sample."""
    if len(samples) == 1:
        return 0.3  # unknown; videos of one kind differ by about that much
    errors = []
    for number, sample in enumerate(samples):
        others = [*samples[:number], *samples[number + 1 :]]
        rates = _fit(others)
        size = sample.size
        predicted = sum(size.frames * (a + b * size.megapixels) for a, b in rates.values())
        errors.append(math.log(predicted / sum(sample.seconds.values())))
    return float(np.sqrt(np.mean(np.square(errors))))
