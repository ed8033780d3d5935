"""The whole of `train` as an audited program: store, lots, clipping, ledger, noise, optimizer, files.

Canaries are written as a clip store, one record a video with its own pixel, and `train` runs on it for a
given number of steps. The attack uses only published files: the checkpoint after every step, from whose
differences every update can be computed.

Shape suffixes: N records, K clips, F features (N marks, N secrets, U unused), B clips of a batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor, nn

from raymaskdp import check, models
from raymaskdp.audit.attacks.canaries import CanaryTest, Expected, outcome_of, shortened
from raymaskdp.audit.faults import FAULTS
from raymaskdp.files import sha256_file, write_json
from raymaskdp.models import ModelConfig
from raymaskdp.places import temporary_folder
from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.privacy.audit import NUM_UNUSED, CanaryRecords, Release, audit
from raymaskdp.privacy.choices import MOST_RECORDS
from raymaskdp.train import ClipConfig, ComputeConfig, OptimizerConfig, PrivacyConfig, TrainConfig, train
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.setup import set_up
from raymaskdp.video import masks

MODEL = "canary-pixels"
TOKEN, COLUMNS, FILL = 8, 32, 128
GAIN = 1e3
"""Length of a canary's features in clipping norms, large enough that it is always clipped."""
RECORDS = 1000
"""Canaries of a run: with so many, one run detects every fault of `faults`."""
LEARNING_RATE = 1e-10
"""So small that scores stay zero, and the directions of all gradients constant."""


@dataclass(frozen=True, kw_only=True)
class CanaryPixelsConfig:
    """Options of the model: the factor of the pixels."""

    gain: Annotated[float, check.POSITIVE] = 1.0

    def __post_init__(self) -> None:
        check.fields(self, "model.options")


