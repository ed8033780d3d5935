"""The command line: one function a command, no logic.

Every command prints a short text for people on standard output, or one JSON object with `--json`;
progress goes to standard error. Exit status: 0 done, 1 some videos failed, 2 the input has to be mended.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from raymaskdp import __version__, config, storage
from raymaskdp.errors import UserError
from raymaskdp.native_log import keep_chatter_out

Command = TypeVar("Command", bound=Callable[..., Any])


class _Place(click.ParamType):
    """A path, or a URL of an object store."""

    name = "path or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        return storage.place(value) if isinstance(value, str) else value


class _Path(_Place):
    """A path; URLs are refused in a sentence, instead of becoming strange folders here."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return storage.only_local(super().convert(value, param, ctx), why="this works on local files")


PLACE, PATH = _Place(), _Path()
ADDRESS = click.option("--address", help="The job server, such as http://127.0.0.1:8265.")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    if arguments is None:  # a program of its own
        keep_chatter_out()
        _say_warnings()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = cli.main(args=arguments, prog_name="raymaskdp", standalone_mode=False)
    except UserError as error:
        return _fail(str(error), arguments)
    except click.ClickException as error:
        return _fail(error.format_message(), arguments)
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted; run the same command again to go on.", arguments, status=130)
    return status if isinstance(status, int) else 0


def _say_warnings() -> None:
    """Have warnings of this project printed as its other messages are, whatever libraries set up."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("raymaskdp: %(message)s"))
    ours = logging.getLogger("raymaskdp")
    ours.addHandler(handler)
    ours.propagate = False


def _fail(message: str, arguments: Sequence[str], status: int = 2) -> int:
    if "--json" in arguments:
        print(json.dumps({"error": message}))
    print(f"raymaskdp: {storage.printable(message)}", file=sys.stderr)
    return status


def _show(result: Any, as_json: bool) -> None:
    """Print a result: its fields as JSON, or its `str` for people."""
    text = json.dumps(config.to_dict(result), ensure_ascii=False) if as_json else str(result)
    print(storage.printable(text))


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def _settings(
    place: str, *, source: str = "", out: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command its configuration, an instance of the class at `place` ("module:Class").

    Inputs are given by their place and outputs by `--out`, as everywhere: `source` is the setting whose value
    is the first word without "=", and `out` the one that `--out` sets. The rest is read from `--config FILE`
    and KEY=VALUE arguments. `--help` lists the settings, `--defaults` prints them as YAML, `--schema` as a
    JSON Schema.
    """

    def load_class() -> type[Any]:
        module, name = place.split(":")
        return getattr(importlib.import_module(module), name)

    def printing(name: str, about: str, text: Callable[[type[Any]], str]) -> Callable[..., Any]:
        def run(context: click.Context, _: click.Parameter, wanted: bool) -> None:
            if wanted:
                click.echo(text(load_class()), nl=False)
                context.exit()

        return click.option(name, is_flag=True, is_eager=True, expose_value=False, callback=run, help=about)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(config_path: Path | None, overrides: tuple[str, ...], **arguments: Any) -> Any:
            placed = list(_placed(overrides, source, out, arguments.pop("placed_out", None)))
            return command(settings=config.load(load_class(), config_path, placed), **arguments)

        metavar = f"[{source.rpartition('.')[2].upper()}] [KEY=VALUE]..." if source else "[KEY=VALUE]..."
        add_overrides = click.argument("overrides", nargs=-1, metavar=metavar)
        if out:
            add_out = click.option("--out", "placed_out", help=f"Where the outcome goes; the setting {out}.")
            with_settings = add_out(with_settings)
        add_config = click.option("--config", "config_path", type=PATH, help="YAML file with settings.")
        add_defaults = printing("--defaults", "Print all settings as commented YAML, and exit.", _yaml)
        add_schema = printing("--schema", "Print a JSON Schema of that file, for editors, and exit.", _schema)
        with_settings.settings = load_class  # type: ignore[attr-defined]  # for `_Command`
        return add_defaults(add_schema(add_config(add_overrides(with_settings))))

    return decorate


