"""Trials: trainings by the real `train`, each measured on its draw, in one table that grows.

All arms of a draw and a seed have the same key, and thereby the same lots and the same noise but for its
size, which makes their differences more precise. A key fixes what must be secret otherwise; these videos are
rendered, and nothing is released.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from raymaskdp import files
from raymaskdp.benchmarks.orderings import draws
from raymaskdp.benchmarks.orderings.arms import Arm
from raymaskdp.benchmarks.orderings.draws import CHOICE, TEST, Part
from raymaskdp.benchmarks.orderings.features import (
    accuracy_of,
    compute_features,
    feature_tasks,
    give_features,
    load_features,
)
from raymaskdp.benchmarks.orderings.parallel import each_done
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.privacy import Key
from raymaskdp.train import ClipStore, TrainConfig, train
from raymaskdp.train.run.identity import plan_of

Stores = Mapping[tuple[str, int, Part], Path]
"""The store of an arm's draw, by the arm's name, the draw and the part."""


@dataclass(frozen=True, kw_only=True)
class OrderingTrial:
    """One training, and its test.

    Attributes:
      arm: its name.
      part: whether it chooses the learning rate or is a result.
      epsilon: infinite without privacy.
      draw, seed: their numbers.
      rate: the learning rate.
    """

    arm: str
    part: Part
    epsilon: float
    draw: int
    seed: int
    rate: float


class TrialTable:
    """All finished trials: a Parquet file that is whole after each.

    A row has the fields of `OrderingTrial`, and `accuracy`, `test_videos`, `train_videos`,
    `noise_multiplier`, `spent` (ε that the plan costs) and `seconds`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = pd.read_parquet(path).to_dict("records") if path.is_file() else []
        fields = [field.name for field in dataclasses.fields(OrderingTrial)]
        self._by_trial = {OrderingTrial(**{name: row[name] for name in fields}): row for row in self._rows}

    def __contains__(self, trial: object) -> bool:
        return trial in self._by_trial

    def accuracy(self, trial: OrderingTrial) -> float:
        return float(self._by_trial[trial]["accuracy"])

    def add(self, trial: OrderingTrial, measured: Mapping[str, Any]) -> None:
        """Add a trial to the file."""
        self._by_trial[trial] = {**dataclasses.asdict(trial), **measured}
        self._rows.append(self._by_trial[trial])
        with files.atomic_path(self.path, scores=True) as temporary:
            self.frame().to_parquet(temporary, index=False)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self._rows)


def run_trials(out: Path, arms: Sequence[Arm], settings: OrderingsConfig) -> TrialTable:
    """Run all trials that the table in the folder `out` lacks: first those that choose learning rates."""
    table = TrialTable(out / "trials.parquet")
    stores = _make_draws(out, arms, settings)
    files.remove_scratch(out / "runs")  # of a killed run
    runs = files.scratch_folder(out / "runs")
    _run(list(_choosing(arms, settings)), table, arms, stores, runs, settings)
    _run(list(_deciding(arms, settings, table)), table, arms, stores, runs, settings)
    files.remove_scratch(runs)
    return table


def chosen_rate(
    arm: Arm, epsilon: float | None, draw: int, settings: OrderingsConfig, table: TrialTable
) -> float:
    """The learning rate with the best mean accuracy on held-out people of a draw; of equal ones the least."""

    def mean(rate: float) -> float:
        trials = (_trial(arm, CHOICE, epsilon, draw, seed, rate) for seed in range(settings.choice_seeds))
        return sum(map(table.accuracy, trials))

    return max(sorted(settings.rates), key=mean)


def _trial(arm: Arm, part: Part, epsilon: float | None, draw: int, seed: int, rate: float) -> OrderingTrial:
    about = math.inf if epsilon is None else epsilon
    return OrderingTrial(arm=arm.name, part=part, epsilon=about, draw=draw, seed=seed, rate=rate)


def _choosing(arms: Sequence[Arm], settings: OrderingsConfig) -> Iterator[OrderingTrial]:
    for seed in range(settings.choice_seeds):
        for draw in range(settings.draws):
            for arm in arms:
                for epsilon in arm.epsilons:
                    for rate in settings.rates:
                        yield _trial(arm, CHOICE, epsilon, draw, seed, rate)