class CanaryPixels(nn.Module):
    """A backbone whose features are the pixels of the first frame, one half after the other."""

    def __init__(self, config: CanaryPixelsConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.gain = config.gain
        self.head = nn.Linear(clip[1] * clip[2], num_classes, bias=False)
        nn.init.zeros_(self.head.weight)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        frames_BHW = clips_BCTHW[:, 0, 0]
        halves = [half.flatten(1) for half in frames_BHW.chunk(2, dim=2)]
        return self.gain * torch.cat(halves, 1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(clips_BCTHW))
        return scores


models.register(MODEL, CanaryPixelsConfig, CanaryPixels)


def reference_at(steps: int, *, mechanism: str = "maskdp", records: int = RECORDS) -> PrivacyPlan:
    """A plan of so many steps with which a broken program is detected: a small ε, and many canaries."""
    rate = 0.05
    return PrivacyPlan(
        mechanism=mechanism,  # type: ignore[arg-type]
        num_records=records,
        expected_batch=rate * records,
        clips=1 if mechanism == "dpsgd" else 2,
        steps=steps,
        delta=1e-5,
        # A sum over all steps has a record q T times, under noise of sigma sqrt(T).
        noise_multiplier=max(0.7, rate * math.sqrt(steps)),
        public_batch=rate * records if mechanism.startswith("maskdp") else None,
    )


def audit_loop(plan: PrivacyPlan | None, *, steps: int, seed: int) -> tuple[CanaryTest, ...]:
    """Audit `train` for so many steps, at a run's plan and at a reference, correct and with every fault."""
    where = f"through the whole of train, {steps} steps"
    cases: list[tuple[str, Expected, Callable[[], AbstractContextManager[None]], PrivacyPlan]] = [
        ("a faithful program", "holds", contextlib.nullcontext, reference_at(steps, mechanism=mechanism))
        for mechanism in ("maskdp", "multiclip")
    ]
    if plan is not None:
        own = dataclasses.replace(shortened(plan, records=RECORDS, steps=steps), steps=steps)
        cases.insert(0, ("this run's plan", "holds", contextlib.nullcontext, own))
    cases += [
        (f"broken: {name}", "caught", fault, reference_at(steps, mechanism=mechanism))
        for name, (fault, mechanism) in FAULTS.items()
    ]
    found = []
    for name, expected, fault, at in cases:
        with fault():
            found.append(outcome_of(name, where, expected, audit(train_on, at, runs=1, seed=seed)))
    return tuple(found)


def train_on(records: CanaryRecords, plan: PrivacyPlan, key: Key) -> list[Release]:
    """Run `train` on canaries with `plan`; a `Program` for `privacy.audit.audit`."""
    with temporary_folder("audit-") as work:
        _write_store(work / "clips", records, plan)
        config = _config(work, plan)
        job = set_up(config).job
        if job.plan != plan:
            raise ValueError(f"the run would have the plan {job.plan}, not {plan}")
        weights: list[Tensor] = []
        norms: list[float] = []

        def look(report: StepReport) -> None:
            with safe_open(job.checkpoint_file, framework="pt") as opened:
                weights.append(opened.get_tensor("model.head.weight").double())
            norms.append(plan.clipping_norm if report.clipping_norm is None else report.clipping_norm)

        train(config, key=key, on_step=look)
    return _releases(weights, norms, plan)


def _releases(weights: list[Tensor], norms: list[float], plan: PrivacyPlan) -> list[Release]:
    """The released value of each canary in every step, from the weights after it."""
    count, half = plan.num_records, weights[0].shape[1] // 2
    sign_N = torch.where(torch.arange(count) % 2 == 0, -1.0, 1.0).double()  # which class a record is of
    before, releases = torch.zeros_like(weights[0]), []
    for after, norm in zip(weights, norms, strict=True):
        update = (before - after) / LEARNING_RATE
        along_F = (update[0] - update[1]) / math.sqrt(2)  # all gradients are along this
        before = after
        secrets_N, unused_U = along_F[half : half + count] * sign_N, along_F[-NUM_UNUSED:]
        private_F = torch.cat([torch.zeros(count, dtype=torch.float64), secrets_N, unused_U])
        # Marks are visible through the noise, which is far smaller than any of them.
        mark = plan.public_scale * GAIN * plan.clipping_norm / math.sqrt(2) / 2
        seen_N = (along_F[:count] * sign_N > mark).double() if plan.is_masked else torch.zeros(count)
        public_F = torch.cat([seen_N.double(), torch.zeros(count + NUM_UNUSED, dtype=torch.float64)])
        releases.append(Release(private_F=private_F, public_F=public_F, clipping_norm=norm))
    return releases


def _write_store(folder: Path, records: CanaryRecords, plan: PrivacyPlan) -> None:
    """Canaries as a clip store of `prepare`: the left half of a frame is public, the right sensitive."""
    count = plan.num_records
    height = TOKEN * math.ceil((count + NUM_UNUSED) / COLUMNS / TOKEN)
    (folder / "clips").mkdir(parents=True)
    tokens_Thw = np.zeros((1, height // TOKEN, 2 * COLUMNS // TOKEN), bool)
    tokens_Thw[:, :, COLUMNS // TOKEN :] = True
    packed = masks.pack(tokens_Thw)
    rows = []
    for index in range(count):
        frame_HW3 = np.full((height, 2 * COLUMNS, 3), FILL, np.uint8)
        row, column = divmod(index, COLUMNS)
        if records.composite_NKTF[index, 0, 0, index] > 0:
            frame_HW3[row, column] = 255
        if records.composite_NKTF[index, 0, 1, count + index] > 0:
            frame_HW3[row, COLUMNS + column] = 255
        name = f"canary{index:05d}"
        arrays = {"frames": frame_HW3[None], "masks": packed}
        for part, array in arrays.items():
            np.save(folder / "clips" / f"{name}.{part}.npy", array)
        about = {"index": index, "video_id": name, "label": "ab"[index % 2], "split": "train"}
        digests = {f"{part}_sha256": sha256_file(folder / "clips" / f"{name}.{part}.npy") for part in arrays}
        files = {**digests, "num_frames": 1, "sensitive": 0.5}
        rows.append({**about, **files, "subject": None, "camera": None, "anonymized": True})
    pd.DataFrame(rows).to_parquet(folder / "videos.parquet")
    settings = {"height": height, "width": 2 * COLUMNS, "token": TOKEN, "fill": FILL}
    about_store = {"format": 1, "config": settings, "fingerprint": "canaries", "name": "canaries"}
    write_json(folder / "store.json", {**about_store, "classes": ["a", "b"]})


def _config(work: Path, plan: PrivacyPlan) -> TrainConfig:
    return TrainConfig(
        data=work / "clips",
        out=work / "runs",
        steps=plan.steps,
        scheme="linear",
        model=ModelConfig(name=MODEL, options={"gain": GAIN * plan.clipping_norm}),
        clips=ClipConfig(frames=1, stride=1, draws=plan.clips, shift=0, flip=False),
        privacy=PrivacyConfig(
            mechanism=plan.mechanism,
            noise_multiplier=plan.noise_multiplier,
            delta=plan.delta,
            clipping_norm=plan.clipping_norm,
            clipping=plan.clipping,
            adaptive=plan.adaptive,
            clips=plan.clips,
            expected_batch=plan.expected_batch,
            public_batch=plan.public_batch,
            public_weight=plan.public_weight,
            adjacency=plan.adjacency,
        ),
        # The release is the difference of consecutive weights.
        optimizer=OptimizerConfig(learning_rate=LEARNING_RATE, momentum=0.0, schedule="constant"),
        compute=ComputeConfig(
            workers=0, micro_batch=MOST_RECORDS, checkpoint_every=1, progress=False, tensorboard=False
        ),
    )
