"""Commands on videos: data sets, anonymization, and the review of quarantined videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raymaskdp import config
from raymaskdp.cli.command_classes import CONTEXT, command, group
from raymaskdp.cli.parameters import PATH, PLACE, json_option, show
from raymaskdp.cli.settings_of import settings_of
from raymaskdp.places import Place


@command()
@click.argument("source")
@click.option("--out", required=True, type=PLACE, help="Folder for the anonymized videos, or its URL.")
@json_option
@settings_of("raymaskdp.anonymize:AnonymizeConfig")
def anonymize(source: str, out: Place, settings: Any, as_json: bool) -> int:
    """Replace everyone in SOURCE by an avatar.

    SOURCE is a video, a folder, a glob, or a manifest (.parquet or .csv with the column `path`, and
    optionally video_id, label, split, subject, camera), or the URL of one (s3://, gs://). Writes ID.mp4,
    ID.avatar.mp4, ID.npz and ID.json for each verified video, and manifest.parquet with a
    row for every video: done, quarantined or failed. Running the same command again completes
    missing videos and repeats nothing.
    """
    from raymaskdp.anonymize import anonymize as run

    result = run(source, out, settings)
    show(result, as_json)
    return 1 if result.failed else 0


@command()
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="The HTML file (FOLDER-review.html beside FOLDER).")
@click.option("--release", multiple=True, metavar="ID", help="Release this video, accepting its reasons.")
@click.option("--drop", multiple=True, metavar="ID", help="Never release this video.")
@click.option("--by", default="", metavar="NAME", help="Name of the reviewer.")
@click.option("--because", default="", metavar="TEXT", help="Why, in a sentence.")
@json_option
def review(folder: Path, out: Path | None, as_json: bool, **decision: Any) -> None:
    """Review the quarantined videos of FOLDER; release or drop some, with a record.

    The page shows frames of the sources: people as they are. A released video is completed by the next run of
    the same `anonymize` command; measured failures, such as surviving pixels, cannot be released.
    """
    from raymaskdp.report.review import review as run

    show(run(folder, out, **decision), as_json)


@command()
@click.argument("folder", type=PATH)
@click.option("--out", required=True, type=PATH, help="The image, .png or .jpg.")
@json_option
@settings_of("raymaskdp.cli.options:SheetOptions")
def sheet(folder: Path, out: Path, settings: Any, as_json: bool) -> None:
    """Draw a contact sheet of the anonymized videos in FOLDER, from the removed area to the output."""
    from raymaskdp.report.pictures.contact_sheet import sheet as run

    show(run(folder, out, **vars(settings)), as_json)


@group()
def dataset() -> None:
    """Official datasets and sample data."""


@dataset.command("list", context_settings=CONTEXT)
@json_option
def list_datasets(as_json: bool) -> None:
    """The datasets that can be imported, and their options."""
    from raymaskdp.datasets.importing import list_datasets as run

    show(run(), as_json)


@dataset.command("import", context_settings=CONTEXT)
@click.argument("name")
@click.argument("root", type=PATH)
@click.argument("options", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", required=True, type=PATH, help="The manifest, a .parquet file.")
@json_option
def import_dataset(name: str, root: Path, options: tuple[str, ...], out: Path, as_json: bool) -> int:
    """Read the dataset NAME from ROOT, check it, and write its manifest.

    ROOT is the folder that the official archives unpack into. Exit status 1 means that there are problems
    with the data; they are listed, and unusable files are omitted.
    """
    from raymaskdp.datasets.importing import import_dataset as run

    result = run(name, root, out, config.overrides_to_dict(options))
    show(result, as_json)
    return 1 if result.problems else 0


@dataset.command(context_settings=CONTEXT)
@click.option("--out", required=True, type=PATH, help="Folder for videos, ground truth and manifest.")
@json_option
@settings_of("raymaskdp.synthetic.config:SynthesizeConfig")
def synthesize(out: Path, settings: Any, as_json: bool) -> None:
    """Render labelled videos of synthetic people, with exact ground truth."""
    from raymaskdp.synthetic.synthesize import synthesize as run

    show(run(out, settings), as_json)
