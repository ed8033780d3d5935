"""The program `raymaskdp`: its commands in the order of the data flow, exit status and error messages."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from raymaskdp import __version__, places
from raymaskdp.cli import benchmarks, networks, operations, privacy_and_audit, training, videos
from raymaskdp.cli.command_classes import CONTEXT, command, group
from raymaskdp.cli.native_log import keep_chatter_out
from raymaskdp.cli.parameters import PATH, json_option, show
from raymaskdp.errors import UserError


@command()
@click.option("--out", type=PATH, default=Path("demo-out"), show_default=True, help="Folder for everything.")
@json_option
def demo(out: Path, as_json: bool) -> None:
    """Run all commands on sample videos, ending with a report."""
    from raymaskdp.demo import demo as run

    show(run(out), as_json)


@group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="raymaskdp")
def cli() -> None:
    """Anonymize videos of people, and train on them with differential privacy.

    The path of the data:

    \b
      anonymize  people in videos become avatars; uncertain regions are covered
      prepare    anonymized videos become clips for training
      train      MaskDP or Multi-Clip DP-SGD, with a target epsilon and a ledger
      sweep      many trainings, and the utility-privacy frontier
      report     one HTML file about all of it

    `raymaskdp demo` runs all of them on synthetic sample videos. Settings are given as a YAML file
    (--config) and as KEY=VALUE, such as `privacy.epsilon=2`. COMMAND --help lists a command's settings, and
    COMMAND --defaults prints them as such a file.
    """


for _command in (
    videos.anonymize,
    training.prepare,
    training.train,
    training.evaluate,
    training.sweep,
    training.report,
    videos.review,
    videos.sheet,
    videos.dataset,
    privacy_and_audit.privacy,
    privacy_and_audit.audit,
    networks.models,
    operations.submit,
    operations.job,
    operations.estimate,
    operations.status,
    operations.doctor,
    benchmarks.benchmark,
    demo,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    if arguments is None:  # a separate program
        keep_chatter_out()
        _say_warnings()
        _print_anything()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _require_working_folder()
        status = cli.main(args=arguments, prog_name="raymaskdp", standalone_mode=False)
    except UserError as error:
        return _fail(places.visible(str(error)), arguments)
    except click.ClickException as error:
        return _fail(_with_help(error), arguments)
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted; run the same command again to resume.", arguments, status=130)
    return status if isinstance(status, int) else 0


def _with_help(error: click.ClickException) -> str:
    """The message; if something is missing or unknown, with the command that lists it."""
    message = error.format_message()
    lists_it = isinstance(error, click.MissingParameter) or message.startswith("No such command")
    if not (lists_it and isinstance(error, click.UsageError) and error.ctx is not None):
        return message
    return f"{message.rstrip('.')}; see `{error.ctx.command_path} --help`."


def _print_anything() -> None:
    """Have letters that a terminal does not know printed as their numbers, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _require_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("The working folder was deleted; change to one that is there.") from error


def _say_warnings() -> None:
    """Print warnings of this project in the format of its other messages, whatever libraries configure."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("raymaskdp: %(message)s"))
    ours = logging.getLogger("raymaskdp")
    ours.addHandler(handler)
    ours.propagate = False


def _fail(message: str, arguments: Sequence[str], status: int = 2) -> int:
    if "--json" in arguments:
        print(json.dumps({"error": message}))
    print(f"raymaskdp: {places.printable(message)}", file=sys.stderr)
    return status
