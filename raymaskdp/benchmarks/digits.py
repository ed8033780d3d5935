"""Accuracy of each masked mechanism by ε: scikit-learn's digits, with the middle of each image public.

`raymaskdp benchmark digits`. A network with one hidden layer of 64 units is trained on 8 x 8 images. The
inner 16 pixels are public and the outer 48 sensitive. All private computations use the engine, and every
noise multiplier comes from the plan.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from raymaskdp.benchmarks.settings.training import DigitsConfig
from raymaskdp.errors import UserError
from raymaskdp.privacy import GradientEngine, Key, PrivacyPlan, changed_clips
from raymaskdp.privacy.keys import KEY_BYTES

# Shape suffixes: N images, P pixels.

Method = Literal["dpsgd", "maskdp-full", "maskdp", "public", "sgd"]
METHODS: tuple[Method, ...] = ("dpsgd", "maskdp-full", "maskdp", "public", "sgd")
NAMES = {
    "dpsgd": "DP-SGD",
    "maskdp-full": "full gradient, 2C",
    "maskdp": "residual, C",
    "public": "public branch alone",
    "sgd": "not private",
}


@dataclass(frozen=True, kw_only=True)
class DigitsRun:
    """One training run, without its seed.

    Attributes:
      method: a mechanism of the plan, or `public` for the public branch alone.
      epsilon: the target at `delta`; None for `public` and `sgd`.
      learning_rate, clipping_norm, public_weight: as in the plan and plain gradient descent.
    """

    method: Method
    epsilon: float | None = None
    learning_rate: float = 0.5
    clipping_norm: float = 0.3
    public_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DigitsRow:
    """Test accuracy of one setting over seeds: mean, and half width of its 95 % t interval."""

    setting: DigitsRun
    accuracy: float
    half_width: float


@dataclass(frozen=True, kw_only=True)
class DigitsResult:
    """All settings, in the order of the runs."""

    rows: tuple[DigitsRow, ...]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The rows as a Markdown table."""
        lines = [
            "| method | ε | learning rate | C | λ | test accuracy |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row in self.rows:
            setting = row.setting
            epsilon = "–" if setting.epsilon is None else f"{setting.epsilon:g}"
            clip = "–" if setting.epsilon is None else f"{setting.clipping_norm:g}"
            weight = (
                f"{setting.public_weight:g}" if setting.method in ("maskdp", "maskdp-full", "public") else "–"
            )
            lines.append(
                f"| {NAMES[setting.method]} | {epsilon} | {setting.learning_rate:g} | {clip} | {weight} "
                f"| {row.accuracy:.3f} ± {row.half_width:.3f} |"
            )
        return "\n".join(lines)


def benchmark_digits(config: DigitsConfig) -> DigitsResult:
    """Train every setting with every seed. It takes about two seconds a run on one core."""
    settings = list(_settings(config))
    rows = []
    for setting in tqdm(settings, desc="digits", unit="setting"):
        accuracies = [train(setting, config, seed) for seed in range(config.seeds)]
        spread = float(np.std(accuracies, ddof=1)) / math.sqrt(config.seeds)
        half_width = float(stats.t.ppf(0.975, config.seeds - 1)) * spread
        rows.append(DigitsRow(setting=setting, accuracy=float(np.mean(accuracies)), half_width=half_width))
    return DigitsResult(rows=tuple(rows))


def train(setting: DigitsRun, config: DigitsConfig, seed: int) -> float:
    """Test accuracy of one run."""
    images_NP, labels_N, test_images_NP, test_labels_N = load(seed)
    plan = make_plan(setting, config, len(images_NP))
    key = Key(secret=hashlib.blake2b(f"digits {seed}".encode(), digest_size=KEY_BYTES).digest())
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(model, plan, key, setting, images_NP, labels_N)
    return accuracy(model, test_images_NP, test_labels_N)


def fit(
    model: nn.Module, plan: PrivacyPlan, key: Key, setting: DigitsRun, images_NP: Tensor, labels_N: Tensor
) -> None:
    """Train a model with a setting and its plan."""
    public_NP = images_NP * public_pixels()
    engine = GradientEngine(model, plan)
    parameters = dict(model.named_parameters())
    for step in range(plan.steps):
        update = {name: torch.zeros_like(value) for name, value in parameters.items()}
        if setting.method != "public":
            total = engine.zero_sum()
            lot = torch.from_numpy(plan.lot(key, step))
            if len(lot):
                views = [images_NP[lot, None], public_NP[lot, None]][: plan.num_views]
                changed = changed_clips(images_NP[lot, None], public_NP[lot, None])
                weights = changed.float() if plan.mechanism == "maskdp" else None
                with engine.record(num_records=len(lot)):
                    losses = losses_of(
                        model, torch.cat(views, 1).flatten(0, 1), labels_N[lot], plan.num_views
                    )
                    total += engine.clipped_sum(losses, weights)
            update = plan.private_update(total, key, step)
        lot = torch.from_numpy(plan.public_lot(key, step))
        if len(lot):
            loss = losses_of(model, public_NP[lot], labels_N[lot], 1).sum()
            for name, gradient in zip(
                parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True
            ):
                update[name] = update[name] + plan.public_scale * gradient
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.sub_(setting.learning_rate * update[name])


@torch.no_grad()
def accuracy(model: nn.Module, images_NP: Tensor, labels_N: Tensor) -> float:
    """Share of images that are classified correctly, 0 to 1."""
    return float((model(images_NP).argmax(1) == labels_N).float().mean())


def make_plan(setting: DigitsRun, config: DigitsConfig, num_records: int) -> PrivacyPlan:
    """The plan of a setting; for `public`, only its public lots are used."""
    draft = PrivacyPlan(
        mechanism="maskdp" if setting.method == "public" else setting.method,
        num_records=num_records,
        expected_batch=config.rate * num_records,
        steps=max(1, round(config.epochs / config.rate)),
        delta=config.delta,
        noise_multiplier=0.0,
        clipping_norm=setting.clipping_norm,
        public_weight=setting.public_weight,
    )
    if setting.epsilon is None:
        return draft
    return PrivacyPlan.calibrate(
        mechanism=draft.mechanism,
        num_records=num_records,
        expected_batch=draft.expected_batch,
        steps=draft.steps,
        delta=draft.delta,
        epsilon=setting.epsilon,
        clipping_norm=draft.clipping_norm,
        public_weight=draft.public_weight,
    )


def load(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images in [0, 1] and labels: 1437 for training, then 360 for testing, split by the seed."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise UserError(
            "This benchmark needs scikit-learn; install it with `pip install scikit-learn`."
        ) from error
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=360, random_state=seed, stratify=labels)
    train_images, test_images, train_labels, test_labels = split
    return (
        torch.tensor(train_images, dtype=torch.float32),
        torch.tensor(train_labels),
        torch.tensor(test_images, dtype=torch.float32),
        torch.tensor(test_labels),
    )


