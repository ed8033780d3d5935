"""Watching a run from outside: its public training curve, for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raymaskdp.train.loop import Job, StepReport

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


def shown_values(report: StepReport) -> dict[str, float]:
    """What may be shown of a step, by name, without what there is not: ε, and the public loss."""
    values = {"epsilon": report.epsilon, "public_loss": report.public_loss}
    return {name: value for name, value in values.items() if value is not None}


def tensorboard(job: Job) -> Callable[[StepReport], None]:
    """Writes every report into event files in the run's folder, the first of them replacing later steps'.

    Events bear the number of their step for a time. Real times would tell how long each step took, and
    with it the size of its private lot.
    """
    writer: SummaryWriter | None = None

    def write(report: StepReport) -> None:
        nonlocal writer
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(job.folder / FOLDER), purge_step=report.step)
        for name, value in shown_values(report).items():
            writer.add_scalar(name, value, report.step, walltime=report.step)
        if report.step % job.config.compute.checkpoint_every == 0 or report.step == job.plan.steps:
            writer.flush()

    return write
