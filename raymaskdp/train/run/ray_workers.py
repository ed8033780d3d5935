"""The workers of a run on Ray: their number, and the handling of lost ones. The only use of Ray Train."""

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
from raymaskdp.train.run.job import TrainingJob, Worker
from raymaskdp.train.run.watching import following, progress_bar

WORKER_FAILURES = 3
"""Crashes of workers that a run tolerates, each resuming from the last checkpoint."""


EXCHANGE_TIMEOUT_S = 120
"""How long workers wait for each other's sums before the run is restarted from its checkpoint."""


RESIZE_S = 5
"""Seconds between checks of an elastic run for more workers."""


def run_on_ray(job: TrainingJob, body: Callable[[TrainingJob], None]) -> None:
    """Run `body` in every worker of the job, repeatedly until it succeeds in all.

    Workers that crash are replaced, up to `WORKER_FAILURES` times, and so is Ray's controller. Machines
    that are taken away with a warning are not crashes. With (least, most) workers the run continues with
    those that remain, and adds new ones. `body` gets its rank from `this_worker`, and resumes from
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
            # Ray's own folder has nothing that resuming needs: checkpoints are the job's, so that
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
    """A worker's error that the user can fix; None if it was another error."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError):
            return cause
    return None


def backend_of(compute: ComputeConfig) -> str:
    """The backend of sums: NCCL for one GPU per worker, else gloo (shared GPUs, and CPUs)."""
    return "nccl" if compute.gpus == 1 else "gloo"


def scaling_of(compute: ComputeConfig) -> dict[str, Any]:
    """The number of workers, and the resources of each; by name, because Ray's types are outdated."""
    gpus = {"GPU": compute.gpus} if compute.gpus else {}
    return {
        "num_workers": compute.workers,
        "use_gpu": bool(gpus),
        "resources_per_worker": {"CPU": 1, **gpus},
        "elastic_resize_monitor_interval_s": RESIZE_S,
    }


def _placement_groups() -> set[str]:
    """Ids of the placement groups of this job; an id ends with its job's."""
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
    """The function that Ray runs in every worker."""
    settings["body"](settings["job"])


def this_worker(job: TrainingJob) -> Worker:
    """The rank and connections of this process among the job's workers of Ray Train."""
    import ray.train.torch
    from torch import distributed

    context = ray.train.get_context()
    device = device_here(job.config.compute.gpus)
    if device.type == "cuda":
        device = ray.train.torch.get_device()  # workers can access all GPUs of the workers on their machine
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
