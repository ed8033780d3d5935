"""Time and memory of a private training step, compared with plain SGD and Opacus.

`raymaskdp benchmark dp-step`. All contestants train the same model on the same views of the same records.
Their computations differ, and the table says so: Opacus clips every view separately; this engine clips a
record's signed sum. `engine` draws the noise within the step; `engine-ahead` draws it as training does, in
threads, during the backward pass.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.benchmarks import paired
from raymaskdp.benchmarks.settings.training import DpStepConfig
from raymaskdp.models.backbones.video_transformer import VideoTransformer, VideoTransformerConfig
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan
from raymaskdp.privacy.noise_ahead import NoiseAhead
from raymaskdp.train.run.heap import give_back_large_blocks

# Shape suffixes: B views in a batch, L tokens, D width.

RIVALS = ("sgd", "opacus-hooks", "opacus-ghost", "engine", "engine-ahead")
NUM_CLASSES = 100
PATCH = 768  # 16 · 16 pixels of 3 colours
STEPS = 1_000_000  # more than any benchmark needs, because prices are not measured


@dataclass(frozen=True, kw_only=True)
class DpStepRow:
    """One rival on one case.

    Attributes:
      model, scheme, clips, views: the case; `views` go through the model in a step.
      rival: `sgd`, `opacus-hooks`, `opacus-ghost`, `engine`, `engine-ahead`, or one of these with ` maskdp`.
      seconds: median time of a step.
      over_sgd: median over rounds of its time over plain SGD's on the same views.
      peak_mib: peak memory of a step above the process's memory before the first, MiB.
      memory_over_sgd: the same over plain SGD's.
      noise: share of the step's time spent on noise: on drawing it, or with `engine-ahead` on waiting for it.
        None for the others.
      refused: why it was impossible, or None.
    """

    model: str
    scheme: str
    clips: int
    views: int
    rival: str
    seconds: float | None
    over_sgd: float | None
    peak_mib: float | None
    memory_over_sgd: float | None
    noise: float | None
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class DpStepResult:
    """The rows, the machine, and the cases for which there was no time left."""

    machine: str
    rows: tuple[DpStepRow, ...]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        missing = f"\n\nNo time was left for: {'; '.join(self.left_out)}." if self.left_out else ""
        return f"{self.machine}\n\n{self.table()}{missing}"

    def table(self) -> str:
        """The rows as a Markdown table."""
        head = (
            "| model | trained | K | views | rival | step (s) | time / SGD | noise | memory (MiB) | / SGD |"
        )
        lines = [head, "| --- " * 10 + "|"]
        for row in self.rows:
            case = f"| {row.model} | {row.scheme} | {row.clips} | {row.views} | {row.rival} |"
            if row.refused is not None:
                lines.append(f"{case} refused | | | | |")
                continue
            noise = "" if row.noise is None else f"{row.noise:.1%}"
            lines.append(
                f"{case} {row.seconds:.3f} | {row.over_sgd:.2f} | {noise} "
                f"| {row.peak_mib:.0f} | {row.memory_over_sgd:.2f} |"
            )
        return "\n".join(lines)


def benchmark_dp_step(config: DpStepConfig) -> DpStepResult:
    """Measure every case of the configuration. It takes seconds to minutes for each case."""
    threads = config.threads or os.cpu_count() or 1
    rows: list[DpStepRow] = []
    left_out: list[str] = []
    kinds = (False, True) if config.masked else (False,)
    cases = list(itertools.product(config.models, config.schemes, config.clips, kinds))
    end = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
    for number, (model, scheme, clips, masked) in enumerate(cases):
        title = f"{model} {scheme} K={clips}{' masked' if masked else ''}"
        now = time.monotonic()
        if now > end:
            left_out.append(title)
            continue
        case = {
            "model": model,
            "scheme": scheme,
            "clips": clips,
            "records": config.views // clips,
            "masked": masked,
            "device": config.device,
            "whole_proof": config.whole_proof,
        }
        # Opacus has no residual, and its computation is independent of K, so one row of each suffices.
        rivals = ("sgd", "engine", "engine-ahead") if masked or clips > 1 else RIVALS
        measured = paired.measure(
            "raymaskdp.benchmarks.dp_step:make_step",
            {rival: {**case, "rival": rival} for rival in rivals},
            rounds=config.rounds,
            warmup=1,
            threads=threads,
            title=title,
            # The remaining time is divided in favour of later, larger cases.
            until=now + (end - now) * 2 / (len(cases) - number + 1),
        )
        rows += _rows(case, measured)
    return DpStepResult(machine=_machine(config.device, threads), rows=tuple(rows), left_out=tuple(left_out))


Step = Callable[[], float | None]
"""A training step; returns the seconds that it spent on noise, if known."""


def make_step(spec: dict[str, Any]) -> Step:
    """One contestant's training step, created in its own process, whose allocator is set as for training."""
    give_back_large_blocks()
    torch.manual_seed(0)
    device = torch.device(spec["device"])
    model = _model(spec["model"], spec["scheme"]).to(device)
    views = spec["records"] * spec["clips"] * (2 if spec["masked"] else 1)
    inputs = _inputs(spec["model"], views).to(device)
    labels = torch.randint(0, NUM_CLASSES, (views,), device=device)
    makers = {
        "sgd": _sgd_step,
        "opacus-hooks": _hooks_step,
        "opacus-ghost": _ghost_step,
        "engine": _engine_step,
        "engine-ahead": _engine_step,
    }
    return makers[spec["rival"]](model, inputs, labels, spec)