def _placed(overrides: Sequence[str], source: str, out: str, where: str | None) -> Iterator[str]:
    """KEY=VALUE of everything, also of what is given by its place or by `--out`."""
    given = False
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and key and key in (source, out):
            instead = value if key == source else f"--out {value}"
            raise UserError(
                f"{word} is given as {instead} now: inputs by their place, and --out for where it goes."
            )
        if equals or not source or given:
            yield word
        else:
            given = True
            yield f"{source}={json.dumps(word, ensure_ascii=False)}"
    if where is not None:
        yield f"{out}={json.dumps(where, ensure_ascii=False)}"


def _yaml(cls: type[Any]) -> str:
    from raymaskdp import settings

    return settings.commented_yaml(cls)


def _schema(cls: type[Any]) -> str:
    from raymaskdp import settings

    return f"{json.dumps(settings.json_schema(cls), indent=2, ensure_ascii=False)}\n"


OLD_OPTIONS = {
    "--page": "--out FILE",
    "--pose-model": "pose.landmarks=FILE",
    "--sources": "a second place, after the folder",
}
"""How what was an option once is given now; what is a setting of the same name is found by itself."""
OLD_COMMANDS = {"plan": "estimate"}


class _Command(click.Command):
    """A command whose help lists its settings, too, and which knows what old options are called now."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            now = OLD_OPTIONS.get(error.option_name)
            load_class = getattr(self.callback, "settings", None)
            key = error.option_name.removeprefix("--").replace("-", "_")
            if load_class is not None and key in {field.name for field in dataclasses.fields(load_class())}:
                now = f"{key}=VALUE"
            if now is None:
                raise
            raise UserError(f"{error.option_name} is given as {now} now.") from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        load_class = getattr(self.callback, "settings", None)
        if load_class is not None:
            from raymaskdp import settings

            with formatter.section("Settings, as KEY=VALUE or in the file of --config"):
                formatter.write_dl(settings.help_rows(load_class()), col_max=36)
        super().format_epilog(ctx, formatter)


class _InOrder(click.Group):
    """Lists commands in the order of the path of the data."""

    command_class = _Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        now = OLD_COMMANDS.get(args[0])
        if now in self.commands and args[0] not in self.commands:
            raise UserError(f"The command {args[0]} is called {now} now.")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="raymaskdp")
def cli() -> None:
    """Anonymize videos of people, and train on them with differential privacy.

    The path of the data:

    \b
      anonymize  people in videos become avatars; where that is in doubt they are covered
      prepare    anonymized videos become clips for training
      train      MaskDP or Multi-Clip DP-SGD, with a target epsilon and a ledger
      sweep      many trainings, and the utility-privacy frontier
      report     one HTML file about all of it

    `raymaskdp demo` runs the whole path on synthetic sample videos. Settings are given as a YAML file
    (--config) and as KEY=VALUE, such as `privacy.epsilon=2`. COMMAND --help lists a command's settings, and
    COMMAND --defaults prints them as such a file.
    """


@cli.command(context_settings=CONTEXT)
@click.argument("source")
@click.option("--out", required=True, type=PLACE, help="Folder for the anonymized videos, or its URL.")
@_json_option
@_settings("raymaskdp.anonymize:AnonymizeConfig")
def anonymize(source: str, out: Path | str, settings: Any, as_json: bool) -> int:
    """Replace everyone in SOURCE by an avatar.

    SOURCE is a video, a folder, a glob, or a manifest (.parquet or .csv with the column `path`, and
    optionally video_id, label, split, subject, camera), or the URL of one (s3://, gs://). Writes ID.mp4,
    ID.avatar.mp4, ID.npz and ID.json for each video that is proven complete, and manifest.parquet with a
    row for every video: done, quarantined or failed. Running the same command again finishes what is
    missing and redoes nothing.
    """
    from raymaskdp.anonymize import anonymize as run

    result = run(source, out, settings)
    _show(result, as_json)
    return 1 if result.failed else 0


@cli.command(context_settings=CONTEXT)
@click.argument("source")
@click.option("--out", required=True, help="Folder, or URL of an object store, for the clip store.")
@_json_option
@_settings("raymaskdp.train.data.prepare_job:PrepareJob")
def prepare(source: str, out: str, settings: Any, as_json: bool) -> int:
    """Turn the anonymized videos in SOURCE into a clip store for training.

    Running the same command again keeps what is complete and unchanged. The exit status is 1 if some could
    not be read.
    """
    from raymaskdp.train import prepare as run

    result = run(source, out, settings.settings, workers=settings.workers)
    _show(result, as_json)
    return 1 if result.failed else 0


@cli.command(context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.train:TrainConfig", source="data", out="out")
def train(settings: Any, as_json: bool) -> None:
    """Train a model on the clip store DATA up to a privacy budget.

    Writes a run folder with the checkpoint, the privacy ledger and the training curve. The folder's name
    holds a digest of settings and data, so the same command resumes an interrupted run, and says so when
    the run is finished.
    """
    from raymaskdp.train import train as run

    _show(run(settings), as_json)


@cli.command(context_settings=CONTEXT)
@click.argument("run", type=PATH)
@_json_option
@_settings("raymaskdp.options:EvaluateOptions")
def evaluate(run: Path, settings: Any, as_json: bool) -> None:
    """Measure the model of the run folder RUN on its test videos."""
    from raymaskdp.train import evaluate as run_evaluation

    _show(run_evaluation(run, **vars(settings)), as_json)


@cli.command(context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.sweep:SweepConfig", source="train.data", out="out")
def sweep(settings: Any, as_json: bool) -> None:
    """Train on the clip store DATA over a grid of settings, and draw the utility-privacy frontier.

    Writes the results table, the frontier as a plot, the privacy cost of choosing, and the best
    configuration. An interrupted sweep resumes.
    """
    from raymaskdp.sweep import sweep as run

    _show(run(settings), as_json)


@cli.command(context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="The HTML file (FOLDER/report.html).")
@_json_option
@_settings("raymaskdp.options:ReportOptions")
def report(folder: Path, out: Path | None, settings: Any, as_json: bool) -> None:
    """Write one self-contained HTML file about everything found below FOLDER."""
    from raymaskdp.report import report as run

    _show(run(folder, out, **vars(settings)), as_json)


@cli.command(context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="The HTML file (FOLDER-review.html beside FOLDER).")
@click.option("--release", multiple=True, metavar="ID", help="Let this video through the doubts named.")
@click.option("--drop", multiple=True, metavar="ID", help="Keep this video back for good.")
@click.option("--by", default="", metavar="NAME", help="Who decides.")
@click.option("--because", default="", metavar="TEXT", help="Why.")
@_json_option
def review(folder: Path, out: Path | None, as_json: bool, **decision: Any) -> None:
    """Look at the quarantined videos of FOLDER, and release or drop some, on the record.

    The page shows frames of the sources: people as they are. A released video is done by the next run of
    the same `anonymize` command; what is counted, such as surviving pixels, cannot be released.
    """
    from raymaskdp.report.review import review as run

    _show(run(folder, out, **decision), as_json)


@cli.command(context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.option("--out", required=True, type=PATH, help="The picture, .png or .jpg.")
@_json_option
@_settings("raymaskdp.options:SheetOptions")
def sheet(folder: Path, out: Path, settings: Any, as_json: bool) -> None:
    """Draw a contact sheet of the anonymized videos in FOLDER, from what was taken out to the output."""
    from raymaskdp.report.pictures.contact_sheet import sheet as run

    _show(run(folder, out, **vars(settings)), as_json)


@cli.group(cls=_InOrder)
def dataset() -> None:
    """Official datasets and sample data."""


@dataset.command("list", context_settings=CONTEXT)
@_json_option
def list_datasets(as_json: bool) -> None:
    """The datasets that can be imported, and their options."""
    from raymaskdp.datasets.importing import list_datasets as run

    _show(run(), as_json)


@dataset.command("import", context_settings=CONTEXT)
@click.argument("name")
@click.argument("root", type=PATH)
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", required=True, type=PATH, help="The manifest, a .parquet file.")
@_json_option
def import_dataset(name: str, root: Path, options: tuple[str, ...], out: Path, as_json: bool) -> int:
    """Read the dataset NAME from ROOT, check it, and write its manifest.

    ROOT is the folder that the official archives unpack into. Exit status 1 says that something is wrong
    with the data; it is listed, and what could not be used is left out.
    """
    from raymaskdp.datasets.importing import import_dataset as run

    result = run(name, root, out, config.overrides_to_dict(options))
    _show(result, as_json)
    return 1 if result.problems else 0


@dataset.command(context_settings=CONTEXT)
@click.option("--out", required=True, type=PATH, help="Folder for videos, ground truth and manifest.")
@_json_option
@_settings("raymaskdp.synthetic.synthesize:SynthesizeConfig")
def synthesize(out: Path, settings: Any, as_json: bool) -> None:
    """Render labelled videos of synthetic people, with exact ground truth."""
    from raymaskdp.synthetic.synthesize import synthesize as run

    _show(run(out, settings), as_json)


@cli.group(cls=_InOrder)
def privacy() -> None:
    """Privacy arithmetic, and the check of a run's ledger."""


def _show_price(settings: Any, as_json: bool) -> None:
    from raymaskdp.privacy import PrivacyPlan, commands

    _show(commands.price(PrivacyPlan.calibrate(**vars(settings))), as_json)


@privacy.command(context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.options:EpsilonOptions")
def epsilon(settings: Any, as_json: bool) -> None:
    """The ε that a noise multiplier costs."""
    _show_price(settings, as_json)


@privacy.command(context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.options:SigmaOptions")
def sigma(settings: Any, as_json: bool) -> None:
    """The noise multiplier that keeps a run within ε."""
    _show_price(settings, as_json)


@privacy.command(context_settings=CONTEXT)
@click.argument("ledger", type=PATH)
@_json_option
@_settings("raymaskdp.options:VerifyOptions")
def verify(ledger: Path, settings: Any, as_json: bool) -> None:
    """Recompute with a second library what the run of LEDGER (or a run folder) cost, and check its claims."""
    from raymaskdp.train.promise.check import verify as run

    _show(run(ledger, **vars(settings)), as_json)


@privacy.command(context_settings=CONTEXT)
@click.argument("data")
@_json_option
@_settings("raymaskdp.options:BudgetOptions")
def budget(data: str, settings: Any, as_json: bool) -> None:
    """What all runs on the clip store DATA have cost together, and the limit of the next ones."""
    from raymaskdp.train.promise.check import budget_of

    _show(budget_of(data, **vars(settings)), as_json)


@cli.group(cls=_InOrder)
def audit() -> None:
    """Attacks on anonymized videos and on private training; exit status 1 says that a leak was found."""


@audit.command("anonymization", context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.argument("sources", type=PATH)
@click.option("--out", type=PATH, help="Folder for the outcome (FOLDER-audit beside FOLDER).")
@_json_option
@_settings("raymaskdp.audit:AnonymizationAuditConfig")
def audit_anonymization(folder: Path, sources: Path, out: Path | None, settings: Any, as_json: bool) -> int:
    """Try to find the people of SOURCES in the anonymized videos of FOLDER.

    SOURCES is the manifest, or the folder, that was anonymized.
    Attackers of appearance and motion are trained here, each beside a control; leaks, faces, action and pose
    are measured. Reads the source videos; writes figures, and no frame of them.
    """
    from raymaskdp.audit import audit_anonymization as run

    result = run(folder, sources, out, settings)
    _show(result, as_json)
    return 1 if result.findings else 0


@audit.command("training", context_settings=CONTEXT)
@click.argument("run", type=PATH, required=False)
@click.option("--out", type=PATH, default=Path("audit-training"), show_default=True, help="For the outcome.")
@_json_option
@_settings("raymaskdp.audit:TrainingAuditConfig")
def audit_training(run: Path | None, out: Path, settings: Any, as_json: bool) -> int:
    """Try to learn from private training more than its epsilon allows.

    Without RUN, the private step at a reference plan; with it, the step of that run, too. `models=8` also
    trains eight models as RUN was, and attacks them by membership inference. Status 1 says that more was
    proven than is claimed, or that a program that is broken on purpose was not caught.
    """
    from raymaskdp.audit import audit_training as run_audit

    result = run_audit(run, out, settings)
    _show(result, as_json)
    return 1 if result.findings else 0


@cli.group(cls=_InOrder)
def models() -> None:
    """Model files that the commands need."""


@models.command(context_settings=CONTEXT)
@click.argument("name", required=False, metavar="[sd15-depth|sdxl-depth|wan-vace]")
@click.option("--quiet", is_flag=True, help="Say nothing if everything is there.")
@_json_option
def pull(name: str | None, quiet: bool, as_json: bool) -> None:
    """Fetch and build the networks and the body that `anonymize` needs; does nothing where they exist.

    With a NAME, fetch the weights of that backend of `composite.refine=diffusion` from the Hugging Face hub.
    """
    if name is not None:
        from raymaskdp.anonymize.compose.diffusion.weights import pull_diffusion

        _show(pull_diffusion(name), as_json)
        return
    from raymaskdp.anonymize.people.networks.pose_model import pull_pose_model
    from raymaskdp.anonymize.verify.ssd import pull_ssd
    from raymaskdp.bodies.build import ensure_body

    detector, _ = pull_ssd()
    files = {"pose": str(pull_pose_model()), "detector": str(detector), "body": str(ensure_body())}
    if as_json:
        print(json.dumps(files))
    elif not quiet:
        for name, path in files.items():
            print(f"{name}: {path}")


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a job runs and what comes along."""
    options = [
        ADDRESS,
        click.option("--working-dir", type=PATH, help="A folder to upload, for plugins of your own."),
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
    _show(result, as_json)
    return jobs.EXIT_STATUS[result.state]


@cli.group(cls=_InOrder)
def submit() -> None:
    """Run a command as a job on a Ray cluster; exits 0 succeeded, 1 failed, 3 stopped, 4 still running.

    The job's id is a digest of what it does: submitting the same again attaches to it. After one that
    failed or was stopped another try, ID-2, goes on where that one was. Paths are the cluster's.
    """


@submit.command("anonymize", context_settings=CONTEXT)
@click.argument("source")
@click.option("--out", required=True, help="Folder for the anonymized videos.")
@_job_options
@_settings("raymaskdp.anonymize:AnonymizeConfig")
def submit_anonymize(source: str, out: str, settings: Any, **job: Any) -> int:
    """Replace everyone in SOURCE by an avatar, on a cluster."""
    return _submit("anonymize", settings, [source, "--out", out], **job)


@submit.command("train", context_settings=CONTEXT)
@_job_options
@_settings("raymaskdp.train:TrainConfig", source="data", out="out")
def submit_train(settings: Any, **job: Any) -> int:
    """Train a model on the clip store DATA up to a privacy budget, on a cluster."""
    return _submit("train", settings, [], **job)


@submit.command("sweep", context_settings=CONTEXT)
@_job_options
@_settings("raymaskdp.sweep:SweepConfig", source="train.data", out="out")
def submit_sweep(settings: Any, **job: Any) -> int:
    """Train on the clip store DATA over a grid of settings, on a cluster."""
    return _submit("sweep", settings, [], **job)


@cli.group(cls=_InOrder)
def job() -> None:
    """The jobs on a Ray cluster."""


@job.command("list", context_settings=CONTEXT)
@ADDRESS
@_json_option
def list_jobs(address: str | None, as_json: bool) -> None:
    """The jobs that the cluster knows."""
    from raymaskdp.operate import jobs

    _show(jobs.jobs(address=address), as_json)


def _job_command(name: str, text: str) -> None:
    @job.command(name, context_settings=CONTEXT, help=text)
    @click.argument("job_id", metavar="ID")
    @ADDRESS
    @_json_option
    def command(job_id: str, address: str | None, as_json: bool) -> int:
        from raymaskdp.operate import jobs

        result = getattr(jobs, name)(job_id, address=address)
        _show(result, as_json)
        return 0 if name == "stop" else jobs.EXIT_STATUS[result.state]


_job_command("status", "Where the job ID is; exits 0 succeeded, 1 failed, 3 stopped, 4 still running.")
_job_command("follow", "Print the output of the job ID until it ends.")
_job_command("stop", "End the job ID; submitting it again goes on where it was.")


@cli.command(context_settings=CONTEXT)
@click.argument("source")
@_json_option
@_settings("raymaskdp.operate.estimate:EstimateConfig", out="out")
def estimate(source: str, settings: Any, as_json: bool) -> None:
    """Estimate what anonymizing SOURCE takes: time, machines, storage, money.

    A few of its videos are done here to learn from. `nodes=[8,64] workers=16 node_start=180 price=1.2
    losses=0.05` is for 8 and for 64 spot machines of 16 workers; `profile=` and `run=` learn from other
    machines.
    """
    from raymaskdp.operate.estimate import estimate as run

    _show(run(source, settings), as_json)


@cli.command(context_settings=CONTEXT)
@click.argument("folder", type=PLACE)
@_json_option
def status(folder: Path | str, as_json: bool) -> None:
    """How far the runs below FOLDER are, seen from outside while they go on.

    Of a URL, what `anonymize` has written there.
    """
    from raymaskdp.operate.progress import status as run

    _show(run(folder), as_json)


@cli.command(context_settings=CONTEXT)
@click.option("--launch", type=PATH, help="Check this launch file (cluster/) instead of the machine.")
@click.option(
    "--gpus", type=click.IntRange(min=0), default=64, help="GPUs that the launch file is to reach (64)."
)
@_json_option
def doctor(launch: Path | None, gpus: int, as_json: bool) -> int:
    """Check this machine: OpenGL, GPU, codecs, model files, versions, disk; with a line to fix each."""
    from raymaskdp.operate.doctor import doctor as run
    from raymaskdp.operate.launch.check import inspect

    result = run() if launch is None else inspect(launch, gpus=gpus)
    _show(result, as_json)
    return 0 if result.healthy else 1


@models.command("train-lift", context_settings=CONTEXT)
@click.option("--out", required=True, type=PATH, help="The file to write, fitting/lift.npz of bodies.")
@click.option("--work", required=True, type=PATH, help="Folder for the films; kept.")
@_json_option
@_settings("raymaskdp.synthetic.lift.training:LiftTrainingConfig")
def train_lift(out: Path, work: Path, settings: Any, as_json: bool) -> None:
    """Teach the network that takes the bias out of MediaPipe's landmarks; takes half an hour."""
    from raymaskdp.synthetic.lift.training import train_lift as run

    _show(run(out, work, settings), as_json)


@models.command("train-refiner", context_settings=CONTEXT)
@click.option(
    "--out", required=True, type=PATH, help="The file to write, relight.safetensors of the package."
)
@click.option("--work", required=True, type=PATH, help="Folder for what is drawn; kept.")
@_json_option
@_settings("raymaskdp.synthetic.relight.training:RefinerTrainingConfig")
def train_refiner(out: Path, work: Path, settings: Any, as_json: bool) -> None:
    """Teach the network of `composite.refine=embedded` from drawn scenes; takes half an hour."""
    from raymaskdp.synthetic.relight.training import train_refiner as run

    _show(run(out, work, settings), as_json)


@cli.group(cls=_InOrder)
def benchmark() -> None:
    """Measurements beside peers, paired in one run."""


@benchmark.command("dp-step", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.dp_step:DpStepConfig")
def dp_step(settings: Any, as_json: bool) -> None:
    """Time and memory of a private training step, beside plain SGD and Opacus."""
    from raymaskdp.benchmarks.dp_step import benchmark_dp_step

    _show(benchmark_dp_step(settings), as_json)


@benchmark.command("digits", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.digits:DigitsConfig")
def digits(settings: Any, as_json: bool) -> None:
    """What each masked mechanism learns for its ε, on scikit-learn's digits."""
    from raymaskdp.benchmarks.digits import benchmark_digits

    _show(benchmark_digits(settings), as_json)


@benchmark.command("digits-opacus", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.digits_opacus:DigitsOpacusConfig")
def digits_opacus(settings: Any, as_json: bool) -> None:
    """DP-SGD on scikit-learn's digits, beside a few lines of Opacus."""
    from raymaskdp.benchmarks.digits_opacus import benchmark_digits_opacus

    _show(benchmark_digits_opacus(settings), as_json)


@benchmark.command("schemes", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.schemes:SchemesConfig")
def schemes(settings: Any, as_json: bool) -> None:
    """What each fine-tuning scheme costs, and what keeping features saves."""
    from raymaskdp.benchmarks.schemes import benchmark_schemes

    _show(benchmark_schemes(settings), as_json)


@benchmark.command("train-scaling", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.train_scaling:TrainScalingConfig")
def train_scaling(settings: Any, as_json: bool) -> None:
    """Clips a second of training in process and on workers of Ray Train; for public data only."""
    from raymaskdp.benchmarks.train_scaling import benchmark_train_scaling

    _show(benchmark_train_scaling(settings), as_json)


@benchmark.command("stages", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.stages:StagesConfig")
def benchmark_stages(settings: Any, as_json: bool) -> None:
    """Where the time of `anonymize` goes, stage by stage, at several sizes of frame."""
    from raymaskdp.benchmarks.stages import benchmark_stages as run

    _show(run(settings), as_json)


@benchmark.command("real", context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the outputs; it is resumed.")
@_json_option
@_settings("raymaskdp.benchmarks.real:RealConfig")
def benchmark_real(folder: Path, out: Path, settings: Any, as_json: bool) -> None:
    """What `anonymize` does with real clips: how many come out, as what, and who is still seen."""
    from raymaskdp.benchmarks.real import benchmark_real as run

    _show(run(folder, out, settings), as_json)


@benchmark.command("fidelity", context_settings=CONTEXT)
@click.option("--out", type=PATH, required=True, help="Folder for everything that is made; it is resumed.")
@_json_option
@_settings("raymaskdp.benchmarks.fidelity:FidelityConfig")
def benchmark_fidelity(out: Path, settings: Any, as_json: bool) -> None:
    """What anonymizing costs the action: a head on sources, anonymized videos and empty rooms."""
    from raymaskdp.benchmarks.fidelity import benchmark_fidelity as run

    _show(run(out, settings), as_json)


@benchmark.command("estimate", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.cost_estimate:CostEstimateConfig")
def benchmark_estimate(settings: Any, as_json: bool) -> None:
    """The wall time that `raymaskdp estimate` predicts, beside that of the runs, on one worker and two."""
    from raymaskdp.benchmarks.cost_estimate import benchmark_estimate as run

    _show(run(settings), as_json)


@benchmark.command("anonymize", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.anonymize:BenchmarkAnonymizeConfig")
def benchmark_anonymize(settings: Any, as_json: bool) -> None:
    """What Ray costs `anonymize` and gains: beside a plain loop, on one worker and two; memory by length."""
    from raymaskdp.benchmarks.anonymize import benchmark_anonymize as run

    _show(run(settings), as_json)


@benchmark.command("refine", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.diffusion.refine:RefineBenchmarkConfig")
def refine(settings: Any, as_json: bool) -> None:
    """How still refined avatars stay on their surface: render, harmonize, and diffusion in two ways."""
    from raymaskdp.benchmarks.diffusion.refine import benchmark_refine

    _show(benchmark_refine(settings), as_json)


@benchmark.command("relight", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.diffusion.relight:RelightConfig")
def relight(settings: Any, as_json: bool) -> None:
    """How near avatars come to the true light of drawn rooms: harmonized, and with the embedded network."""
    from raymaskdp.benchmarks.diffusion.relight import benchmark_relight

    _show(benchmark_relight(settings), as_json)


@benchmark.command("refine-cost", context_settings=CONTEXT)
@_json_option
@_settings("raymaskdp.benchmarks.diffusion.refine_cost:RefineCostConfig")
def refine_cost(settings: Any, as_json: bool) -> None:
    """Seconds and memory of diffusion by size, and with ways to save memory."""
    from raymaskdp.benchmarks.diffusion.refine_cost import benchmark_refine_cost

    _show(benchmark_refine_cost(settings), as_json)


@cli.command(context_settings=CONTEXT)
@click.option("--out", type=PATH, default=Path("demo-out"), show_default=True, help="Folder for everything.")
@_json_option
def demo(out: Path, as_json: bool) -> None:
    """Run the whole path on sample videos, ending with a report."""
    from raymaskdp.demo import demo as run

    _show(run(out), as_json)


if __name__ == "__main__":
    sys.exit(main())
