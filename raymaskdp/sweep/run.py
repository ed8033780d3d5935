"""Command `sweep`: determine the trials, run the missing ones, and write the results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from raymaskdp import config as configuration
from raymaskdp import events
from raymaskdp.distributed.connect import ray_cluster
from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import make_folder, private_folder, read_file, read_json, write_json, write_text
from raymaskdp.privacy.prices.selection import draw_runs
from raymaskdp.sweep import search
from raymaskdp.sweep.config import SweepConfig, Trial, drawn_trial, trials
from raymaskdp.sweep.results import SweepResult, table_of, with_present_names, write_up
from raymaskdp.sweep.trial import make_point
from raymaskdp.sweep.trial_releases import require_apart
from raymaskdp.sweep.tuner import run_grid, run_suggested
from raymaskdp.train import ClipStore


def sweep(config: SweepConfig) -> SweepResult:
    """Run the trials of a sweep, or the missing ones, and write the results of all of them.

    A failed trial stops no other, and is in the table with its reason. Raises `UserError` for incompatible
    settings, and if `config.out` has another sweep.
    """
    # Converted to the annotated types, which `SweepConfig(...)` in Python does not check; so equal settings
    # are equal sweeps.
    config = configuration.build(SweepConfig, configuration.to_dict(config), where="the configuration")
    out = config.out.absolute()
    store = ClipStore.open(config.train.data)
    require_apart(config)
    digest = _digest(config, store)
    about = out / "sweep.json"
    if about.is_file():
        earlier = read_json(about)
        if earlier.get("digest") != digest:
            raise UserError(f"{out} has another sweep; give another folder, or remove it.")
        if earlier.get("result") is not None:
            result = configuration.build(SweepResult, with_present_names(earlier["result"]), where=str(about))
            return replace(result, out=str(out), finished_before=True)
    make_folder(out)
    write_text(out / "sweep.yaml", configuration.to_yaml(config))
    source = config.published.source if config.published else None
    write_json(about, {"digest": digest, "published": source, "result": None}, scores=True)
    events.write("sweep begins", sweep=digest[:12])
    planned = list(_drawn_once(config, out) if config.pays else trials(config))
    points, outcomes = [], {}
    for number, trial in enumerate(tqdm(planned, "plan", unit="trial", leave=False, disable=events.wanted())):
        try:
            points.append(make_point(number, trial, config, out))
        except UserError as error:
            outcomes[number] = {"error": str(error)}
    with ray_cluster():
        if points:
            outcomes.update(run_grid(points, config, out))
        for trial, outcome in run_suggested(config, out) if config.learns else ():
            outcomes[len(planned)] = outcome
            planned.append(trial)
    results = table_of(config, planned, outcomes)
    result = write_up(config, out, planned, results, classes=len(store.classes))
    whole = {"digest": digest, "published": source, "result": configuration.to_dict(result)}
    write_json(about, whole, scores=True)
    events.write("sweep ends", sweep=digest[:12])  # the number of trials may be random, and private
    return result


def _drawn_once(config: SweepConfig, out: Path) -> list[Trial]:
    """The trials of a sweep that pays for its choice: a random number of independent draws.

    Written before the first trial, so that the random number of trials cannot be redrawn.
    """
    assert config.search is not None
    path = private_folder(out) / "draws.json"
    if not path.is_file():
        generator = np.random.default_rng()  # from the operating system: independent of data and settings
        count = draw_runs(config.search.trials, generator)
        write_json(path, search.draw(config.search, config.seeds, generator, count))
    return [drawn_trial(config, one) for one in _read_draws(path)]


def _read_draws(path: Path) -> list[Any]:
    """The recorded draws; they cannot be redrawn, because their number would be different."""
    try:
        return list(json.loads(read_file(path)))
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path} is damaged; restore it from a copy, or sweep into another folder.") from error


def _digest(config: SweepConfig, store: ClipStore) -> str:
    """The identity of a sweep: its settings, without its folder and its resources, and the data."""
    settings = configuration.to_dict(config)
    for name in ("out", "cpus", "gpus"):
        del settings[name]
    for name in ("data", "out", "compute"):
        del settings["train"][name]
    text = json.dumps([settings, store.name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
