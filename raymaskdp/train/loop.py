"""The training loop of every worker: the steps of docs/privacy-guarantee.md in order.

    S  ~ Poisson(q)   private lot        G = Σ_S clipped residuals, + noise
    S′ ~ Poisson(q′)  public lot         P = Σ_S′ gradients of the public views
    θ ← optimizer( G / (qN) + λ · P / (q′N) )

Both lots are functions of (key, step); a worker computes its share, the sums are added up over workers,
and every worker draws the same noise and makes the same update. One worker follows the same code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.files import private_folder
from raymaskdp.locks import only_one
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan, share
from raymaskdp.privacy.noise_ahead import NoiseAhead
from raymaskdp.train import checkpoint
from raymaskdp.train.checkpoint import TrainingState
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.batches import FeatureInputs, Inputs, PixelInputs, Views, pick_draws
from raymaskdp.train.data.prefetch import ReadAhead
from raymaskdp.train.guarantee.run_start import Start, begin
from raymaskdp.train.guarantee.step_circumstances import leave_mark, seed_model
from raymaskdp.train.optimizers import WeightAverage, make_optimizer, set_learning_rate
from raymaskdp.train.run.curve import Curve, StepReport
from raymaskdp.train.run.departure import Departures
from raymaskdp.train.run.heap import give_back_large_blocks
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.setup import RunSetup

WAIT_S = 60.0
"""Time limit for the worker of a killed driver to end, seconds."""


def run(
    job: TrainingJob,
    worker: Worker,
    on_step: Callable[[StepReport], None] = lambda report: None,
    *,
    setup: RunSetup | None = None,
) -> float:
    """Train from the last checkpoint, or from the start, to the plan's last step.

    Leaves the checkpoint, the ledger and the curve in the run's folder. `on_step` is called on rank 0.
    `setup` is the run as this process has set it up, with initial weights; a worker sets it up here.
    Returns the seconds that this worker waited for its clips; as private as the time of a step.
    """
    with contextlib.ExitStack() as ending:
        if worker.rank == 0:
            # Two writers would both append to the ledger, which would make it useless.
            refusal = f"{job.folder} is being trained by another process; wait for it, or end it."
            lock_file = private_folder(job.folder) / "lock"
            ending.enter_context(only_one(lock_file, wait_s=WAIT_S, refusal=refusal))
        _set_up_torch(job.config.compute.threads)
        return _run(job, worker, on_step, setup, ending)


def _run(
    job: TrainingJob,
    worker: Worker,
    on_step: Callable[[StepReport], None],
    setup: RunSetup | None,
    ending: contextlib.ExitStack,
) -> float:
    config, plan, first = job.config, job.plan, worker.rank == 0
    setup = setup or RunSetup.of(job)
    inputs, trained = setup.open_inputs(worker.device)
    changes = _Changes(config, plan, setup.model, trained, worker.world_size)
    start, made_by = checkpoint.load(job.checkpoint_file, changes.state, identity=job.identity)
    plan = changes.with_current_norm(plan)
    engine, frozen = changes.engine, checkpoint.frozen_digests(setup.model)
    features = inputs.digest() if isinstance(inputs, FeatureInputs) else None
    session = begin(job, worker, setup.store, Start(start, made_by, plan.clipping_norm, features))
    key, steps, ledger = session.key, range(start, session.end), session.ledger
    if first:
        curve = Curve(job, start)
    reading = _read_ahead(inputs, plan, key, steps, worker, config)
    all_views = iter(reading)
    departures = Departures(worker)
    shapes = {name: tuple(value.shape) for name, value in engine.zero_sum().gradients.items()}
    noise = ending.enter_context(NoiseAhead(plan, key, shapes, steps, config.compute.threads))
    sums = _StepSums(trained, changes.trainable, engine, noise, key, worker, config)

    for step in steps:
        began = time.monotonic()
        plan = noise.plan  # with the current clipping norm
        engine.clip_as(plan)
        private_lot, public_lot = plan.lot(key, step), plan.public_lot(key, step)
        total, shown_loss = sums.private(plan, step, private_lot, all_views)
        public_sum, public_loss = sums.public(plan, step, public_lot, all_views)
        shown_loss += public_loss

        if isinstance(inputs, PixelInputs) and inputs.unread:
            leave_mark(job.unread_mark)
        if ledger is not None:
            # Before the exchange of sums, so that no worker can release this step earlier.
            ledger.write_ahead(step, clipping_norm=plan.clipping_norm if engine.adapts else None)
        ask = departures.question()
        all_reduce(worker, [*total.gradients.values(), *public_sum.values(), shown_loss, ask])
        update = noise.private_update(total, step)  # and the clipping norm of the next step
        changes.apply(step, plan, update, public_sum, next_norm=noise.plan.clipping_norm)
        del total, public_sum, update  # what is kept here is kept at the peak of the next step

        leaves_at = departures.answer(ask)
        due = (step + 1) % config.compute.checkpoint_every == 0 or step + 1 == steps.stop
        if first and (due or leaves_at is not None):
            _save(job, changes.state, frozen, updates=step + 1, made_by=key.fingerprint)
        if first:
            # Of public records only; of all where nothing is private.
            shown = private_lot if plan.mechanism == "sgd" else public_lot
            loss_of_mean = float(shown_loss) / len(shown) if len(shown) else None
            made = plan.clipping_norm if engine.adapts else None
            on_step(curve.add(step + 1, loss_of_mean, spent=step + 1 + session.redone, clipping_norm=made))
            if step + 1 < steps.stop:
                # The others wait in the exchange of the next step, which is not in the ledger yet.
                departures.hold(leaves_at, began)
    return reading.seconds_waited


def _set_up_torch(threads: int) -> None:
    torch.set_num_threads(threads)
    give_back_large_blocks()
    # Otherwise convolutions on GPUs would be rounded to 10 bits, although float32 was requested.
    torch.backends.cudnn.allow_tf32 = False


def _save(
    job: TrainingJob, state: TrainingState, frozen: dict[str, str], *, updates: int, made_by: str
) -> None:
    """Write a checkpoint; raises `UserError` if what is not trained has changed.

    Args:
      frozen: digests of what is not trained, before the first step.
    """
    if job.plan.mechanism != "sgd":
        checkpoint.require_frozen(state.model, frozen)
    checkpoint.save(job.checkpoint_file, state, step=updates, identity=job.identity, made_by=made_by)


def _read_ahead(
    inputs: Inputs, plan: PrivacyPlan, key: Key, steps: range, worker: Worker, config: TrainConfig
) -> ReadAhead[Part, Views]:
    """The views that a worker needs in some steps, in the order of use, read before they are needed."""

    def read(part: Part) -> Views:
        return inputs.read(part.lot, pick_draws(key, *part, plan.clips, config.clips)).to(worker.device)

    parts = parts_of_steps(plan, key, steps, worker, config)
    return ReadAhead(read, parts, ahead=config.compute.read_ahead if reads_files(inputs) else 0)


class _Changes:
    """What a step changes: the trainable weights and their average, the optimizer, and the clipping norm.

    Args:
      model: the whole model, as a checkpoint has it.
      trained: the part of it that is trained.
      world_size: number of workers whose sums are added up.

    Attributes:
      engine: computes the clipped gradients of records.
      trainable: the parameters that are trained, by name.
      state: as a checkpoint has it.
    """

    def __init__(
        self, config: TrainConfig, plan: PrivacyPlan, model: nn.Module, trained: nn.Module, world_size: int
    ) -> None:
        self._config = config.optimizer
        self.trainable = {name: value for name, value in trained.named_parameters() if value.requires_grad}
        self.engine = GradientEngine(trained, plan)
        plan.require_fine_grid(
            parameters=sum(value.numel() for value in self.trainable.values()),
            sums=-(-plan.num_records // config.compute.micro_batch) + world_size,
        )
        noise_std = plan.noise_std / plan.expected_batch
        self._optimizer = make_optimizer(config.optimizer, self.trainable, noise_std=noise_std)
        average = config.optimizer.average
        self._average = WeightAverage(average, self.trainable) if average else None
        norm = torch.tensor(plan.clipping_norm, dtype=torch.float64) if self.engine.adapts else None
        self.state = TrainingState(
            model=model,
            optimizer=self._optimizer,
            average=self._average.values if self._average else {},
            clipping_norm=norm,
        )

    def with_current_norm(self, plan: PrivacyPlan) -> PrivacyPlan:
        """The plan of the next step."""
        norm = self.state.clipping_norm
        return plan if norm is None else plan.at(float(norm))

    def apply(
        self,
        step: int,
        plan: PrivacyPlan,
        update: dict[str, Tensor],
        public_sum: dict[str, Tensor],
        next_norm: float,
    ) -> None:
        """One step of the optimizer.

        Args:
          update: the private update, with noise, by parameter.
          public_sum: the summed gradient of the public lot.
          next_norm: the clipping norm of the next step.
        """
        for name, parameter in self.trainable.items():
            both = update[name] + plan.public_scale * public_sum[name]
            parameter.grad = both.to(parameter.dtype)  # a sum without noise is float64
        if self.state.clipping_norm is not None:
            self.state.clipping_norm.fill_(next_norm)
        set_learning_rate(self._optimizer, self._config, step, plan.steps)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            self._average.add(step)


class _StepSums:
    """The sums over one worker's share of a step's lots.

    Args:
      trained: the model that is trained, and `trainable` its parameters.
      engine: computes the clipped gradients of records.
      noise: of the steps, which is begun during each.
      key: seeds the model's random numbers.
    """

    def __init__(
        self,
        trained: nn.Module,
        trainable: dict[str, nn.Parameter],
        engine: GradientEngine,
        noise: NoiseAhead,
        key: Key,
        worker: Worker,
        config: TrainConfig,
    ) -> None:
        self._trained, self._trainable, self._engine, self._noise = trained, trainable, engine, noise
        self._key, self._worker, self._config = key, worker, config
        self._precision = getattr(torch, config.compute.precision)

    def private(
        self, plan: PrivacyPlan, step: int, lot: np.ndarray, views: Iterator[Views]
    ) -> tuple[ClippedSum, Tensor]:
        """The gradients of the private lot, and the loss to show, [1]; 0 if it is private."""
        total: ClippedSum | None = None  # no memory is taken before the first sum
        shown_loss = torch.zeros(1, device=self._worker.device)
        if self._worker.device.type != "cpu":
            self._noise.begin()
        parts = list(micro_batches(lot, self._worker, self._config))
        for number, records in enumerate(parts):
            batch = next(views)
            seed_model(self._key.number("model", step, self._worker.rank, number))
            clips, labels, usable = batch.full, batch.labels, batch.usable
            if plan.mechanism == "maskdp":
                clips, labels = torch.cat([clips, batch.public], 1), torch.cat([labels, labels], 1)
                usable = usable & batch.changed  # the residual of an unchanged clip is exactly zero
            if plan.mechanism == "sgd":  # nothing to bound: an ordinary gradient, at its ordinary speed
                losses = losses_of(self._trained, clips, labels, self._precision) * usable.flatten()
                loss = losses.sum() / plan.clips
                gradient = summed_gradient(loss, self._trainable)
                part = ClippedSum({name: value.double() for name, value in gradient.items()})
                shown_loss += loss.detach()
            else:
                with self._engine.record(num_records=len(records)):
                    losses = losses_of(self._trained, clips, labels, self._precision)
                    if number + 1 == len(parts):  # the peak of memory is over, as far as this lot goes
                        self._noise.begin()
                    part = self._engine.clipped_sum(losses, usable / plan.clips)
            if total is None:
                total = plan.on_grid(part)
            else:
                plan.add_to(total, part)
            del part
        self._noise.begin()  # an empty share has no backward pass
        return plan.on_grid(self._engine.zero_sum()) if total is None else total, shown_loss

    def public(
        self, plan: PrivacyPlan, step: int, lot: np.ndarray, views: Iterator[Views]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The summed gradient of the public lot, by parameter, and its loss, [1]."""
        public_sum, shown_loss = zeros_like(self._trainable), torch.zeros(1, device=self._worker.device)
        for number, _ in enumerate(micro_batches(lot, self._worker, self._config)):
            batch = next(views)
            seed_model(self._key.number("public model", step, self._worker.rank, number))
            losses = losses_of(self._trained, batch.public, batch.labels, self._precision)
            loss = (losses * batch.usable.flatten()).sum() / plan.clips
            gradient = summed_gradient(loss, self._trainable)
            public_sum = {name: value + gradient[name] for name, value in public_sum.items()}
            shown_loss += loss.detach()
        return public_sum, shown_loss


