"""The loop that every worker runs: one step of docs/privacy-guarantee.md after another, straight down.

    S  ~ Poisson(q)   private lot        G = Σ_S clipped residuals, + noise
    S′ ~ Poisson(q′)  public lot         P = Σ_S′ gradients of the public views
    θ ← optimizer( G / (qN) + λ · P / (q′N) )

Both lots are functions of (key, step); a worker computes its share, the sums are added up over workers,
and every worker draws the same noise and makes the same update. With one worker nothing is different.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp import models
from raymaskdp.distributed.lock import only_writer
from raymaskdp.errors import UserError
from raymaskdp.files import write_text
from raymaskdp.finite import finite_or_none
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan, share
from raymaskdp.privacy.noise_ahead import NoiseAhead
from raymaskdp.privacy.plan import MASKED
from raymaskdp.privacy.prices.accounting import rdp_epsilon
from raymaskdp.train import checkpoint
from raymaskdp.train.checkpoint import TrainingState
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.batches import Inputs, PixelInputs, Views, pick_draws
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.data.prefetch import ReadAhead
from raymaskdp.train.data.splits import training_videos
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.features import cached_features
from raymaskdp.train.optimizers import WeightAverage, make_optimizer, set_learning_rate
from raymaskdp.train.promise.circumstances import seed_model
from raymaskdp.train.promise.job import TrainingJob, Worker
from raymaskdp.train.promise.session import begin

NOTICE_S = 1.0
"""How often workers ask whether a machine is about to be taken away; asking takes a few milliseconds."""


GRACE_S = 30.0
"""How much longer than announced a machine may stay before its workers go on."""


@dataclass(frozen=True)
class StepReport:
    """What may be shown of a step. Of private records only ε: not even the time, which tells a lot's size.

    Attributes:
      step: updates made so far.
      epsilon: spent so far, at most; None if nothing is promised.
      public_loss: mean loss of the public lot; of the training lot if nothing is private; else None.
      clipping_norm: of the step, where it adapts: a function of the releases before it.
    """

    step: int
    epsilon: float | None
    public_loss: float | None
    clipping_norm: float | None = None


def run(
    job: TrainingJob, worker: Worker, on_step: Callable[[StepReport], None] = lambda report: None
) -> float:
    """Train from the last checkpoint, or from the start, to the plan's last step.

    Leaves the checkpoint, the ledger and the curve in the run's folder. `on_step` is called on rank 0.
    Returns for how many seconds this worker waited for its clips; as private as the time of a step.
    """
    with contextlib.ExitStack() as ending:
        if worker.rank == 0:
            ending.enter_context(only_writer(job.folder))
        return _run(job, worker, on_step, ending)


def _run(
    job: TrainingJob, worker: Worker, on_step: Callable[[StepReport], None], ending: contextlib.ExitStack
) -> float:
    torch.set_num_threads(job.config.compute.threads)
    # Else convolutions on GPUs would be rounded to 10 bits, where float32 is what was asked for.
    torch.backends.cudnn.allow_tf32 = False
    config, plan, first, device = job.config, job.plan, worker.rank == 0, worker.device
    store = ClipStore.open(config.data)
    model = build(config, store).to(device)
    inputs, trained = open_inputs(config, store, model)
    learning = {name: value for name, value in trained.named_parameters() if value.requires_grad}
    engine = GradientEngine(trained, plan)
    plan.require_fine_grid(
        parameters=sum(value.numel() for value in learning.values()),
        sums=-(-plan.num_records // config.compute.micro_batch) + worker.world_size,
    )
    optimizer = make_optimizer(config.optimizer, learning, noise_std=plan.noise_std / plan.expected_batch)
    average = WeightAverage(config.optimizer.average, learning) if config.optimizer.average else None
    norm = torch.tensor(plan.clipping_norm, dtype=torch.float64) if engine.adapts else None
    state = TrainingState(
        model=model,
        optimizer=optimizer,
        average=average.values if average else {},
        clipping_norm=norm,
    )
    start = checkpoint.load(job.checkpoint_file, state, identity=job.identity)
    if norm is not None:
        plan = plan.at(float(norm))
    session = begin(job, worker, store, start, plan.clipping_norm)
    key, end, ledger = session.key, session.end, session.ledger
    if first:
        curve = Curve(job, start)

    def read(part: Part) -> Views:
        return inputs.read(part.lot, pick_draws(key, *part, plan.clips, config.clips)).to(device)

    parts = parts_of_steps(plan, key, range(start, end), worker, config)
    reading = ReadAhead(read, parts, ahead=config.compute.read_ahead if reads_files(inputs) else 0)
    all_views = iter(reading)
    precision = getattr(torch, config.compute.precision)
    asked, held = time.monotonic(), None
    shapes = {name: tuple(value.shape) for name, value in engine.zero_sum().gradients.items()}
    noise = ending.enter_context(NoiseAhead(plan, key, shapes, range(start, end)))

    for step in range(start, end):
        began = time.monotonic()
        plan = noise.plan  # with the clipping norm in force
        engine.clip_as(plan)
        private_lot, public_lot = plan.lot(key, step), plan.public_lot(key, step)
        total, shown_loss = plan.on_grid(engine.zero_sum()), torch.zeros(1, device=device)
        for number, lot in enumerate(micro_batches(private_lot, worker, config)):
            views = next(all_views)
            seed_model(key.number("model", step, worker.rank, number))
            clips, labels, usable = views.full, views.labels, views.usable
            if plan.mechanism == "maskdp":
                clips, labels = torch.cat([clips, views.public], 1), torch.cat([labels, labels], 1)
                usable = usable & views.changed  # the residual of an unchanged clip is exactly zero
            if plan.mechanism == "sgd":  # nothing to bound: an ordinary gradient, at an ordinary price
                losses = losses_of(trained, clips, labels, precision) * usable.flatten()
                loss = losses.sum() / plan.clips
                total += ClippedSum(summed_gradient(loss, learning))
                shown_loss += loss.detach()
            else:
                with engine.record(num_records=len(lot)):
                    losses = losses_of(trained, clips, labels, precision)
                    total += plan.on_grid(engine.clipped_sum(losses, usable / plan.clips))

        public_sum = zeros_like(learning)
        for number, _ in enumerate(micro_batches(public_lot, worker, config)):
            views = next(all_views)
            seed_model(key.number("public model", step, worker.rank, number))
            losses = losses_of(trained, views.public, views.labels, precision) * views.usable.flatten()
            loss = losses.sum() / plan.clips
            gradient = summed_gradient(loss, learning)
            public_sum = {name: value + gradient[name] for name, value in public_sum.items()}
            shown_loss += loss.detach()

        if ledger is not None:
            # Before the sums meet, so that no worker can release this step earlier.
            ledger.write_ahead(step, clipping_norm=None if norm is None else plan.clipping_norm)
        # The first worker's clock decides for all when to ask.
        ask = torch.full((1,), float(first and time.monotonic() - asked > NOTICE_S), device=device)
        add_up(worker, [*total.gradients.values(), *public_sum.values(), shown_loss, ask])
        update = noise.private_update(total, step)
        for name, parameter in learning.items():
            parameter.grad = update[name] + plan.public_scale * public_sum[name]
        if norm is not None:
            norm.fill_(noise.plan.clipping_norm)  # of the next step
        set_learning_rate(optimizer, config.optimizer, step, plan.steps)
        optimizer.step()
        if average:
            average.add(step)

        due = (step + 1) % config.compute.checkpoint_every == 0 or step + 1 == end
        leaves_at = None
        if ask > 0:
            leaves_at, asked = worker.leaves_at(), time.monotonic()
            due = due or leaves_at is not None
        if first and due:
            checkpoint.save(job.checkpoint_file, state, step=step + 1, identity=job.identity)
        if first:
            # Of public records only; of all where nothing is private.
            shown = private_lot if plan.mechanism == "sgd" else public_lot
            loss_of_mean = float(shown_loss) / len(shown) if len(shown) else None
            made = None if norm is None else plan.clipping_norm
            on_step(curve.add(step + 1, loss_of_mean, spent=step + 1 + session.redone, clipping_norm=made))
            if leaves_at is not None and leaves_at != held and step + 1 < end:
                # The others wait in the exchange of the next step, which the ledger does not know of yet.
                ahead = NOTICE_S + 2 * (time.monotonic() - began)
                held = leaves_at if hold(leaves_at, ahead) else held
    return reading.seconds_waited


def hold(leaves_at: float, ahead: float) -> bool:
    """Wait for the end of a machine that is taken away within `ahead` seconds; False if it stays longer.

    What is done after the last checkpoint would be done again, by other workers, and paid for twice.
    """
    left = leaves_at - time.time()
    if left > ahead:
        return False
    time.sleep(max(left, 0.0) + GRACE_S)
    return True


class Part(NamedTuple):
    """What is read at a time: some records of a worker's share of a lot, for one stream of draws."""

    stream: str
    step: int
    lot: np.ndarray


