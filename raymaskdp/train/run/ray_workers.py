"""The workers of a run on Ray: how many, what becomes of lost ones. The one file that knows Ray Train."""

from __future__ import annotations

import itertools
import math
import shutil
import uuid
from collections.abc import Callable
from typing import Any

from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import UserError
from raymaskdp.files import private_folder
from raymaskdp.train.config import ComputeConfig
from raymaskdp.train.device import device_here
from raymaskdp.train.guarantee.job import TrainingJob, Worker
from raymaskdp.train.run.watching import following, progress_bar

WORKER_FAILURES = 3
"""Crashes of workers that a run survives, each resuming from the last checkpoint."""


EXCHANGE_TIMEOUT_S = 120
"""How long workers wait for each other's sums before the run is restarted from its checkpoint."""


RESIZE_S = 5
"""How often a run with a variable number of workers looks whether there is room for more."""


def run_on_ray(job: TrainingJob, body: Callable[[TrainingJob], None]) -> None:
    """Run `body` in every worker of the job, again and again until it ends well in all.

    Workers that crash are replaced, up to `WORKER_FAILURES` times, and so is Ray's controller. Machines
    that are taken away with a warning cost none of these. With (least, most) workers the run continues with
    those that are left, and takes in new ones. `body` finds its place by `this_worker`, and resumes from
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

    with ray_cluster(), progress_bar(job) as bar, following(job, bar):
        for failures in itertools.count():
            held = _placement_groups()
            try:
                fit()
                break
            except ray.train.TrainingFailedError as error:
                if (user_error := _user_error(error)) is not None:
                    raise UserError(str(user_error)) from None
                raise
            except ActorDiedError:  # Ray's controller, and its workers with it; Ray replaces only workers
                if failures == WORKER_FAILURES:
                    raise
                _let_go(_placement_groups() - held)
    shutil.rmtree(scratch, ignore_errors=True)


def _user_error(error: BaseException) -> UserError | None:
    """What a worker said that the user can fix; None if it was something else."""
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
        all_reduce=distributed.all_reduce,
        leaves_at=_leaves_at,
    )


def _leaves_at() -> float | None:
    import ray.train

    notice = ray.train.get_preemption_info()
    if notice is None:
        return None
    return math.inf if notice.deadline_ms is None else notice.deadline_ms / 1000
