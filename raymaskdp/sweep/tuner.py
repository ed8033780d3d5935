"""`sweep`: many trainings on Ray Tune, their table, frontier and bill. The one file that knows Ray Tune."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp import events
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, make_folder, private_folder, write_json, write_text
from raymaskdp.privacy import Key
from raymaskdp.privacy.prices.selection import draw_runs
from raymaskdp.sweep import frontier, parallel_coordinates, search
from raymaskdp.sweep.charges import bill_of, require_apart
from raymaskdp.sweep.config import SweepConfig, Trial, drawn_trial, published_score, trials, values_of
from raymaskdp.sweep.search import Range
from raymaskdp.sweep.selection_cost import NOTHING, Bill
from raymaskdp.train import ClipStore, TrainConfig, evaluate, train
from raymaskdp.train.data.store import absolute
from raymaskdp.train.evaluate import Looks, score_checkpoint
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.setup import set_up

PLOTTED = {"frontier", "not private"}
"""The grids that the plot shows; a sweep that has neither shows the best of its search."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep.

    Attributes:
      out: its folder.
      trials, failed, stopped: how many, how many of them failed, and how many were stopped early.
      results: the table, Parquet; the same as CSV lies beside it.
      frontier: the plot, PNG; the same as SVG lies beside it.
      parallel: all settings and scores as parallel coordinates, likewise; None where no two trials differ.
      best: the best private configuration at the base configuration's ε, as YAML for `raymaskdp train`;
        None if no private trial finished there.
      best_run: folder of its best run.
      best_score: its mean accuracy (or AUROC) over the seeds, on what it was chosen on.
      chosen_on: the part of the data that was.
      bill: what choosing it costs.
      finished_before: whether the sweep was there already, and nothing was done.
    """

    out: str
    trials: int
    failed: int
    stopped: int
    results: str
    frontier: str
    parallel: str | None
    best: str | None
    best_run: str | None
    best_score: float | None
    chosen_on: str
    bill: Bill
    finished_before: bool = False

    def __str__(self) -> str:
        done = "was finished before; nothing to do" if self.finished_before else "is finished"
        early = f", {self.stopped} stopped early" if self.stopped else ""
        lines = [f"The sweep {self.out} {done}: {self.trials} trials, {self.failed} failed{early}."]
        lines += [f"  results   {self.results}", f"  frontier  {self.frontier}"]
        if self.parallel is not None:
            lines.append(f"  settings  {self.parallel}")
        if self.best is not None:
            lines.append(f"  best      {self.best} ({self.best_score:.1%} on {self.chosen_on} videos)")
            lines.append(f"            {self.best_run}")
        return "\n".join([*lines, str(self.bill)])


def sweep(config: SweepConfig) -> SweepResult:
    """Run the trials of a sweep, or what is left of them, and write up all of them.

    A trial that fails costs itself and stands in the table with its reason. Raises `UserError` for
    settings that do not go together, and if `config.out` holds another sweep.
    """
    # Of the annotated types, which `SweepConfig(...)` in Python does not see to; equal settings, equal sweep.
    config = configuration.build(SweepConfig, configuration.to_dict(config), where="the configuration")
    out = config.out.absolute()
    store = ClipStore.open(config.train.data)
    require_apart(config)
    digest = _digest(config, store)
    about = out / "sweep.json"
    if about.is_file():
        earlier = json.loads(about.read_text(encoding="utf-8"))
        if earlier["digest"] != digest:
            raise UserError(f"{out} holds another sweep; give another folder, or remove it.")
        if earlier["result"] is not None:
            result = configuration.build(SweepResult, earlier["result"], where=str(about))
            return replace(result, out=str(out), finished_before=True)
    make_folder(out)
    write_text(out / "sweep.yaml", configuration.to_yaml(config))
    source = config.published.source if config.published else None
    write_json(about, {"digest": digest, "published": source, "result": None})
    events.write("sweep begins", sweep=digest[:12])
    planned = list(_drawn_once(config, out) if config.pays else trials(config))
    points, outcomes = [], {}
    for number, trial in enumerate(tqdm(planned, "plan", unit="trial", leave=False, disable=events.wanted())):
        try:
            points.append(_point(number, trial, config, out))
        except UserError as error:
            outcomes[number] = {"error": str(error)}
    with ray_cluster():
        if points:
            outcomes.update(_run(points, config, out))
        for trial, outcome in _run_learning(config, out) if config.learns else ():
            outcomes[len(planned)] = outcome
            planned.append(trial)
    results = _table(config, planned, outcomes)
    result = _write_up(config, out, planned, results, classes=len(store.classes))
    write_json(about, {"digest": digest, "published": source, "result": configuration.to_dict(result)})
    events.write("sweep ends", sweep=digest[:12])  # how many trials there were may be chance, and private
    return result


def _drawn_once(config: SweepConfig, out: Path) -> list[Trial]:
    """The trials of a sweep that pays for its choice: a random number of independent draws.

    Written down before the first one runs: who could draw again until the number pleased would have drawn
    nothing.
    """
    assert config.search is not None
    path = private_folder(out) / "draws.json"
    if not path.is_file():
        generator = np.random.default_rng()  # of the operating system: neither data nor settings decide
        count = draw_runs(config.search.trials, generator)
        write_json(path, search.draw(config.search, config.seeds, generator, count))
    return [drawn_trial(config, one) for one in json.loads(path.read_text(encoding="utf-8"))]


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
    looks = {name: Looks(split=point[name], views=point["views"], crops=point["crops"])
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


MEASURED = ("metric", "score", "chosen_by", "mean_class")
TRAINED = (
    "run", "epsilon", "epsilon_rdp", "epsilon_pld", "delta", "noise_multiplier", "adjacency", "unit", "steps",
    "records", "trainable",
)  # fmt: skip


def _point(number: int, trial: Trial, config: SweepConfig, out: Path) -> dict[str, Any]:
    """The plain values that Ray hands to a trial; raises `UserError` if it cannot run."""
    point = _plain_point(trial.config, config, out)
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


def _plain_point(train_config: TrainConfig, config: SweepConfig, out: Path) -> dict[str, Any]:
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


def _run(points: Sequence[dict[str, Any]], config: SweepConfig, out: Path) -> dict[int, dict[str, Any]]:
    """What each trial reports, by number; `{"error": reason}` for those that failed."""
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


def _run_learning(config: SweepConfig, out: Path) -> list[tuple[Trial, dict[str, Any]]]:
    """The trials that Optuna proposes, with what they report."""
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the bar says it all
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
    if source.whole:  # the upper end is left out there
        return (tune.lograndint if source.log else tune.randint)(int(low), int(high) + 1)
    return (tune.loguniform if source.log else tune.uniform)(low, high)


def _scheduler(config: SweepConfig, steps: int) -> Any:
    """What ends trials early, if anything does."""
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
    """Settings of the trials of a Tuner, and what they report; goes on where an earlier call was stopped.

    Reports are of the last step; `{"error": reason}` for trials that failed, `"stopped"` in those ended
    early.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the table holds all of it
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    from ray import tune

    class Progress(tune.Callback):
        """Moves the bar when a trial ends. Holds nothing: Tune pickles it, to restore it with the sweep."""

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
                    name=folder.name, storage_path=str(folder.parent), verbose=0, callbacks=[Progress()]
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
        raise UserError(f"The sweep {folder.parents[1]} was interrupted; run it again to go on.")
    return outcomes