def parts_of_steps(
    plan: PrivacyPlan, key: Key, steps: range, worker: Worker, config: TrainConfig
) -> Iterator[Part]:
    """What a worker reads in some steps, in the order in which they use it."""
    for step in steps:
        for stream, lot_of in (("clips", plan.lot), ("public clips", plan.public_lot)):
            for lot in micro_batches(lot_of(key, step), worker, config):
                yield Part(stream, step, lot)


def reads_files(inputs: Inputs) -> bool:
    """Whether reading takes time; features lie in memory."""
    return isinstance(inputs, PixelInputs)


def micro_batches(lot: np.ndarray, worker: Worker, config: TrainConfig) -> Iterator[np.ndarray]:
    """This worker's share of a lot, in pieces of `compute.micro_batch`; none if the share is empty."""
    mine = share(lot, worker.rank, worker.world_size)
    size = config.compute.micro_batch
    for first in range(0, len(mine), size):
        yield mine[first : first + size]


def losses_of(
    model: nn.Module, clips_NV: Tensor, labels_NV: Tensor, precision: torch.dtype = torch.float32
) -> Tensor:
    """Cross-entropy of every view, float32 [N·V], record by record; of several findings, their mean.

    With the precision bfloat16 the model runs under autocast.
    """
    with torch.autocast(clips_NV.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        scores = model(clips_NV.flatten(0, 1))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    labels = labels_NV.flatten(0, 1)
    if labels.is_floating_point():
        return functional.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(dim=1)
    return functional.cross_entropy(scores, labels, reduction="none")


def summed_gradient(loss: Tensor, learning: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The gradient of a loss, by name."""
    gradients = torch.autograd.grad(loss, list(learning.values()))
    return dict(zip(learning, gradients, strict=True))


def add_up(worker: Worker, tensors: list[Tensor]) -> None:
    """Add tensors up over all workers, in place, in one exchange for each type of number."""
    if worker.world_size == 1:
        return
    for kind in {tensor.dtype: None for tensor in tensors}:
        some = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = torch.cat([tensor.flatten() for tensor in some])
        worker.add_up(flat)
        for tensor, part in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(part.view_as(tensor))


def zeros_like(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in parameters.items()}


def build(config: TrainConfig, store: ClipStore) -> nn.Module:
    """The model of a run before its first step, frozen as the scheme says."""
    clip = (config.clips.frames, *config.clips.size_in(store))
    if config.scheme == "scratch" and models.weight_files(config.model):
        raise UserError(
            "scheme=scratch starts from nothing, but the model comes with weights; use "
            "model.options.pretrained=false, or scheme=full."
        )
    model = models.build_model(config.model, clip=clip, num_classes=len(store.classes), seed=config.seed)
    if config.init is not None:
        models.load_backbone(config.init, model)
    models.apply_scheme(
        model,
        config.scheme,
        adapter_width=config.model.adapter_width,
        lora_rank=config.model.lora_rank,
        seed=config.seed,
    )
    if config.compute.checkpoint_activations:
        models.checkpoint_activations(model)
    return model


def open_inputs(
    config: TrainConfig, store: ClipStore, model: nn.Module, *, feature_workers: int = 0
) -> tuple[Inputs, nn.Module]:
    """Where a run's views come from, and what is trained on them: features and the head if that is all.

    Features that are not there yet are computed by `feature_workers` actors, or here.
    """
    videos = training_videos(store, config)
    store.fetch(videos)
    records = records_of(videos, config.privacy.unit)
    if config.compute.cache_features and only_head_learns(model):
        # Both views, whatever the mechanism: runs of all mechanisms share them.
        pixels = PixelInputs(store, records, config.clips)
        features = cached_features(
            pixels, model, config.model, workers=feature_workers, gpus=config.compute.gpus
        )
        return features, HeadAlone(model)
    return PixelInputs(store, records, config.clips, config.privacy.mechanism in MASKED), model


class HeadAlone(nn.Module):
    """A model's head under its own name, for inputs that are features already."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head = model.get_submodule("head")

    def forward(self, features_BD: Tensor) -> Tensor:
        scores: Tensor = self.head(features_BD)
        return scores


def only_head_learns(model: nn.Module) -> bool:
    """Whether everything but the head is frozen."""
    return all(name.startswith("head.") for name, value in model.named_parameters() if value.requires_grad)


class Curve:
    """The training curve, one JSON object a line, a line a step; a step that is redone replaces its line."""

    def __init__(self, job: TrainingJob, start: int) -> None:
        self._job = job
        kept = [line for line in read_curve(job.curve_file) if line.step <= start]
        write_text(job.curve_file, "".join(json.dumps(asdict(line)) + "\n" for line in kept), ours=True)

    def add(
        self, step: int, loss: float | None, *, spent: int, clipping_norm: float | None = None
    ) -> StepReport:
        """Write the line of a step, which has just been made; `spent` releases were made up to it."""
        report = StepReport(step, spent_at_most(self._job.plan, spent), loss, clipping_norm)
        with open(self._job.curve_file, "a", encoding="utf-8") as opened:
            opened.write(json.dumps(asdict(report)) + "\n")
        return report


def spent_at_most(plan: PrivacyPlan, step: int) -> float | None:
    """A quick upper bound on ε after `step` steps: by RDP, of the next tenth of the run. None if infinite."""
    tenth = max(plan.steps // 10, 1)
    return finite_or_none(_spent(plan, min(math.ceil(step / tenth) * tenth, plan.steps)))


@functools.lru_cache(maxsize=256)
def _spent(plan: PrivacyPlan, steps: int) -> float:
    return min(rdp_epsilon(plan.event(steps), plan.delta), plan.epsilon())


def read_curve(path: Path) -> list[StepReport]:
    """The lines of a curve; none if there is no file. A last line cut off by a crash is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [StepReport(**json.loads(line)) for line in lines if line.endswith("\n")]
