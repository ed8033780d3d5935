"""Progress of a run: the progress bar, and other outputs that `compute` selects."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from tqdm import tqdm

from raymaskdp import events
from raymaskdp.distributed import metrics
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.train.loggers import shown_values, tensorboard, weights_and_biases
from raymaskdp.train.run.curve import StepReport, read_curve
from raymaskdp.train.run.job import TrainingJob


def watchers_of(job: TrainingJob) -> list[Callable[[StepReport], None]]:
    """The functions to call with every step, by `compute`."""
    compute = job.config.compute
    watchers = [tensorboard(job)] if compute.tensorboard else []
    if compute.wandb:
        watchers.append(weights_and_biases(job))
    if compute.ray_metrics and compute.most_workers:
        watchers.append(_ray_metrics(job))
    return watchers


def _ray_metrics(job: TrainingJob) -> Callable[[StepReport], None]:
    """Shows the run's step, ε and public loss among the metrics of the cluster, as `raymaskdp_train_...`."""
    gauges: dict[str, Callable[[float, str], None]] = {}

    def show(report: StepReport) -> None:
        for name, value in {"step": report.step, **shown_values(report)}.items():
            if name not in gauges:
                gauges[name] = metrics.tagged_gauge(f"raymaskdp_train_{name}", tag="run")
            gauges[name](value, job.folder.name)

    return show


@contextlib.contextmanager
def progress_bar(job: TrainingJob) -> Iterator[tqdm]:
    done = len(read_curve(job.curve_file))
    name = f"train {job.plan.mechanism}"
    shown = job.config.compute.progress and not events.wanted()
    with tqdm(total=job.plan.steps, initial=done, desc=name, unit="step", disable=not shown) as bar:
        yield bar


def show_step(bar: tqdm, report: StepReport, plan: PrivacyPlan) -> None:
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
def following(job: TrainingJob, bar: tqdm) -> Iterator[None]:
    """Updates the bar from the curve that a remote worker writes."""
    finished = threading.Event()

    def follow() -> None:
        while not finished.wait(0.5):
            if lines := read_curve(job.curve_file):
                show_step(bar, lines[-1], job.plan)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
