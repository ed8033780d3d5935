"""Probe a video in a separate process, with limits on time and memory.

A decoder is a large program that reads files of any origin. A file may crash it, declare a size that exceeds
all memory, or be compressed so much that a megabyte decodes for days. So each video is first decoded
completely in a process that the kernel can terminate without harm to others. A video that passes decodes in
the workers in the same way, by the same library with the same single thread.

The alternative is to read every frame through such a process: a copy of each through shared memory, three
times, because a video is read that often. Here a video costs one decoding, which is needed anyway to count
frames, and a fork of a small process that contains only the decoder. Each worker starts it once. (Workers
have threads and must not fork themselves.)
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath

if TYPE_CHECKING:  # settings load in half a second, without the decoder
    from raymaskdp.video.reader import VideoInfo

WALL_FACTOR = 10
"""Ratio of the limits on wall-clock time and on CPU time; it allows for a slow disk, or a busy machine."""

EXACT = ("fps", "tick")
"""Fractions in a `VideoInfo`, which are transferred as text."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Limits of decoding one video once.

    Attributes:
      seconds: CPU seconds for one file. Half an hour suffices for ten hours of video in high definition.
      gigabytes: address space for one file.
      megapixels: size of a frame; a worker keeps several frames; 8K has 33.
    """

    seconds: Annotated[float, check.Range(1, 1_000_000), Unit("s")] = 1800.0
    gigabytes: Annotated[float, check.Range(0.25, 10_000), Unit("GB")] = 6.0
    megapixels: Annotated[float, check.POSITIVE, Unit("Mpx")] = 36.0

    def __post_init__(self) -> None:
        check.fields(self, "decode")


def probe(path: LocalPath, limits: DecodeLimits) -> VideoInfo:
    """The result of `reader.probe`, within limits, even if the file crashes the decoder.

    Raises `UserError` as `reader.probe` does, if a limit is reached, and if the decoder crashes.
    """
    from raymaskdp.video.reader import VideoInfo

    folder = "/" if os.path.isabs(path) else os.getcwd()
    answer = _process().ask({"path": os.fspath(path), "folder": folder, **asdict(limits)})
    if "refused" in answer:
        raise UserError(answer["refused"])
    if "info" not in answer:
        raise UserError(f"The video {path} {_last_words(answer, limits)}.")
    said = answer["info"]
    exact = {name: Fraction(said[name]) for name in EXACT}
    info = VideoInfo(**{**said, **exact, "times": tuple(said["times"]), "changed": tuple(said["changed"])})
    if info.width * info.height > limits.megapixels * 1e6:
        raise UserError(
            f"The video {path} has frames of {info.width}×{info.height} pixels, "
            f"more than decode.megapixels={limits.megapixels:g} million."
        )
    return info


def _last_words(answer: dict[str, Any], limits: DecodeLimits) -> str:
    if answer.get("memory"):
        return f"needs more than decode.gigabytes={limits.gigabytes:g} to decode"
    number = answer.get("signal")
    if number in (signal.SIGXCPU, signal.SIGALRM):
        return f"takes longer than decode.seconds={limits.seconds:g} to decode"
    if number is not None:
        return f"crashes the decoder ({signal.Signals(number).name})"
    return "ends the decoder without a message"


class _Process:
    """The small process that forks once for every video."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        threads = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # threads must not fork
        self._running = subprocess.Popen(
            [sys.executable, "-c", "from raymaskdp.video.sandbox import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **threads},
        )

    def alive(self) -> bool:
        return self._running.poll() is None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        with self._lock:
            try:
                self._running.stdin.write(json.dumps(question).encode() + b"\n")
                self._running.stdin.flush()
            except BrokenPipeError:
                return {}
            line = self._running.stdout.readline()
        return json.loads(line) if line else {}


_started: _Process | None = None
_starting = threading.Lock()


def _process() -> _Process:
    """The process of this worker, started at first use and again if it has ended."""
    global _started
    with _starting:
        if _started is None or _started.owner != os.getpid() or not _started.alive():
            _started = _Process()
        return _started


def serve() -> None:
    """Answer requests on standard input, one line each, until it ends; runs in the small process."""
    from raymaskdp.video import reader  # noqa: F401  # before the forks, which share it, and their limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(_forked(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


def _forked(question: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):  # a returning child would answer twice
            os.close(reading)
            os.write(writing, json.dumps(_decoded(question)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        content = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    found: dict[str, Any] = json.loads(content) if content else {}
    return found


def _decoded(question: dict[str, Any]) -> dict[str, Any]:
    """Decode under the limits; runs in the forked process."""
    from raymaskdp.video import reader

    memory = int(question["gigabytes"] * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = math.ceil(question["seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    signal.alarm(WALL_FACTOR * seconds)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # discard the codec's messages about damaged files
    try:
        os.chdir(question["folder"])  # the base of a relative path
        info = reader.probe(question["path"])
    except UserError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"memory": True}
    return {"info": {**asdict(info), **{name: str(getattr(info, name)) for name in EXACT}}}
