"""The public training curve of a run, for TensorBoard and for Weights & Biases."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from raymaskdp.errors import UserError
from raymaskdp.train.run.curve import StepReport, read_curve
from raymaskdp.train.run.job import TrainingJob

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


def shown_values(report: StepReport) -> dict[str, float]:
    """The public values of a step that exist, by name: ε, the public loss, an adaptive C."""
    values = {
        "epsilon": report.epsilon,
        "public_loss": report.public_loss,
        "clipping_norm": report.clipping_norm,
    }
    return {name: value for name, value in values.items() if value is not None}


def tensorboard(job: TrainingJob) -> Callable[[StepReport], None]:
    """Writes every report into event files in the run's folder, the first of them replacing later steps'.

    Events have the number of their step as their time. Real times would reveal how long each step took, and
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


def weights_and_biases(job: TrainingJob) -> Callable[[StepReport], None]:
    """Exports the whole curve at the last step.

    Not step by step: logged values have a time, which would reveal how long each step took, and with it the
    size of its private lot. No data of the machine, the code or its output are sent.
    """
    if importlib.util.find_spec("wandb") is None:
        raise UserError("compute.wandb needs Weights & Biases; pip install 'raymaskdp[wandb]'.")

    def write(report: StepReport) -> None:
        if report.step < job.plan.steps:
            return
        import wandb

        quiet = wandb.Settings(
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "raymaskdp"),
            name=job.folder.name,
            dir=str(job.folder),
            config={"mechanism": job.plan.mechanism, "steps": job.plan.steps},
            settings=quiet,
        )
        for line in read_curve(job.curve_file):
            run.log(shown_values(line), step=line.step)
        run.finish()

    return write