def _deciding(arms: Sequence[Arm], settings: OrderingsConfig, table: TrialTable) -> Iterator[OrderingTrial]:
    for seed in range(settings.seeds):
        for draw in range(settings.draws):
            for arm in arms:
                for epsilon in arm.epsilons:
                    rate = chosen_rate(arm, epsilon, draw, settings, table)
                    yield _trial(arm, TEST, epsilon, draw, seed, rate)


def _make_draws(out: Path, arms: Sequence[Arm], settings: OrderingsConfig) -> Stores:
    """The stores of all draws, with the features that trials on them read."""
    tasks = list(feature_tasks(arms, out / "features"))
    for _ in tqdm(each_done(compute_features, tasks, settings.workers), "features", len(tasks)):
        pass
    stores: dict[tuple[str, int, Part], Path] = {}
    for arm in tqdm(arms, "draws", unit="arm", leave=False):
        pool = Path(str(arm.train.data))
        features = load_features(arm, out / "features")
        for division in draws.divisions(ClipStore.open(pool), settings):
            place = draws.store_of(division, pool, out / "draws" / pool.name)
            stores[arm.name, division.draw, division.part] = place
            if features is not None:
                give_features(features, dataclasses.replace(arm.train, data=place))
    return stores


def _run(
    wanted: Sequence[OrderingTrial],
    table: TrialTable,
    arms: Sequence[Arm],
    stores: Stores,
    runs: Path,
    settings: OrderingsConfig,
) -> None:
    """Run the trials that are not in the table, and add each to it."""
    missing = [trial for trial in wanted if trial not in table]
    named = {arm.name: arm for arm in arms}
    noise = _noise(missing, named, stores)
    tasks = []
    for trial in missing:
        epsilon = None if math.isinf(trial.epsilon) else trial.epsilon
        config = named[trial.arm].at(epsilon, trial.rate)
        privacy = config.privacy
        if epsilon is not None:
            multiplier = noise[trial.arm, trial.part, trial.epsilon]
            privacy = dataclasses.replace(privacy, epsilon=None, noise_multiplier=multiplier)
        data = stores[trial.arm, trial.draw, trial.part]
        config = dataclasses.replace(config, data=data, out=runs, seed=trial.seed, privacy=privacy)
        tasks.append((trial, config, _key(settings, trial)))
    done = each_done(_run_trial, tasks, settings.workers)
    for trial, measured in tqdm(
        done, "trials", len(wanted), initial=len(wanted) - len(missing), unit="trial"
    ):
        table.add(trial, measured)


def _noise(
    missing: Sequence[OrderingTrial], named: Mapping[str, Arm], stores: Stores
) -> dict[tuple[str, Part, float], float]:
    """The noise multiplier of each arm, part and ε: the same in all draws, which are equally large.

    Calibrated once, because that takes longer than a training.
    """
    found: dict[tuple[str, Part, float], float] = {}
    for trial in tqdm(missing, "noise", leave=False):
        about = trial.arm, trial.part, trial.epsilon
        if math.isfinite(trial.epsilon) and about not in found:
            config = named[trial.arm].at(trial.epsilon, trial.rate)
            store = ClipStore.open(stores[trial.arm, trial.draw, trial.part])
            found[about] = plan_of(config, store).noise_multiplier
    return found


def _key(settings: OrderingsConfig, trial: OrderingTrial) -> Key:
    name = f"orderings {settings.seed} {trial.part} {trial.draw} {trial.seed}"
    return Key(secret=hashlib.sha256(name.encode()).digest())


def _run_trial(task: tuple[OrderingTrial, TrainConfig, Key]) -> tuple[OrderingTrial, dict[str, Any]]:
    """Train in a folder that is then removed, and measure."""
    trial, config, key = task
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=config.out) as folder:
        outcome = train(dataclasses.replace(config, out=Path(folder)), key=key)
        accuracy, tested = accuracy_of(config, Path(outcome.run))
    return trial, {
        "accuracy": accuracy,
        "test_videos": tested,
        "train_videos": outcome.records,
        "noise_multiplier": outcome.noise_multiplier,
        "spent": math.inf if outcome.epsilon is None else outcome.epsilon,
        "seconds": round(time.perf_counter() - began, 3),
    }