class Part(NamedTuple):
    """A unit of reading: some records of a worker's share of a lot, for one stream of draws."""

    stream: str
    step: int
    lot: np.ndarray


def parts_of_steps(
    plan: PrivacyPlan, key: Key, steps: range, worker: Worker, config: TrainConfig
) -> Iterator[Part]:
    """The parts that a worker reads for some steps, in the order of use."""
    for step in steps:
        for stream, lot_of in (("clips", plan.lot), ("public clips", plan.public_lot)):
            for lot in micro_batches(lot_of(key, step), worker, config):
                yield Part(stream, step, lot)


def reads_files(inputs: Inputs) -> bool:
    """Whether reading takes time; features are in memory."""
    return isinstance(inputs, PixelInputs)


def micro_batches(lot: np.ndarray, worker: Worker, config: TrainConfig) -> Iterator[np.ndarray]:
    """This worker's share of a lot, in parts of `compute.micro_batch`; none if the share is empty."""
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


def summed_gradient(loss: Tensor, trainable: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The gradient of a loss, by name."""
    gradients = torch.autograd.grad(loss, list(trainable.values()))
    return dict(zip(trainable, gradients, strict=True))


def all_reduce(worker: Worker, tensors: list[Tensor]) -> None:
    """Add tensors up over all workers, in place, in one exchange per number type."""
    if worker.world_size == 1:
        return
    for kind in {tensor.dtype: None for tensor in tensors}:
        some = [tensor for tensor in tensors if tensor.dtype == kind]
        flat = torch.cat([tensor.flatten() for tensor in some])
        worker.all_reduce(flat)
        for tensor, part in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(part.view_as(tensor))


def zeros_like(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in parameters.items()}
