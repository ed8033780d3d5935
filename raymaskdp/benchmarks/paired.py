"""Fair timing of contestants: each in a fresh process, alternating, so that load on the machine affects all.

A contestant is a function `make(spec) -> step` in an importable module. `step()` does one unit of work, and
may return the seconds that a part of it took. Every round runs one step of each contestant, one at a time;
ratios are computed within a round.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from raymaskdp.errors import UserError

FEWEST_ROUNDS = 2
"""Rounds that are run even after the time limit."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The measurements of one contestant.

    Attributes:
      seconds: time of each round's step.
      parts: seconds that the step of each round returned; empty if it returns none.
      peak_bytes: peak memory of the steps above the process's memory before the first: resident memory on the
        CPU, allocated memory on a GPU.
      refused: why the contestant could not run, in its own words; then the rest is empty.
    """

    seconds: tuple[float, ...] = ()
    parts: tuple[float, ...] = ()
    peak_bytes: int = 0
    refused: str | None = None

    def median_seconds(self) -> float:
        """Median step time; NaN if refused."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    def share_of_part(self) -> float | None:
        """Median share of the part in a step's time; None without a part."""
        shares = [part / whole for part, whole in zip(self.parts, self.seconds, strict=False)]
        return statistics.median(shares) if shares else None

    def ratio_to(self, other: Measurement) -> float:
        """Median over rounds of this contestant's time over the other's in the same round; NaN if refused."""
        ratios = [a / b for a, b in zip(self.seconds, other.seconds, strict=False)]
        return statistics.median(ratios) if ratios else float("nan")


def measure(
    make: str,
    rivals: Mapping[str, Mapping[str, Any]],
    *,
    rounds: int,
    warmup: int,
    threads: int,
    title: str,
    until: float = math.inf,
) -> dict[str, Measurement]:
    """Run `rounds` rounds of the contestants' steps, after `warmup` steps of each.

    After `until`, of `time.monotonic`, no third round begins. `make` is `"module:function"`; `rivals` maps a
    name to the JSON-able `spec` of a contestant.
    """
    workers = {name: _Worker(make, spec, threads) for name, spec in rivals.items()}
    try:
        for worker in workers.values():
            worker.start(warmup)
        running = {name: worker for name, worker in workers.items() if worker.refused is None}
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        parts: dict[str, list[float]] = {name: [] for name in workers}
        for turn in tqdm(range(rounds), desc=title, unit="round", leave=False):
            if turn >= FEWEST_ROUNDS and time.monotonic() > until:
                break
            names = list(running)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                answer = running[name].ask("step")
                seconds[name].append(answer["seconds"])
                if answer["part"] is not None:
                    parts[name].append(answer["part"])
        return {
            name: Measurement(
                seconds=tuple(seconds[name]),
                parts=tuple(parts[name]),
                peak_bytes=0 if worker.refused else worker.ask("memory")["bytes"],
                refused=worker.refused,
            )
            for name, worker in workers.items()
        }
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    """The near end of a contestant's process; one JSON line out, one JSON line back."""

    def __init__(self, make: str, spec: Mapping[str, Any], threads: int) -> None:
        self.refused: str | None = None
        self._order = json.dumps({"make": make, "spec": spec})
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "raymaskdp.benchmarks.paired"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def start(self, warmup: int) -> None:
        self.refused = self.ask(self._order).get("refused")
        for _ in range(warmup if self.refused is None else 0):
            self.ask("step")

    def ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise UserError(
                f"A benchmark's process ended with status {self._process.wait()} after {line[:200]!r}."
            )
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def _serve(lines: Iterator[str], reply: Callable[[dict[str, Any]], None]) -> None:
    """The far end: create the contestant, then answer requests until the input ends."""
    import torch

    order = json.loads(next(lines))
    module, _, function = order["make"].partition(":")
    on_gpu = order["spec"].get("device", "cpu") != "cpu"
    try:
        step = getattr(importlib.import_module(module), function)(order["spec"])
        before = resident_bytes()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        else:
            _forget_peak()
        step()
    except (UserError, NotImplementedError, ValueError, RuntimeError) as error:
        reply({"refused": " ".join(str(error).split())[:300]})
        return
    reply({})
    for line in lines:
        if line.strip() == "memory":
            peak = torch.cuda.max_memory_allocated() if on_gpu else _peak_bytes()
            reply({"bytes": peak - before})
            continue
        begin = time.perf_counter()
        part = step()
        if on_gpu:
            torch.cuda.synchronize()
        reply({"seconds": time.perf_counter() - begin, "part": part})


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as opened:
        for line in opened:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise UserError(f"This system does not report {field}; the benchmark needs Linux.")


def resident_bytes() -> int:
    """Present resident memory of this process."""
    return _status("VmRSS")


def _peak_bytes() -> int:
    return _status("VmHWM")


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as opened:
        opened.write("5")  # resets VmHWM (Linux, proc(5))


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the replies

    def _reply(answer: dict[str, Any]) -> None:
        replies.write(json.dumps(answer) + "\n")
        replies.flush()

    _serve(iter(sys.stdin.readline, ""), _reply)
