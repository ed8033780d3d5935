"""One trial of a sweep: plain values that a worker anywhere can train and measure by."""

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
from raymaskdp.train.evaluate import MeasuredClips, score_checkpoint
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.setup import set_up

MEASURED = ("metric", "score", "chosen_by", "mean_class")
"""What a trial reports of its measurement, by the column of the table."""
TRAINED = (
    "run", "epsilon", "epsilon_rdp", "epsilon_pld", "delta", "noise_multiplier", "adjacency", "unit", "steps",
    "records", "trainable",
)  # fmt: skip
"""What it reports of its training."""


def make_point(number: int, trial: Trial, config: SweepConfig, out: Path) -> dict[str, Any]:
    """The plain values that Ray hands to a trial; raises `UserError` if it cannot run."""
    point = plain_point(trial.config, config, out)
    settings = point["train"]
    if config.pays:
        # Equal draws are trainings of their own: they count as such. A folder's name must not tell how many
        # there were before it.
        settings["out"] += f"/{_names(out).commit('trial', str(number))[:12]}"
    setup = set_up(trial.config)
    if trial.config.privacy.epsilon is not None:
        # Calibrated here, where equal prices are computed once; it takes longer than some trainings.
        settings["privacy"]["noise_multiplier"] = setup.job.plan.noise_multiplier
        settings["privacy"]["epsilon"] = None
    setup.cache_features()  # once, here: trials that need them run at the same time
    return {"number": number, **point}


def plain_point(train_config: TrainConfig, config: SweepConfig, out: Path) -> dict[str, Any]:
    """A trial's configuration for a worker anywhere, and how it is measured."""
    settings = configuration.to_dict(train_config)
    settings["out"] = str(out / "runs")
    settings["data"] = str(absolute(train_config.data))
    here = {"workers": 0, "threads": 1, "gpus": config.gpus, "progress": False}
    settings["compute"] = {**settings["compute"], **here}
    if config.stopping is not None:
        settings["compute"]["checkpoint_every"] = config.stopping.every  # checkpoints are what is measured
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
    """What a sweep's folders are named from, so that their names tell nothing, and stay."""
    return Key.load_or_draw(private_folder(out) / "names")


def run_trial(
    point: dict[str, Any], report: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """What Ray runs for a trial: train in process, then measure.

    `report` is called on the way, where trials may be stopped early, and may not return.
    """
    config = configuration.build(TrainConfig, point["train"], where="trial")
    looks = {name: MeasuredClips(split=point[name], views=point["views"], crops=point["crops"])
             for name in ("split", "chosen_on")}  # fmt: skip
    measuring = set_up(config)  # beside the one that is trained

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
