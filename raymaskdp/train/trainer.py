"""`train`: a run's identity and folder, and its workers. The one file that knows Ray Train."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp import events, models
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import UserError
from raymaskdp.files import private_folder, sha256_file, write_json, write_text
from raymaskdp.finite import finite_or_none
from raymaskdp.privacy import Key, PrivacyPlan
from raymaskdp.train import checkpoint, loop
from raymaskdp.train.checkpoint import Identity
from raymaskdp.train.config import ComputeConfig, PrivacyConfig, TrainConfig
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.data.splits import training_videos
from raymaskdp.train.data.store import ClipStore, absolute
from raymaskdp.train.device import CPU, device_here
from raymaskdp.train.loggers import shown_values, tensorboard, weights_and_biases
from raymaskdp.train.loop import StepReport
from raymaskdp.train.promise.check import count, require_same_data
from raymaskdp.train.promise.job import TrainingJob, Worker
from raymaskdp.train.promise.origins import plans_before, warnings_of

WORKER_FAILURES = 3
"""Crashes of workers that a run survives, each going on from the last checkpoint."""

EXCHANGE_TIMEOUT_S = 120
"""How long workers wait for each other's sums before the run is restarted from its checkpoint."""

RESIZE_S = 5
"""How often a run with a variable number of workers looks whether there is room for more."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run. Everything here may be published.

    Attributes:
      run: its folder.
      mechanism, adjacency, unit, delta, noise_multiplier, clipping_norm, clips, steps: of its plan.
      epsilon: the tighter of `epsilon_rdp` and `epsilon_pld`; None if nothing is promised.
      updates: how many the model got: fewer than `steps` where steps were redone after a crash under other
        circumstances, and counted again.
      records: N, the number of records.
      trainable: how many numbers were trained.
      public_loss: of the last step's public lot (of its whole lot if nothing is private); or None.
      warnings: what makes the promise weaker than it looks; a sentence each.
      finished_before: whether the run was there already, and nothing was done.
    """

    run: str
    mechanism: str
    adjacency: str
    unit: str
    epsilon: float | None
    epsilon_rdp: float | None
    epsilon_pld: float | None
    delta: float
    noise_multiplier: float
    clipping_norm: float
    clips: int
    steps: int
    updates: int
    records: int
    scheme: str
    trainable: int
    public_loss: float | None
    warnings: tuple[str, ...] = ()
    finished_before: bool = False

    def __str__(self) -> str:
        done = "was finished before; nothing to do" if self.finished_before else "is finished"
        if self.epsilon is None:
            privacy = "no privacy: every video is used as it is"
        else:
            privacy = (
                f"ε = {self.epsilon:.3g} at δ = {self.delta:g} for one {self.unit} "
                f"({self.adjacency} adjacency; RDP {self.epsilon_rdp:.3g}, PLD {self.epsilon_pld:.3g})"
            )
        lost = self.steps - self.updates
        redone = f"{lost} of them redone and counted again, " if lost else ""
        return "\n".join(
            [
                f"The run {self.run} {done}.",
                f"  {self.mechanism}, {self.steps} steps over {self.records} records, {redone}"
                f"{self.trainable} trained parameters ({self.scheme})",
                f"  {privacy}",
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )


def train(
    config: TrainConfig, *, key: Key | None = None, on_step: Callable[[StepReport], None] | None = None
) -> TrainResult:
    """Train one model; resumes an interrupted run, and returns at once if it is finished.

    The run's folder is named after its mechanism and a digest of settings and data. `key` fixes the run's
    secret, for tests; otherwise the operating system draws it, and it stays in the folder `private` there,
    open to its owner alone. `on_step` is called after every step of a run in this process. Raises `UserError`
    for settings that do not go together.
    """
    job = make_job(config)
    if (job.folder / "result.json").is_file():
        require_same_data(job)
        return replace(read_result(job.folder), run=str(job.folder), finished_before=True)
    require_same_data(job)
    private_folder(job.folder)
    write_text(job.folder / "config.yaml", configuration.to_yaml(job.config))
    write_json(job.folder / "plan.json", asdict(job.plan))
    if key is None and job.plan.mechanism == "sgd":
        # Nothing to protect, so let the seed decide everything.
        key = Key(secret=hashlib.sha256(f"seed {config.seed}".encode()).digest())
    if not job.ledger_file.exists():
        # Whoever used this key left no word of what was released with it, so it is used no more.
        job.key_file.unlink(missing_ok=True)
    if key is not None and not job.key_file.exists():
        job.key_file.touch(mode=0o600)
        job.key_file.write_bytes(key.secret)
    # Drawn here: a worker that does not find it does not see this folder.
    count(job, Key.load_or_draw(job.key_file))
    events.write("train begins", run=job.folder.name, steps=job.plan.steps)
    cache_features_of(job.config)
    if config.compute.workers == 0:
        _run_here(job, on_step)
    else:
        run_on_ray(job, _train_in_worker)
    result = _finish(job)
    spent = {} if result.epsilon is None else {"epsilon": result.epsilon, "delta": result.delta}
    events.write("train ends", run=job.folder.name, steps=result.steps, **spent)
    return result


def make_job(config: TrainConfig) -> TrainingJob:
    """The plan and identity of a run; checks all settings against the data."""
    # Of the annotated types, which `TrainConfig(...)` in Python does not see to; equal settings, equal run.
    config = configuration.build(TrainConfig, configuration.to_dict(config), where="the configuration")
    # Workers elsewhere and later commands start from other folders.
    config = replace(
        config,
        data=absolute(config.data),
        out=config.out.absolute(),
        init=None if config.init is None else config.init.absolute(),
    )
    store = ClipStore.open(config.data)
    plan = plan_of(config, store)
    plans_before(config, store)  # refuses weights that already tell all about the data
    loop.build(config, store)  # settings of the model and its weights that do not fit fail here
    identity = Identity(run=run_digest(config, store), plan=configuration.digest(_without_unused(plan)))
    folder = config.out / f"{plan.mechanism}-{identity.run[:12]}"
    return TrainingJob(config=config, folder=folder, plan=plan, identity=identity)


def plan_of(config: TrainConfig, store: ClipStore) -> PrivacyPlan:
    """The privacy plan of a run on a store; raises `UserError` for what the store cannot keep secret."""
    if config.privacy.adjacency == "add-remove" and not store.declared:
        raise UserError(
            f"add-remove adjacency hides whether a record exists, but the classes of {config.data} are taken "
            "from the labels of all records; declare them with `raymaskdp prepare ... classes=[...]`."
        )
    records = records_of(training_videos(store, config), config.privacy.unit)
    return config.privacy.plan(num_records=len(records), steps=config.steps, copies=config.clips.copies)


def cache_features_of(config: TrainConfig) -> None:
    """Compute the features that a run will read, if any, so that runs at the same time do not all do it."""
    store = ClipStore.open(config.data)
    workers = config.compute.most_workers
    # Ray's actors look for their own.
    device = CPU if workers else device_here(config.compute.gpus)
    loop.open_inputs(config, store, loop.build(config, store).to(device), feature_workers=workers)


def run_digest(config: TrainConfig, store: ClipStore) -> str:
    """Digest of what decides a run's outcome: settings, initial weights by content, and data by their name.

    It is published, so nothing of the data's content is in it: the ledger commits to that.
    """
    settings = configuration.to_dict(config)
    for place in ("data", "out", "compute"):
        del settings[place]
    settings["privacy"] = _without_unused(config.privacy)
    settings["init"] = None if config.init is None else sha256_file(config.init)
    settings["weights"] = [sha256_file(path) for path in models.weight_files(config.model)]
    settings["precision"] = config.compute.precision
    text = json.dumps([settings, store.name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_unused(config: PrivacyPlan | PrivacyConfig) -> dict[str, Any]:
    """Plain values, but for settings of adaptive clipping that are not there: runs keep their names."""
    values = configuration.to_dict(config)
    if values["adaptive"] is None:
        del values["adaptive"]
    return values


def read_result(folder: Path) -> TrainResult:
    """The result of a finished run."""
    values = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return configuration.build(TrainResult, values, where=str(folder / "result.json"))


def _run_here(job: TrainingJob, on_step: Callable[[StepReport], None] | None) -> None:
    threads = torch.get_num_threads()
    watchers = [*watchers_of(job), *([on_step] if on_step is not None else [])]
    try:
        with _bar(job) as bar:

            def show(report: StepReport) -> None:
                _show(bar, report, job.plan)
                for watcher in watchers:
                    watcher(report)

            loop.run(job, Worker(device=device_here(job.config.compute.gpus)), show)
    finally:
        torch.set_num_threads(threads)


def run_on_ray(job: TrainingJob, body: Callable[[TrainingJob], None]) -> None:
    """Run `body` in every worker of the job, again and again until it ends well in all.

    Workers that crash are replaced, up to `WORKER_FAILURES` times, and so is Ray's controller. Machines
    that are taken away with a warning cost none of these. With (least, most) workers the run goes on with
    those that are left, and takes in new ones. `body` finds its place by `this_worker`, and goes on from
    the job's checkpoint.
    """
    import ray.train
    from ray.exceptions import ActorDiedError
    from ray.train.torch import TorchConfig, TorchTrainer

    scratch = private_folder(job.folder) / "ray"

    def fit() -> None:
        TorchTrainer(
            _ray_worker,
            train_loop_config={"job": job, "body": body},
            torch_config=TorchConfig(backend=backend_of(job.config.compute), timeout_s=EXCHANGE_TIMEOUT_S),
            scaling_config=ray.train.ScalingConfig(**scaling_of(job.config.compute)),
            # Ray's own folder holds nothing that resuming needs: checkpoints are the job's, so that
            # they mean the same with and without Ray. A fresh name keeps Ray from resuming its own.
            run_config=ray.train.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=str(scratch),
                failure_config=ray.train.FailureConfig(max_failures=WORKER_FAILURES),
            ),
        ).fit()

    with ray_cluster(), _bar(job) as bar, _following(job, bar):
        for failures in itertools.count():
            held = _placement_groups()
            try:
                fit()
                break
            except ray.train.TrainingFailedError as error:
                if (told := _user_error(error)) is not None:
                    raise UserError(str(told)) from None
                raise
            except ActorDiedError:  # Ray's controller, and its workers with it; Ray replaces only workers
                if failures == WORKER_FAILURES:
                    raise
                _let_go(_placement_groups() - held)
    shutil.rmtree(scratch, ignore_errors=True)


def _user_error(error: BaseException) -> UserError | None:
    """What a worker said that the user can mend; None if it was something else."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError):
            return cause
    return None


def backend_of(compute: ComputeConfig) -> str:
    """What adds sums up: NCCL between GPUs, which has no two workers on one; gloo there, and between CPUs."""
    return "nccl" if compute.gpus == 1 else "gloo"


def scaling_of(compute: ComputeConfig) -> dict[str, Any]:
    """How many workers there may be, and what each reserves; by name, for Ray's types are outdated."""
    gpus = {"GPU": compute.gpus} if compute.gpus else {}
    return {
        "num_workers": compute.workers,
        "use_gpu": bool(gpus),
        "resources_per_worker": {"CPU": 1, **gpus},
        "elastic_resize_monitor_interval_s": RESIZE_S,
    }


def _placement_groups() -> set[str]:
    """Ids of the placement groups that this job holds; an id ends with its job's."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table().items()
    return {name for name, group in groups if name.endswith(job) and group["state"] != "REMOVED"}


def _let_go(groups: set[str]) -> None:
    """Remove placement groups: those of a dead actor keep their CPUs for as long as its job lives."""
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))


def _ray_worker(settings: dict[str, Any]) -> None:
    """What Ray runs in every worker."""
    settings["body"](settings["job"])


def this_worker(job: TrainingJob) -> Worker:
    """The place of this process among the job's workers of Ray Train."""
    import ray.train.torch
    from torch import distributed

    context = ray.train.get_context()
    device = device_here(job.config.compute.gpus)
    if device.type == "cuda":
        device = ray.train.torch.get_device()  # workers see all GPUs that those of their machine hold
    return Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=device,
        add_up=distributed.all_reduce,
        leaves_at=_leaves_at,
    )


def _leaves_at() -> float | None:
    import ray.train

    notice = ray.train.get_preemption_info()
    if notice is None:
        return None
    return math.inf if notice.deadline_ms is None else notice.deadline_ms / 1000


def _train_in_worker(job: TrainingJob) -> None:
    watchers = watchers_of(job)

    def show(report: StepReport) -> None:
        for watcher in watchers:
            watcher(report)

    loop.run(job, this_worker(job), show)


def watchers_of(job: TrainingJob) -> list[Callable[[StepReport], None]]:
    """Who is to be told of every step, as `compute` says."""
    compute = job.config.compute
    watchers = [tensorboard(job)] if compute.tensorboard else []
    if compute.wandb:
        watchers.append(weights_and_biases(job))
    if compute.ray_metrics and compute.most_workers:
        watchers.append(_ray_metrics(job))
    return watchers


def _ray_metrics(job: TrainingJob) -> Callable[[StepReport], None]:
    """Shows the run's step, ε and public loss among the metrics of the cluster, as `raymaskdp_train_...`."""
    from ray.util.metrics import Gauge

    gauges: dict[str, Gauge] = {}

    def show(report: StepReport) -> None:
        for name, value in {"step": report.step, **shown_values(report)}.items():
            if name not in gauges:
                gauges[name] = Gauge(f"raymaskdp_train_{name}", tag_keys=("run",))
            gauges[name].set(value, tags={"run": job.folder.name})

    return show


def _finish(job: TrainingJob) -> TrainResult:
    store = ClipStore.open(job.config.data)
    model = loop.build(job.config, store)
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    updates = checkpoint.load_result(job.checkpoint_file, model=model, identity=job.identity)
    models.save_weights(job.folder / "model.safetensors", model)
    curve = loop.read_curve(job.curve_file)
    cost, plan = job.plan.cost(), job.plan
    result = TrainResult(
        run=str(job.folder),
        mechanism=plan.mechanism,
        adjacency=plan.adjacency,
        unit=plan.unit,
        epsilon=finite_or_none(cost.epsilon),
        epsilon_rdp=finite_or_none(cost.rdp),
        epsilon_pld=finite_or_none(cost.pld),
        delta=plan.delta,
        noise_multiplier=plan.noise_multiplier,
        clipping_norm=plan.clipping_norm,
        clips=plan.clips,
        steps=plan.steps,
        updates=updates,
        records=plan.num_records,
        scheme=job.config.scheme,
        trainable=trainable,
        public_loss=curve[-1].public_loss,
        warnings=(*plan.warnings, *warnings_of(job.config, store, plan)),
    )
    write_json(job.folder / "result.json", asdict(result))
    return result


@contextlib.contextmanager
def _bar(job: TrainingJob) -> Iterator[tqdm]:
    done = len(loop.read_curve(job.curve_file))
    name = f"train {job.plan.mechanism}"
    shown = job.config.compute.progress and not events.wanted()
    with tqdm(total=job.plan.steps, initial=done, desc=name, unit="step", disable=not shown) as bar:
        yield bar


def _show(bar: tqdm, report: StepReport, plan: PrivacyPlan) -> None:
    public_clips = plan.expected_public_batch * plan.clips if plan.is_masked else 0
    expected_clips = plan.expected_batch * plan.num_views + public_clips
    shown = {"clips/s": f"{expected_clips * (bar.format_dict['rate'] or 0):.0f}"}
    if report.epsilon is not None:
        shown["ε"] = f"{report.epsilon:.3g}"
    if report.public_loss is not None:
        shown["public loss"] = f"{report.public_loss:.3f}"
    bar.set_postfix(shown, refresh=False)
    bar.update(report.step - bar.n)


@contextlib.contextmanager
def _following(job: TrainingJob, bar: tqdm) -> Iterator[None]:
    """Moves the bar along with the curve that a worker elsewhere writes."""
    finished = threading.Event()

    def follow() -> None:
        while not finished.wait(0.5):
            if lines := loop.read_curve(job.curve_file):
                _show(bar, lines[-1], job.plan)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
