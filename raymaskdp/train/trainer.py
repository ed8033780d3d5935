"""`train`: one run from its settings to its result, in this process or on workers of Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from raymaskdp import config as configuration
from raymaskdp import events
from raymaskdp.files import private_folder, require_free, write_json, write_text
from raymaskdp.privacy import Key
from raymaskdp.train import loop
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.device import device_here
from raymaskdp.train.guarantee.check import count, require_same_data
from raymaskdp.train.guarantee.step_circumstances import leave_mark
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.ray_workers import run_on_ray, this_worker
from raymaskdp.train.run.result import TrainResult, finish, read_result
from raymaskdp.train.run.setup import RunSetup, set_up
from raymaskdp.train.run.watching import progress_bar, show_step, watchers_of


def train(
    config: TrainConfig, *, key: Key | None = None, on_step: Callable[[StepReport], None] | None = None
) -> TrainResult:
    """Train one model; resumes an interrupted run, and returns at once if it is finished.

    The run's folder is named after its mechanism and a digest of settings and data. `key` fixes the run's
    secret, for tests; otherwise the operating system draws it, and it is stored in its folder `private`,
    readable by its owner only. `on_step` is called after every step of a run in this process; `UserError`
    for incompatible settings.
    """
    setup = set_up(config)
    job = setup.job
    require_same_data(setup)
    if (job.folder / "result.json").is_file():
        return replace(read_result(job.folder), run=str(job.folder), finished_before=True)
    require_free(job.folder, ("result.json", "model.safetensors"))
    private_folder(job.folder)
    write_text(job.folder / "config.yaml", configuration.to_yaml(job.config))
    write_json(job.folder / "plan.json", asdict(job.plan))
    if key is None and job.plan.mechanism == "sgd":
        # Nothing to protect, so let the seed decide everything.
        key = Key(secret=hashlib.sha256(f"seed {config.seed}".encode()).digest())
    if not job.ledger_file.exists():
        if not job.unused_mark.exists():
            # There is no ledger of releases with this key, so it is not used again.
            job.key_file.unlink(missing_ok=True)
        leave_mark(job.unused_mark)
    if key is not None and not job.key_file.exists():
        job.key_file.touch(mode=0o600)
        job.key_file.write_bytes(key.secret)
    # Drawn here: a worker that does not find it has no access to this folder.
    count(setup, Key.load_or_draw(job.key_file))
    events.write("train begins", run=job.folder.name, steps=job.plan.steps)
    if config.compute.workers == 0:
        _train_here(setup, on_step)
    else:
        setup.cache_features()
        run_on_ray(job, _train_in_worker)
    result = finish(setup)
    spent = {} if result.epsilon is None else {"epsilon": result.epsilon, "delta": result.delta}
    events.write("train ends", run=job.folder.name, steps=result.steps, **spent)
    return result


def _train_here(setup: RunSetup, on_step: Callable[[StepReport], None] | None) -> None:
    job = setup.job
    device = device_here(job.config.compute.gpus)
    setup.open_inputs(device)  # features are computed with all threads; the loop then limits them
    threads = torch.get_num_threads()
    watchers = [*watchers_of(job), *([on_step] if on_step is not None else [])]
    try:
        with progress_bar(job) as bar:

            def show(report: StepReport) -> None:
                show_step(bar, report, job.plan)
                for watcher in watchers:
                    watcher(report)

            loop.run(job, Worker(device=device), show, setup=setup)
    finally:
        torch.set_num_threads(threads)


def _train_in_worker(job: TrainingJob) -> None:
    """The function of every worker on Ray."""
    watchers = watchers_of(job)

    def show(report: StepReport) -> None:
        for watcher in watchers:
            watcher(report)

    loop.run(job, this_worker(job), show)