def _sgd_step(model: nn.Module, inputs: Tensor, labels: Tensor, spec: dict[str, Any]) -> Step:
    optimizer = torch.optim.SGD(_trainable(model), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def _engine_step(model: nn.Module, inputs: Tensor, labels: Tensor, spec: dict[str, Any]) -> Step:
    records, clips = spec["records"], spec["clips"]
    mechanism: Literal["maskdp", "multiclip"] = "maskdp" if spec["masked"] else "multiclip"
    plan = PrivacyPlan(
        mechanism=mechanism,
        num_records=100 * records,
        expected_batch=records,
        clips=clips,
        steps=STEPS,
        delta=1e-5,
        noise_multiplier=1.0,
    )
    key = Key.draw()
    engine = GradientEngine(model, plan)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(parameters.values(), lr=1e-3)
    shapes = {name: tuple(value.shape) for name, value in parameters.items()}
    steps = itertools.count()

    def clipped_sum(views: Tensor) -> ClippedSum:
        with engine.record(num_records=records):
            losses = functional.cross_entropy(model(views), labels, reduction="none")
            if ahead is not None:
                ahead.begin()
            return engine.clipped_sum(losses)

    ahead: NoiseAhead | None = None
    if isinstance(model, VisionTransformer) and not spec.get("whole_proof"):
        # Records are proven apart thoroughly for the largest batch; with views of one token that is fast.
        clipped_sum(inputs[:, :1])
    if spec["rival"] == "engine-ahead":
        ahead = NoiseAhead(plan, key, shapes, range(STEPS), threads=torch.get_num_threads())

    def step() -> float:
        total, number = clipped_sum(inputs), next(steps)
        if ahead is None:
            began = time.perf_counter()
            drawn = plan.whole_noise(key, number, shapes)
            spent = time.perf_counter() - began
            updates = plan.released(total, drawn)
        else:
            before = ahead.waited
            updates = ahead.private_update(total, number)
            spent = ahead.waited - before
        for name, update in updates.items():
            parameters[name].grad = update
        optimizer.step()
        optimizer.zero_grad()
        return spent

    return step


def _hooks_step(model: nn.Module, inputs: Tensor, labels: Tensor, spec: dict[str, Any]) -> Step:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(_trainable(model), lr=1e-3),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=len(labels),
    )

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(wrapped(inputs), labels).backward()
        optimizer.step()

    return step


def _ghost_step(model: nn.Module, inputs: Tensor, labels: Tensor, spec: dict[str, Any]) -> Step:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(
        model, loss_reduction="mean", max_grad_norm=1.0, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(_trainable(model), lr=1e-3),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=len(labels),
    )
    criterion = DPLossFastGradientClipping(wrapped, optimizer, nn.CrossEntropyLoss(reduction="mean"), "mean")

    def step() -> None:
        optimizer.zero_grad()
        criterion(wrapped(inputs), labels).backward()
        optimizer.step()

    return step


class VisionTransformer(nn.Module):
    """Six pre-norm blocks of width 192 on patches, with layers that every contestant supports: no raw
    parameter.
    """

    def __init__(self, depth: int = 6, width: int = 192, heads: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH, width)
        self.blocks = nn.ModuleList(_TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_CLASSES)

    def forward(self, patches_BLP: Tensor) -> Tensor:
        x_BLD = self.embed(patches_BLP)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        scores: Tensor = self.head(self.norm(x_BLD).mean(1))
        return scores


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x_BLD)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x_BLD = x_BLD + self.output(mixed)
        return x_BLD + self.contract(functional.gelu(self.expand(self.perceptron_norm(x_BLD))))


def _model(name: str, scheme: str) -> nn.Module:
    model: nn.Module
    if name == "video":
        config = VideoTransformerConfig(width=128, depth=4, heads=4, expansion=4, tubelet=(2, 8, 8))
        model = VideoTransformer(config, clip=(8, 112, 112), num_classes=NUM_CLASSES)
        nn.init.normal_(model.get_submodule("head").weight, std=0.02)  # type: ignore[arg-type]
    else:
        model = VisionTransformer()
    for path, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            chosen = path == "head" or (scheme == "norms+head" and isinstance(module, nn.LayerNorm))
            # The video model's position embedding stays frozen: Opacus has no rule for raw parameters.
            parameter.requires_grad_(chosen or (scheme == "all" and path != ""))
    return model


def _inputs(name: str, views: int) -> Tensor:
    if name == "video":
        return torch.randn(views, 3, 8, 112, 112)
    return torch.randn(views, int(name.removeprefix("vit-")), PATCH)


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _rows(case: dict[str, Any], measured: dict[str, paired.Measurement]) -> list[DpStepRow]:
    sgd = measured["sgd"]
    return [
        DpStepRow(
            model=case["model"],
            scheme=case["scheme"],
            clips=case["clips"],
            views=case["records"] * case["clips"] * (2 if case["masked"] else 1),
            rival=f"{rival} maskdp" if case["masked"] and rival.startswith("engine") else rival,
            seconds=None if result.refused else result.median_seconds(),
            over_sgd=None if result.refused else result.ratio_to(sgd),
            peak_mib=None if result.refused else result.peak_bytes / 2**20,
            memory_over_sgd=None if result.refused else result.peak_bytes / sgd.peak_bytes,
            noise=result.share_of_part(),
            refused=result.refused,
        )
        for rival, result in measured.items()
    ]


def _machine(device: str, threads: int) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
