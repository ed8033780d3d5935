"""`sweep`: many trainings on Ray Tune, their table, frontier and bill. The one file that knows Ray Tune."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, write_json, write_text
from raymaskdp.runtime import ray_cluster
from raymaskdp.sweep import frontier
from raymaskdp.sweep.bill import NOTHING, Bill, make_bill
from raymaskdp.sweep.config import SweepConfig, Trial, published_score, trials
from raymaskdp.train import ClipStore, TrainConfig, evaluate, train
from raymaskdp.train.trainer import cache_features_of, make_job

PLOTTED = {"frontier", "not private"}
"""The grids that the plot shows."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep.

    Attributes:
      out: its folder.
      trials, failed: how many, and how many of them failed.
      results: the table, Parquet; the same as CSV lies beside it.
      frontier: the plot, PNG; the same as SVG lies beside it.
      best: the best private configuration at the base configuration's ε, as YAML for `raymaskdp train`;
        None if no private trial finished there.
      best_score: its mean accuracy (or AUROC) over the seeds.
      bill: what choosing it costs.
      finished_before: whether the sweep was there already, and nothing was done.
    """

    out: str
    trials: int
    failed: int
    results: str
    frontier: str
    best: str | None
    best_score: float | None
    bill: Bill
    finished_before: bool = False

    def __str__(self) -> str:
        done = "was finished before; nothing to do" if self.finished_before else "is finished"
        lines = [f"The sweep {self.out} {done}: {self.trials} trials, {self.failed} failed."]
        lines += [f"  results   {self.results}", f"  frontier  {self.frontier}"]
        if self.best is not None:
            lines.append(f"  best      {self.best} ({self.best_score:.1%})")
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
    planned = trials(config)
    digest = _digest(config, store)
    about = out / "sweep.json"
    if about.is_file():
        earlier = json.loads(about.read_text(encoding="utf-8"))
        if earlier["digest"] != digest:
            raise UserError(f"{out} holds another sweep; give another folder, or remove it.")
        if earlier["result"] is not None:
            result = configuration.build(SweepResult, earlier["result"], where=str(about))
            return replace(result, out=str(out), finished_before=True)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "sweep.yaml", configuration.to_yaml(config))
    source = config.published.source if config.published else None
    write_json(about, {"digest": digest, "published": source, "result": None})
    points, outcomes = [], {}
    for number, trial in enumerate(tqdm(planned, "plan", unit="trial", leave=False)):
        try:
            points.append(_point(number, trial, config, out))
        except UserError as error:
            outcomes[number] = {"error": str(error)}
    if points:
        outcomes.update(_run(points, out, config.cpus))
    results = _table(config, planned, outcomes)
    result = _write_up(config, out, planned, results, classes=len(store.classes))
    write_json(about, {"digest": digest, "published": source, "result": configuration.to_dict(result)})
    return result


def run_trial(point: dict[str, Any]) -> dict[str, Any]:
    """What Ray runs for a trial: train in process, then measure."""
    trained = train(configuration.build(TrainConfig, point["train"], where="trial"))
    measured = evaluate(trained.run, split=point["split"], views=point["views"], crops=point["crops"])
    return {
        "metric": measured.metric,
        "score": measured.score,
        "mean_class": measured.mean_class,
        **{name: getattr(trained, name) for name in TRAINED},
    }


TRAINED = (
    "run", "epsilon", "epsilon_rdp", "epsilon_pld", "delta", "noise_multiplier", "adjacency", "unit", "steps",
    "records", "trainable",
)  # fmt: skip


def _point(number: int, trial: Trial, config: SweepConfig, out: Path) -> dict[str, Any]:
    """The plain values that Ray hands to a trial; raises `UserError` if it cannot run."""
    settings = configuration.to_dict(trial.config)
    settings["out"] = str(out / "runs")
    settings["data"] = str(Path(trial.config.data).absolute())
    settings["compute"] = {**settings["compute"], "workers": 0, "threads": 1, "progress": False}
    if trial.config.init is not None:
        settings["init"] = str(Path(trial.config.init).absolute())
    if trial.config.privacy.epsilon is not None:
        # Calibrated here, where equal prices are computed once; it takes longer than some trainings.
        settings["privacy"]["noise_multiplier"] = make_job(trial.config).plan.noise_multiplier
        settings["privacy"]["epsilon"] = None
    cache_features_of(trial.config)  # once, here: trials that need them run at the same time
    return {
        "number": number,
        "train": settings,
        "split": config.split,
        "views": config.views,
        "crops": config.crops,
    }


def _run(points: Sequence[dict[str, Any]], out: Path, cpus: float) -> dict[int, dict[str, Any]]:
    """What each trial reports, by number; `{"error": reason}` for those that failed."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the table holds all of it
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    from ray import tune

    class Progress(tune.Callback):
        """Moves the bar when a trial ends. Holds nothing: Tune pickles it, to restore it with the sweep."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _advance_bars()

        on_trial_error = on_trial_complete

    folder = out / "tune"
    trainable = tune.with_resources(_tune_trial, {"cpu": cpus})
    with ray_cluster(), _bar(len(points)):
        run_config = tune.RunConfig(
            name=folder.name, storage_path=str(out), verbose=0, callbacks=[Progress()]
        )
        if tune.Tuner.can_restore(str(folder)):
            tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
        else:
            tuner = tune.Tuner(
                trainable,
                param_space={"point": tune.grid_search(list(points))},
                tune_config=tune.TuneConfig(reuse_actors=True),
                run_config=run_config,
            )
        found = tuner.fit()
    outcomes: dict[int, dict[str, Any]] = {}
    for outcome in (found[index] for index in range(len(found))):
        number = (outcome.config or {})["point"]["number"]
        if outcome.error is not None:
            outcomes[number] = {"error": _reason(outcome.error)}
        elif "score" in (outcome.metrics or {}):
            outcomes[number] = dict(outcome.metrics or {})
    if len(outcomes) < len(points):
        raise UserError(f"The sweep {out} was interrupted; run it again to go on.")
    return outcomes


_bars: list[tqdm] = []


@contextlib.contextmanager
def _bar(total: int) -> Iterator[None]:
    """A progress bar that `_advance_bars` moves."""
    with tqdm(total=total, desc="sweep", unit="trial") as bar:
        _bars.append(bar)
        try:
            yield
        finally:
            _bars.remove(bar)


def _advance_bars() -> None:
    for bar in _bars:
        bar.update()


def _tune_trial(settings: dict[str, Any]) -> dict[str, Any]:
    return run_trial(settings["point"])


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
                "status": "failed" if "error" in outcome else "done",
                "data": config.data.name,
                "model": config.model.name,
                "mechanism": config.privacy.mechanism,
                "target_epsilon": config.privacy.epsilon,
                "clipping_norm": config.privacy.clipping_norm,
                "scheme": config.scheme,
                "clips": 1 if config.privacy.mechanism == "dpsgd" else config.privacy.clips,
                "learning_rate": config.optimizer.learning_rate,
                "seed": config.seed,
                **{name: outcome.get(name) for name in ("metric", "score", "mean_class", *TRAINED)},
                "published": published_score(sweep, config),
                "error": outcome.get("error"),
                "settings": json.dumps(trial.settings, sort_keys=True),
            }
        )
    return pd.DataFrame(rows).convert_dtypes()


def _write_up(
    config: SweepConfig, out: Path, planned: Sequence[Trial], results: pd.DataFrame, *, classes: int
) -> SweepResult:
    table = out / "results.parquet"
    with atomic_path(table) as temporary:
        results.to_parquet(temporary, index=False)
    with atomic_path(out / "results.csv") as temporary:
        results.to_csv(temporary, index=False)
    seeds = len(config.seeds)
    caption = (
        f"Means over {seeds} seeds with 95 % intervals; dots are single runs. Each point is a run of its own "
        "with that ε: several of them together cost more. Measured on private videos, which ε does not cover."
    )
    frontier.draw(plotted(results), out / "frontier", classes=classes, caption=caption)
    best, best_score = _best(config, planned, results)
    best_path = None
    if best is not None:
        best_path = out / "best.yaml"
        write_text(best_path, configuration.to_yaml(best))
    bill = NOTHING
    if best is not None:
        same_price = (results["status"] == "done") & (results["target_epsilon"] == best.privacy.epsilon)
        bill = make_bill(make_job(best).plan, int(same_price.sum()))
    return SweepResult(
        out=str(out),
        trials=len(results),
        failed=int((results["status"] == "failed").sum()),
        results=str(table),
        frontier=str(out / "frontier.png"),
        best=None if best_path is None else str(best_path),
        best_score=best_score,
        bill=bill,
    )


def plotted(results: pd.DataFrame) -> pd.DataFrame:
    """The trials of the results that the plot shows."""
    return results[results["grids"].str.split(",").map(lambda names: not PLOTTED.isdisjoint(names))]


def _best(
    config: SweepConfig, planned: Sequence[Trial], results: pd.DataFrame
) -> tuple[TrainConfig | None, float | None]:
    """The private configuration with the best mean over the seeds, among those of the base's ε."""
    base = config.train.privacy.epsilon
    scores: dict[str, list[float]] = {}
    configs: dict[str, TrainConfig] = {}
    for trial, status, score in zip(planned, results["status"], results["score"], strict=True):
        privacy = trial.config.privacy
        if status == "done" and privacy.mechanism != "sgd" and privacy.epsilon == base:
            same = replace(trial.config, seed=config.train.seed)
            digest = configuration.digest(same)
            configs[digest] = same
            scores.setdefault(digest, []).append(float(score))
    if not scores:
        return None, None
    digest = max(scores, key=lambda one: sum(scores[one]) / len(scores[one]))
    return configs[digest], sum(scores[digest]) / len(scores[digest])


def _digest(config: SweepConfig, store: ClipStore) -> str:
    """What a sweep is: its settings but where it is and how fast, and the data."""
    settings = configuration.to_dict(config)
    for name in ("out", "cpus"):
        del settings[name]
    for name in ("data", "out", "compute"):
        del settings["train"][name]
    text = json.dumps([settings, store.fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
