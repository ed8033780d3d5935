"""Commands that convert videos to clips, train on them, evaluate, compare, and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raymaskdp.cli.command_classes import command
from raymaskdp.cli.parameters import PATH, json_option, show
from raymaskdp.cli.settings_of import settings_of


@command()
@click.argument("source")
@click.option("--out", required=True, metavar="PATH OR URL", help="Folder for the clip store, or its URL.")
@json_option
@settings_of("raymaskdp.train.data.prepare_job:PrepareJob")
def prepare(source: str, out: str, settings: Any, as_json: bool) -> int:
    """Turn the anonymized videos in SOURCE into a clip store for training.

    Running the same command again keeps complete and unchanged clips. The exit status is 1 if some
    videos could not be read.
    """
    from raymaskdp.train import prepare as run

    result = run(source, out, settings.settings, workers=settings.workers)
    show(result, as_json)
    return 1 if result.failed else 0


@command()
@json_option
@settings_of("raymaskdp.train:TrainConfig", source="data", out="out")
def train(settings: Any, as_json: bool) -> None:
    """Train a model on the clip store DATA up to a privacy budget.

    Writes a run folder with the checkpoint, the privacy ledger and the training curve. The folder's name
    contains a digest of settings and data, so the same command resumes an interrupted run, and reports
    a finished one. DATA may be in the file of --config instead, as `data`.
    """
    from raymaskdp.train import train as run

    show(run(settings), as_json)


@command()
@click.argument("run", type=PATH)
@json_option
@settings_of("raymaskdp.cli.options:EvaluateOptions")
def evaluate(run: Path, settings: Any, as_json: bool) -> None:
    """Evaluate the model of the run folder RUN on its test videos."""
    from raymaskdp.train import evaluate as run_evaluation

    show(run_evaluation(run, **vars(settings)), as_json)


@command()
@json_option
@settings_of("raymaskdp.sweep:SweepConfig", source="train.data", out="out")
def sweep(settings: Any, as_json: bool) -> None:
    """Train on the clip store DATA over a grid of settings, and draw the utility-privacy frontier.

    Writes the results table, the frontier as a plot, the privacy cost of choosing, and the best
    configuration. An interrupted sweep resumes. DATA may be in the file of --config instead, as `train.data`.
    """
    from raymaskdp.sweep import sweep as run

    show(run(settings), as_json)


@command()
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="The HTML file (FOLDER/report.html).")
@json_option
@settings_of("raymaskdp.cli.options:ReportOptions")
def report(folder: Path, out: Path | None, settings: Any, as_json: bool) -> None:
    """Write one self-contained HTML file about all outputs below FOLDER."""
    from raymaskdp.report import report as run

    show(run(folder, out, **vars(settings)), as_json)
