"""DP-SGD on scikit-learn's digits, compared with the same in a few lines of Opacus.

`raymaskdp benchmark digits-opacus`. Data, models, initial weights, ε, σ, C, sampling rate, steps and learning
rate are equal; lots and noise are each library's own. `linear` is one layer, `full` has a hidden one.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from raymaskdp.benchmarks import digits
from raymaskdp.benchmarks.digits import DigitsRun
from raymaskdp.benchmarks.settings.training import DigitsConfig, DigitsOpacusConfig
from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.privacy.keys import KEY_BYTES
from raymaskdp.sweep.frontier import Point, point

MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(64, 10),
    "full": lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
}


@dataclass(frozen=True, kw_only=True)
class DigitsOpacusRow:
    """Test accuracies over seeds with 95 % intervals, and the median seconds of a training."""

    model: str
    epsilon: float
    ours: Point
    opacus: Point
    ours_seconds: float
    opacus_seconds: float


@dataclass(frozen=True, kw_only=True)
class DigitsOpacusResult:
    """All rows, in the order of the runs."""

    rows: tuple[DigitsOpacusRow, ...]

    def __str__(self) -> str:
        lines = [
            "| model | ε | raymaskdp | Opacus | seconds | Opacus |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.model} | {row.epsilon:g} | {_interval(row.ours)} | {_interval(row.opacus)} "
            f"| {row.ours_seconds:.2f} | {row.opacus_seconds:.2f} |"
            for row in self.rows
        ]
        return "\n".join(lines)


def benchmark_digits_opacus(config: DigitsOpacusConfig) -> DigitsOpacusResult:
    """Train every model at every ε with every seed, alternating between the libraries."""
    rows = []
    points = [(name, epsilon) for name in MODELS for epsilon in config.epsilons]
    for name, epsilon in tqdm(points, "digits", unit="setting"):
        measured = [_pair(name, epsilon, config, seed) for seed in range(config.seeds)]
        ours, opacus, ours_seconds, opacus_seconds = zip(*measured, strict=True)
        rows.append(
            DigitsOpacusRow(
                model=name,
                epsilon=epsilon,
                ours=point(ours),
                opacus=point(opacus),
                ours_seconds=float(np.median(ours_seconds)),
                opacus_seconds=float(np.median(opacus_seconds)),
            )
        )
    return DigitsOpacusResult(rows=tuple(rows))


def _pair(
    name: str, epsilon: float, config: DigitsOpacusConfig, seed: int
) -> tuple[float, float, float, float]:
    """Our accuracy and that of Opacus, and the seconds of each."""
    images_NP, labels_N, test_images_NP, test_labels_N = digits.load(seed)
    setting = DigitsRun(
        method="dpsgd",
        epsilon=epsilon,
        learning_rate=config.learning_rate,
        clipping_norm=config.clipping_norm,
    )
    same = DigitsConfig(epochs=config.epochs, rate=config.rate, delta=config.delta)
    plan = digits.make_plan(setting, same, len(images_NP))
    key = Key(secret=hashlib.blake2b(f"digits {seed}".encode(), digest_size=KEY_BYTES).digest())
    trained = []
    for train in (
        lambda model: digits.fit(model, plan, key, setting, images_NP, labels_N),
        lambda model: train_with_opacus(model, plan, config.learning_rate, images_NP, labels_N, seed),
    ):
        torch.manual_seed(seed)
        model = MODELS[name]()
        start = time.perf_counter()
        train(model)
        trained.append((digits.accuracy(model, test_images_NP, test_labels_N), time.perf_counter() - start))
    (ours, ours_seconds), (opacus, opacus_seconds) = trained
    return ours, opacus, ours_seconds, opacus_seconds


def train_with_opacus(
    model: nn.Module, plan: PrivacyPlan, learning_rate: float, images_NP: Tensor, labels_N: Tensor, seed: int
) -> None:
    """The script for the comparison: DP-SGD with the same plan, as in the documentation of Opacus."""
    torch.manual_seed(seed)
    loader = DataLoader(TensorDataset(images_NP, labels_N), batch_size=round(plan.expected_batch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a secure random generator, and about hooks
        private, optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=learning_rate),
            data_loader=loader,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.clipping_norm,
        )
        step = 0
        while step < plan.steps:
            for images, labels in loader:
                if step == plan.steps:
                    break
                optimizer.zero_grad()
                functional.cross_entropy(private(images), labels).backward()
                optimizer.step()
                step += 1


def _interval(found: Point) -> str:
    return f"{found.mean:.3f} ± {(found.high - found.low) / 2:.3f}"