def public_pixels() -> Tensor:
    """1 for the inner 4 x 4 pixels, 0 for the others, shape [P]."""
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1.0
    return mask.flatten()


def losses_of(model: nn.Module, views_BP: Tensor, labels_N: Tensor, views: int) -> Tensor:
    """Cross-entropy of every view, shape [B], B = N · views."""
    return functional.cross_entropy(model(views_BP), labels_N.repeat_interleave(views), reduction="none")


def _settings(config: DigitsConfig) -> Iterable[DigitsRun]:
    private: tuple[Method, ...] = ("dpsgd", "maskdp-full", "maskdp")
    start = {
        method: DigitsRun(method=method, clipping_norm=1.0 if method == "dpsgd" else 0.3)
        for method in METHODS
    }
    for epsilon, method in itertools.product(config.epsilons, private):
        yield replace(start[method], epsilon=epsilon)
    yield start["public"]
    yield start["sgd"]
    if not config.sweep:
        return
    for method in private:
        base = replace(start[method], epsilon=min(config.epsilons))
        yield from (replace(base, learning_rate=rate) for rate in (0.125, 0.25, 1.0, 2.0))
        yield from (
            replace(base, clipping_norm=norm) for norm in (0.1, 0.3, 1.0, 3.0) if norm != base.clipping_norm
        )
        if method != "dpsgd":
            yield from (replace(base, public_weight=weight) for weight in (0.3, 3.0))
