"""Trials on Ray Tune: all of a grid, those that Optuna suggests, plain trainings. No other file uses it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp import events
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import UserError
from raymaskdp.files import private_folder
from raymaskdp.sweep.config import SweepConfig, Trial, drawn_trial
from raymaskdp.sweep.search import Range
from raymaskdp.sweep.trial import plain_point, run_trial
from raymaskdp.train import TrainConfig, train
from raymaskdp.train.run.setup import set_up


def run_grid(points: Sequence[dict[str, Any]], config: SweepConfig, out: Path) -> dict[int, dict[str, Any]]:
    """The report of each trial, by number; `{"error": reason}` for failed ones."""
    from ray import tune

    steps = max(point["train"]["steps"] for point in points)
    results = _fit(
        _tune_trial,
        private_folder(out) / "tune",
        config,
        total=len(points),
        param_space={"point": tune.grid_search(list(points))},
        tune_config=tune.TuneConfig(reuse_actors=True, scheduler=_scheduler(config, steps)),
    )
    return {settings["point"]["number"]: outcome for settings, outcome in results}


def run_suggested(config: SweepConfig, out: Path) -> list[tuple[Trial, dict[str, Any]]]:
    """The trials that Optuna proposes, with their reports."""
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the progress bar suffices
    assert config.search is not None
    set_up(config.train).cache_features()
    space = {name: _tune_source(source) for name, source in config.search.space.items()}
    space["seed"] = tune.choice(list(config.seeds))
    results = _fit(
        _tune_suggestion,
        private_folder(out) / "tune-search",
        config,
        total=config.search.trials,
        param_space={"drawn": space, "sweep": configuration.to_dict(config), "out": str(out)},
        tune_config=tune.TuneConfig(
            num_samples=config.search.trials,
            reuse_actors=True,
            search_alg=OptunaSearch(metric="chosen_by", mode="max", seed=config.search.seed),
            scheduler=_scheduler(config, config.train.steps),
        ),
    )
    return [(drawn_trial(config, settings["drawn"]), outcome) for settings, outcome in results]


def _tune_source(source: Range | tuple[Any, ...]) -> Any:
    from ray import tune

    if not isinstance(source, Range):
        return tune.choice(list(source))
    low, high = source.ends
    if source.whole:  # Tune excludes the upper end
        return (tune.lograndint if source.log else tune.randint)(int(low), int(high) + 1)
    return (tune.loguniform if source.log else tune.uniform)(low, high)


def _scheduler(config: SweepConfig, steps: int) -> Any:
    """The scheduler for early stopping, if it is enabled."""
    from ray.tune.schedulers import ASHAScheduler

    if config.stopping is None:
        return None
    return ASHAScheduler(
        time_attr="step",
        metric="chosen_by",
        mode="max",
        max_t=steps + 1,  # the last step ends a trial by itself
        grace_period=config.stopping.grace,
        reduction_factor=config.stopping.keep,
    )


def _fit(
    function: Callable[[dict[str, Any]], dict[str, Any]],
    folder: Path,
    config: SweepConfig,
    *,
    total: int,
    **tuner_settings: Any,
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Settings of the trials of a Tuner, and what they report; resumes where an earlier call was stopped.

    Reports are of the last step; `{"error": reason}` for trials that failed, `"stopped"` in those ended
    early.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the table has the same data
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    from ray import tune

    class TrialProgress(tune.Callback):
        """Advances the bar when a trial ends. It has no state, because Tune pickles it with the sweep."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _advance_bars()

        on_trial_error = on_trial_complete

    trainable = tune.with_resources(function, {"cpu": config.cpus, "gpu": config.gpus})
    with _bar(total):
        if tune.Tuner.can_restore(str(folder)):
            tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
        else:
            tuner = tune.Tuner(
                trainable,
                run_config=tune.RunConfig(
                    name=folder.name, storage_path=str(folder.parent), verbose=0, callbacks=[TrialProgress()]
                ),
                **tuner_settings,
            )
        found = tuner.fit()
    outcomes: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for outcome in (found[index] for index in range(len(found))):
        metrics = dict(outcome.metrics or {})
        if outcome.error is not None:
            outcomes.append((outcome.config or {}, {"error": _reason(outcome.error)}))
        elif "chosen_by" in metrics:
            outcomes.append((outcome.config or {}, {**metrics, "stopped": "run" not in metrics}))
    if len(outcomes) < total:
        raise UserError(f"The sweep {folder.parents[1]} was interrupted; run it again to resume.")
    return outcomes


_bars: list[tqdm] = []


@contextlib.contextmanager
def _bar(total: int) -> Iterator[None]:
    """A progress bar for `_advance_bars`."""
    with tqdm(total=total, desc="sweep", unit="trial", disable=events.wanted()) as bar:
        _bars.append(bar)
        try:
            yield
        finally:
            _bars.remove(bar)


def _advance_bars() -> None:
    for bar in _bars:
        bar.update()


def train_all(configs: Sequence[TrainConfig], folder: Path) -> list[Path]:
    """Train on Ray Tune, as many in parallel as there is room for; returns the folders of the runs, in order.

    Args:
      configs: each trains in the process of its trial, so `compute.workers` is 0.
      folder: for Tune's files; every node must be able to access it.

    Raises `UserError` with the reason of the first training that fails.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    from ray import tune

    points = [{"number": n, "train": configuration.to_dict(config)} for n, config in enumerate(configs)]
    gpus = max(config.compute.gpus for config in configs)
    with ray_cluster():
        tuner = tune.Tuner(
            tune.with_resources(_tune_training, {"cpu": 1, "gpu": gpus}),
            param_space={"point": tune.grid_search(points)},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(name="tune", storage_path=str(folder.absolute()), verbose=0),
        )
        found = tuner.fit()
    runs = {}
    for outcome in (found[index] for index in range(len(found))):
        if outcome.error is not None:
            raise UserError(f"A training failed ({_reason(outcome.error)}); nothing was measured.")
        reported = outcome.metrics or {}
        runs[reported["number"]] = Path(reported["run"])
    return [runs[number] for number in range(len(points))]


def _tune_training(settings: dict[str, Any]) -> dict[str, Any]:
    point = settings["point"]
    config = configuration.build(TrainConfig, point["train"], where="training")
    return {"number": point["number"], "run": train(config).run}


def _tune_trial(settings: dict[str, Any]) -> dict[str, Any]:
    return _run_and_report(settings["point"])


def _tune_suggestion(settings: dict[str, Any]) -> dict[str, Any]:
    """A trial whose settings were just proposed."""
    from ray import tune

    config = configuration.build(SweepConfig, settings["sweep"], where="sweep")
    point = plain_point(drawn_trial(config, settings["drawn"]).config, config, Path(settings["out"]))
    # Duplicate proposals are trained twice, possibly in parallel.
    point["train"]["out"] += f"/{tune.get_context().get_trial_id()}"
    return _run_and_report(point)


def _run_and_report(point: dict[str, Any]) -> dict[str, Any]:
    from ray import tune

    return run_trial(point, tune.report if point["every"] is not None else None)


def _reason(error: BaseException) -> str:
    """The last line of a trial's traceback."""
    return str(error).strip().splitlines()[-1]
