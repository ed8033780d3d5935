"""One trial of a sweep: plain values with which any worker can train and measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from raymaskdp import config as configuration
from raymaskdp.files import private_folder
from raymaskdp.privacy import Key
from raymaskdp.sweep.config import SweepConfig, Trial
from raymaskdp.train import TrainConfig, evaluate, train
from raymaskdp.train.data.store import absolute
from raymaskdp.train.evaluation import MeasuredClips, score_checkpoint
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.setup import set_up

MEASURED = ("metric", "score", "chosen_by", "mean_class")
"""The measurement in a trial's report, by the column of the table."""
TRAINED = (
    "run", "epsilon", "epsilon_rdp", "epsilon_pld", "delta", "noise_multiplier", "adjacency", "unit", "steps",
    "records", "trainable",
)  # fmt: skip
"""The training in a trial's report."""


def make_point(number: int, trial: Trial, config: SweepConfig, out: Path) -> dict[str, Any]:
    """The plain values that Ray passes to a trial; raises `UserError` if it cannot run."""
    point = plain_point(trial.config, config, out)
    settings = point["train"]
    if config.pays:
        # Equal draws are separate trainings, and count as such. A folder's name must not reveal the number of
        # earlier ones.
        settings["out"] += f"/{_names(out).commit('trial', str(number))[:12]}"
    setup = set_up(trial.config)
    if trial.config.privacy.epsilon is not None:
        # Calibrated here, where equal prices are computed once, because it takes longer than some trainings.
        settings["privacy"]["noise_multiplier"] = setup.job.plan.noise_multiplier
        settings["privacy"]["epsilon"] = None
    setup.cache_features()  # once, here, because trials that need them run in parallel
    return {"number": number, **point}


def plain_point(train_config: TrainConfig, config: SweepConfig, out: Path) -> dict[str, Any]:
    """A trial's configuration for any worker, and how it is measured."""
    settings = configuration.to_dict(train_config)
    settings["out"] = str(out / "runs")
    settings["data"] = str(absolute(train_config.data))
    here = {"workers": 0, "threads": 1, "gpus": config.gpus, "progress": False}
    settings["compute"] = {**settings["compute"], **here}
    if config.stopping is not None:
        settings["compute"]["checkpoint_every"] = config.stopping.every  # checkpoints are measured
    if train_config.init is not None:
        settings["init"] = str(Path(train_config.init).absolute())
    return {
        "train": settings,
        "split": config.split,
        "chosen_on": config.chosen_on,
        "views": config.views,
        "crops": config.crops,
        "every": config.stopping.every if config.stopping is not None else None,
    }


def _names(out: Path) -> Key:
    """A key for the names of a sweep's folders, so that they reveal nothing, and are reproducible."""
    return Key.load_or_draw(private_folder(out) / "names")


def run_trial(
    point: dict[str, Any], report: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """The function that Ray runs for a trial: train in process, then measure.

    `report` is called during training if trials may be stopped early, and may not return.
    """
    config = configuration.build(TrainConfig, point["train"], where="trial")
    looks = {name: MeasuredClips(split=point[name], views=point["views"], crops=point["crops"])
             for name in ("split", "chosen_on")}  # fmt: skip
    measuring = set_up(config)  # besides the trained one

    def on_step(done: StepReport) -> None:
        if report is not None and done.step < config.steps and done.step % point["every"] == 0:
            report({"step": done.step, "chosen_by": score_checkpoint(measuring, looks["chosen_on"])})

    trained = train(config, on_step=on_step)
    measured = evaluate(trained.run, split=point["split"], views=point["views"], crops=point["crops"])
    same = point["chosen_on"] == point["split"]
    return {
        "step": trained.steps,
        "metric": measured.metric,
        "score": measured.score,
        "chosen_by": measured.score if same else score_checkpoint(measuring, looks["chosen_on"]),
        "mean_class": measured.mean_class,
        **{name: getattr(trained, name) for name in TRAINED},
    }
