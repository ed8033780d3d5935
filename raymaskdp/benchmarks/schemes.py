"""Cost of each fine-tuning scheme: an epoch's private gradients, paired, and with cached features.

raymaskdp benchmark schemes --config configs/benchmark_schemes.yaml train.data=clips
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from raymaskdp import config as configuration
from raymaskdp.benchmarks.paired import measure
from raymaskdp.benchmarks.settings.training import SchemesConfig
from raymaskdp.models.config import SchemeName
from raymaskdp.privacy import GradientEngine, Key
from raymaskdp.train import TrainConfig, loop
from raymaskdp.train.data.batches import pick_draws
from raymaskdp.train.device import CPU
from raymaskdp.train.run.setup import set_up

KEPT = "linear, features kept"
KEY = Key(secret=bytes(32))  # the choice of clips does not matter here


@dataclass(frozen=True, kw_only=True)
class SchemesRow:
    """One scheme.

    Attributes:
      trained: number of trained parameters.
      epoch_seconds: median time of the steps of an epoch.
      over_first: median over rounds of its time over the first scheme's in the same round.
      peak_mib: peak memory of the steps above the process's memory before the first, MiB.
    """

    scheme: str
    trained: int
    epoch_seconds: float
    over_first: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class SchemesResult:
    """The schemes, and the time of computing the features that `linear` can cache.

    Attributes:
      times_faster: median over rounds of the time of `linear` over that with cached features; None if not
        measured.
    """

    rows: tuple[SchemesRow, ...]
    features_seconds: float
    times_faster: float | None

    def __str__(self) -> str:
        lines = [
            "| scheme | trained | epoch (s) | time / first | memory (MiB) |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.scheme} | {row.trained} | {row.epoch_seconds:.3g} | {row.over_first:.3g} "
            f"| {row.peak_mib:.0f} |"
            for row in self.rows
        ]
        lines += ["", f"Features, once for all runs: {self.features_seconds:.3g} s"]
        if self.times_faster is not None:
            lines.append(f"linear is {self.times_faster:.0f} times as fast with features kept")
        return "\n".join(lines)


def benchmark_schemes(config: SchemesConfig) -> SchemesResult:
    """Time private gradients scheme by scheme, each in a separate process, alternating."""
    begin = time.perf_counter()
    set_up(_of_scheme(config.train, KEPT)).cache_features()
    features_seconds = time.perf_counter() - begin
    names = [*config.schemes, KEPT] if "linear" in config.schemes else list(config.schemes)
    rivals = {
        name: {"train": configuration.to_dict(_of_scheme(config.train, name)), "records": config.records}
        for name in names
    }
    found = measure(
        "raymaskdp.benchmarks.schemes:make", rivals, rounds=config.rounds, warmup=1,
        threads=config.threads, title="schemes",
    )  # fmt: skip
    steps = set_up(config.train).job.plan.num_records / config.records
    rows = tuple(
        SchemesRow(
            scheme=name,
            trained=_trained(_of_scheme(config.train, name)),
            epoch_seconds=steps * found[name].median_seconds(),
            over_first=found[name].ratio_to(found[names[0]]),
            peak_mib=found[name].peak_bytes / 2**20,
        )
        for name in names
    )
    faster = found["linear"].ratio_to(found[KEPT]) if KEPT in names else None
    return SchemesResult(rows=rows, features_seconds=features_seconds, times_faster=faster)


def make(spec: Mapping[str, Any]) -> Callable[[], None]:
    """A step of a scheme: read the clips, and clip the sum of their records' gradients."""
    config = configuration.build(TrainConfig, spec["train"], where="benchmark")
    setup = set_up(config)
    plan = setup.job.plan
    inputs, trained = setup.open_inputs(CPU)
    engine = GradientEngine(trained, plan)
    lots = np.array_split(np.arange(plan.num_records), max(plan.num_records // spec["records"], 1))
    done = 0

    def step() -> None:
        nonlocal done
        lot = lots[done % len(lots)]
        views = inputs.read(lot, pick_draws(KEY, "clips", done, lot, plan.clips, config.clips))
        clips, labels = views.full, views.labels
        if plan.is_masked:
            clips, labels = torch.cat([clips, views.public], 1), torch.cat([labels, labels], 1)
        with engine.record(num_records=len(lot)):
            engine.clipped_sum(loop.losses_of(trained, clips, labels), views.usable / plan.clips)
        done += 1

    return step


def _of_scheme(config: TrainConfig, name: str) -> TrainConfig:
    scheme = cast(SchemeName, "linear" if name == KEPT else name)
    compute = replace(config.compute, cache_features=name == KEPT)
    return replace(config, scheme=scheme, compute=compute)


def _trained(config: TrainConfig) -> int:
    model = set_up(config).model
    return sum(value.numel() for value in model.parameters() if value.requires_grad)
