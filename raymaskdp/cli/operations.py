"""Commands about running: jobs on clusters, estimates, progress, and the check of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from raymaskdp import config
from raymaskdp.cli.command_classes import CONTEXT, command, group
from raymaskdp.cli.parameters import ADDRESS, PATH, PLACE, json_option, show
from raymaskdp.cli.settings_of import settings_of
from raymaskdp.places import Place


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a job: where it runs, and what is uploaded with it."""
    options = [
        ADDRESS,
        click.option("--working-dir", type=PATH, help="A folder to upload, for your own plugins."),
        click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the job; no secrets."),
        click.option("--follow/--no-follow", default=True, help="Print the job's output until it ends."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _submit(command: str, settings: Any, arguments: Sequence[str], as_json: bool, **job: Any) -> int:
    from raymaskdp.operate import jobs

    environment = dict(config.assignment(text, "--env") for text in job.pop("env"))
    result = jobs.submit(command, settings, arguments, environment=environment, **job)
    show(result, as_json)
    return jobs.EXIT_STATUS[result.state]


@group()
def submit() -> None:
    """Run a command as a job on a Ray cluster; exits 0 succeeded, 1 failed, 3 stopped, 4 still running.

    The job's id is a digest of its work: submitting the same again attaches to it. After a failed or stopped
    job, another attempt, ID-2, resumes its work. Paths are the cluster's.
    """


@submit.command("anonymize", context_settings=CONTEXT)
@click.argument("source")
@click.option(
    "--out", required=True, metavar="PATH OR URL", help="Folder for the anonymized videos, or its URL."
)
@_job_options
@settings_of("raymaskdp.anonymize:AnonymizeConfig")
def submit_anonymize(source: str, out: str, settings: Any, **job: Any) -> int:
    """Replace everyone in SOURCE by an avatar, on a cluster."""
    return _submit("anonymize", settings, [source, "--out", out], **job)


@submit.command("train", context_settings=CONTEXT)
@_job_options
@settings_of("raymaskdp.train:TrainConfig", source="data", out="out")
def submit_train(settings: Any, **job: Any) -> int:
    """Train a model on the clip store DATA up to a privacy budget, on a cluster.

    DATA may be in the file of --config instead, as `data`.
    """
    return _submit("train", settings, [], **job)


@submit.command("sweep", context_settings=CONTEXT)
@_job_options
@settings_of("raymaskdp.sweep:SweepConfig", source="train.data", out="out")
def submit_sweep(settings: Any, **job: Any) -> int:
    """Train on the clip store DATA over a grid of settings, on a cluster.

    DATA may be in the file of --config instead, as `train.data`.
    """
    return _submit("sweep", settings, [], **job)


@group()
def job() -> None:
    """The jobs on a Ray cluster."""


@job.command("list", context_settings=CONTEXT)
@ADDRESS
@json_option
def list_jobs(address: str | None, as_json: bool) -> None:
    """The jobs on the cluster."""
    from raymaskdp.operate import jobs

    show(jobs.jobs(address=address), as_json)


def _job_command(name: str, text: str) -> None:
    @job.command(name, context_settings=CONTEXT, help=text)
    @click.argument("job_id", metavar="ID")
    @ADDRESS
    @json_option
    def command(job_id: str, address: str | None, as_json: bool) -> int:
        from raymaskdp.operate import jobs

        result = getattr(jobs, name)(job_id, address=address)
        show(result, as_json)
        return 0 if name == "stop" else jobs.EXIT_STATUS[result.state]


_job_command("status", "The state of the job ID; exits 0 succeeded, 1 failed, 3 stopped, 4 still running.")
_job_command("follow", "Print the output of the job ID until it ends.")
_job_command("stop", "Stop the job ID; submitting it again resumes its work.")


@command()
@click.argument("source")
@json_option
@settings_of("raymaskdp.operate.config:EstimateConfig", out="out")
def estimate(source: str, settings: Any, as_json: bool) -> None:
    """Estimate the cost of anonymizing SOURCE: time, machines, storage, money.

    A few of its videos are processed here to measure the time. `nodes=[8,64] workers=16 node_start=180
    price=1.2 losses=0.05` is for 8 and for 64 spot machines of 16 workers; `profile=` and `run=` use times of
    other machines.
    """
    from raymaskdp.operate.estimate import estimate as run

    show(run(source, settings), as_json)


@command()
@click.argument("folder", type=PLACE)
@json_option
def status(folder: Place, as_json: bool) -> None:
    """The progress of the runs below FOLDER.

    For a URL, the progress of an `anonymize` run.
    """
    from raymaskdp.operate.progress import status as run

    show(run(folder), as_json)


@command()
@click.option("--launch", type=PATH, help="Check this launch file (cluster/) instead of the machine.")
@click.option(
    "--gpus", type=click.IntRange(min=0), default=64, help="GPUs that the launch file must provide (64)."
)
@json_option
def doctor(launch: Path | None, gpus: int, as_json: bool) -> int:
    """Check this machine: OpenGL, GPU, codecs, model files, versions, disk; with a line to fix each."""
    from raymaskdp.operate.doctor import doctor as run
    from raymaskdp.operate.launch.check import inspect

    result = run() if launch is None else inspect(launch, gpus=gpus)
    show(result, as_json)
    return 0 if result.healthy else 1
