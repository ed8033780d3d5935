"""`raymaskdp benchmark orderings --out DIR`: data once, then all trials, then what they decide.

Every stage resumes: rendering and anonymizing by video, pretraining by checkpoint, features by group of
videos, trials one by one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from raymaskdp import config, files
from raymaskdp.benchmarks.orderings.arms import mechanism_arms
from raymaskdp.benchmarks.orderings.data import make_data
from raymaskdp.benchmarks.orderings.result import OrderingsResult, result_of
from raymaskdp.benchmarks.orderings.trials import run_trials
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.demo import DemoConfig
from raymaskdp.errors import UserError
from raymaskdp.locks import only_one


def benchmark_orderings(
    out: Path, settings: OrderingsConfig, demo: DemoConfig | None = None
) -> OrderingsResult:
    """Make in the folder `out` what is missing, and compare the arms.

    `demo` has the settings of all stages; by default those of the demo. Raises `UserError` if the folder has
    a benchmark with other settings, or is in use.
    """
    demo = DemoConfig.load() if demo is None else demo
    files.make_folder(out)
    refusal = f"Another process works in {out}; wait for it, or end it."
    with only_one(out / ".lock", wait_s=1.0, refusal=refusal):
        _require_same_settings(out, settings)
        data = make_data(out, settings, demo)
        table = run_trials(out, mechanism_arms(settings, demo, data), settings)
    return result_of(table.frame(), str(table.path))


def _require_same_settings(out: Path, settings: OrderingsConfig) -> None:
    """Raise `UserError` if the folder has other settings than these, but for the number of workers."""
    path = out / "orderings.yaml"
    ours = dataclasses.replace(settings, workers=OrderingsConfig().workers)
    if path.is_file() and config.load(OrderingsConfig, path) != ours:
        raise UserError(f"{out} has a benchmark with other settings ({path}); give another folder.")
    files.write_text(path, config.to_yaml(ours))