_bars: list[tqdm] = []


@contextlib.contextmanager
def _bar(total: int) -> Iterator[None]:
    """A progress bar that `_advance_bars` moves."""
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
    """Train on Ray Tune, as many at a time as there is room for; the folders of the runs, in order.

    Args:
      configs: each trains in the process of its trial, so `compute.workers` is 0.
      folder: for what Tune keeps; every node sees it.

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
    """A trial whose settings were only just proposed."""
    from ray import tune

    config = configuration.build(SweepConfig, settings["sweep"], where="sweep")
    point = _plain_point(drawn_trial(config, settings["drawn"]).config, config, Path(settings["out"]))
    # What is proposed twice is trained twice, maybe at the same time.
    point["train"]["out"] += f"/{tune.get_context().get_trial_id()}"
    return _run_and_report(point)


def _run_and_report(point: dict[str, Any]) -> dict[str, Any]:
    from ray import tune

    return run_trial(point, tune.report if point["every"] is not None else None)


def _reason(error: BaseException) -> str:
    """The last line of a trial's traceback."""
    return str(error).strip().splitlines()[-1]


def _table(sweep: SweepConfig, planned: Sequence[Trial], outcomes: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """One row a trial: what it was, and what came of it."""
    rows = []
    for number, trial in enumerate(planned):
        outcome, config = outcomes[number], trial.config
        rows.append(
            {
                "trial": number,
                "grids": ",".join(trial.grids),
                "status": _status(outcome),
                "data": Path(config.data).name,
                "model": config.model.name,
                "mechanism": config.privacy.mechanism,
                "target_epsilon": config.privacy.epsilon,
                "clipping_norm": config.privacy.clipping_norm,
                "scheme": config.scheme,
                "clips": 1 if config.privacy.mechanism == "dpsgd" else config.privacy.clips,
                "learning_rate": config.optimizer.learning_rate,
                "seed": config.seed,
                **{name: outcome.get(name) for name in (*MEASURED, *TRAINED)},
                "reached": outcome.get("step"),
                "published": published_score(sweep, config),
                "error": outcome.get("error"),
                "settings": json.dumps(trial.settings, sort_keys=True),
            }
        )
    return pd.DataFrame(rows).convert_dtypes()


def _status(outcome: dict[str, Any]) -> str:
    if "error" in outcome:
        return "failed"
    return "stopped" if outcome.get("stopped") else "done"


def _write_up(
    config: SweepConfig, out: Path, planned: Sequence[Trial], results: pd.DataFrame, *, classes: int
) -> SweepResult:
    table = out / "results.parquet"
    with atomic_path(table) as temporary:
        results.to_parquet(temporary, index=False)
    with atomic_path(out / "results.csv") as temporary:
        results.to_csv(temporary, index=False)
    shown = plotted(results)
    frontier.draw(shown, out / "frontier", classes=classes, caption=_caption(config, shown))
    best = _best(config, planned, results)
    bill = replace(NOTHING, not_private=int((results["mechanism"] == "sgd").sum()), tuning=config.tuning)
    if best is not None:
        write_text(out / "best.yaml", configuration.to_yaml(best.config))
        bill = bill_of(config, planned, results, best.config)
    return SweepResult(
        out=str(out),
        trials=len(results),
        failed=int((results["status"] == "failed").sum()),
        stopped=int((results["status"] == "stopped").sum()),
        results=str(table),
        frontier=str(out / "frontier.png"),
        parallel=_draw_parallel(config, out, planned, results),
        best=None if best is None else str(out / "best.yaml"),
        best_run=None if best is None else best.run,
        best_score=None if best is None else best.score,
        chosen_on=config.chosen_on,
        bill=bill,
    )


def plotted(results: pd.DataFrame) -> pd.DataFrame:
    """The trials of the results that the frontier shows.

    Of a search these are the ones that would be chosen for each mechanism and ε.
    """
    in_grids = results["grids"].str.split(",").map(lambda names: not PLOTTED.isdisjoint(names))
    if in_grids.any():
        return results[in_grids]
    done = results[results["status"] == "done"]
    groups = done.groupby(["mechanism", "target_epsilon"], dropna=False)["chosen_by"]
    return done.loc[groups.idxmax()]


def _caption(config: SweepConfig, shown: pd.DataFrame) -> str:
    """What the frontier shows, and what it does not promise."""
    if set(shown["grids"]) == {search.NAME}:
        points = f"Of each mechanism the trial that is best on {config.chosen_on} videos: single runs."
    else:
        points = f"Means over {len(config.seeds)} seeds with 95 % intervals; dots are single runs."
    covered = {
        "none": "Each point is a run of its own with that ε: several of them together cost more, and no ε "
        "covers runs without privacy. Measured on private videos, which ε does not cover.",
        "papernot-steinke": "Not for publishing: only the best run was paid for.",
        "public": "All data are public.",
    }[config.tuning]
    return f"{points} {covered}"


def _draw_parallel(
    config: SweepConfig, out: Path, planned: Sequence[Trial], results: pd.DataFrame
) -> str | None:
    """Draw what differs between trials, and what came of it; None where nothing does."""
    names = list(dict.fromkeys(name for trial in planned for name in trial.settings))
    rows = [
        (values_of(trial, names), float(score), status == "stopped")
        for trial, score, status in zip(planned, results["chosen_by"], results["status"], strict=True)
        if status != "failed"
    ]
    differing = [name for name in names if any(row[0][name] != rows[0][0][name] for row in rows)]
    if not differing:
        return None
    lines = [
        parallel_coordinates.Line(
            values={name: values[name] for name in differing}, score=score, stopped=stopped
        )
        for values, score, stopped in rows
    ]
    stopped = " Dotted: stopped early, at the score it had." if any(line.stopped for line in lines) else ""
    caption = f"Every trial, measured on {config.chosen_on} videos.{stopped}"
    measure = "AUROC" if "auroc" in set(results["metric"].dropna()) else "accuracy"
    parallel_coordinates.draw(lines, out / "parallel", measure=measure, caption=caption)
    return str(out / "parallel.png")


@dataclass(frozen=True, kw_only=True)
class Best:
    """The private configuration that was chosen, its best run, and its score."""

    config: TrainConfig
    run: str
    score: float


def _best(config: SweepConfig, planned: Sequence[Trial], results: pd.DataFrame) -> Best | None:
    """The private configuration with the best mean over the seeds, among those of the base's ε.

    Where the choice is paid for it is the best single run: that is what was paid for.
    """
    groups: dict[str, list[Best]] = {}
    for trial, row in zip(planned, results.itertuples(), strict=True):
        privacy = trial.config.privacy
        if (
            row.status != "done"
            or privacy.mechanism == "sgd"
            or privacy.epsilon != config.train.privacy.epsilon
        ):
            continue
        same = trial.config if config.pays else replace(trial.config, seed=config.train.seed)
        group = f"trial {row.trial}" if config.pays else configuration.digest(same)
        run = Best(config=same, run=str(row.run), score=float(row.chosen_by))
        groups.setdefault(group, []).append(run)
    if not groups:
        return None
    means = {name: sum(run.score for run in runs) / len(runs) for name, runs in groups.items()}
    name = max(means, key=lambda name: means[name])
    return replace(max(groups[name], key=lambda run: run.score), score=means[name])


def _digest(config: SweepConfig, store: ClipStore) -> str:
    """What a sweep is: its settings but where it is and how fast, and the data."""
    settings = configuration.to_dict(config)
    for name in ("out", "cpus", "gpus"):
        del settings[name]
    for name in ("data", "out", "compute"):
        del settings["train"][name]
    text = json.dumps([settings, store.name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
