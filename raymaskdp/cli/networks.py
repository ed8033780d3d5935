"""Commands that download, build or train the networks and the body that other commands need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from raymaskdp.cli.command_classes import CONTEXT, group
from raymaskdp.cli.parameters import PATH, json_option, show
from raymaskdp.cli.settings_of import settings_of


@group()
def models() -> None:
    """Model files for the other commands."""


@models.command(context_settings=CONTEXT)
@click.argument("name", required=False, metavar="[sd15-depth|sdxl-depth|wan-vace]")
@click.option("--quiet", is_flag=True, help="Print nothing if all files exist.")
@json_option
def pull(name: str | None, quiet: bool, as_json: bool) -> None:
    """Download and build the networks and the body that `anonymize` needs; existing files are kept.

    With a NAME, download the weights of that backend of `composite.refine=diffusion` from the Hugging Face
    hub.
    """
    if name is not None:
        from raymaskdp.anonymize.compose.diffusion.weights import pull_diffusion

        show(pull_diffusion(name), as_json)
        return
    from raymaskdp.anonymize.people.networks.pose_model import pull_pose_model
    from raymaskdp.bodies.build import ensure_body

    files = {"pose": str(pull_pose_model()), "body": str(ensure_body())}
    if as_json:
        print(json.dumps(files))
    elif not quiet:
        for name, path in files.items():
            print(f"{name}: {path}")


@models.command("train-lift", context_settings=CONTEXT)
@click.option("--out", required=True, type=PATH, help="The file to write, fitting/lift.npz of bodies.")
@click.option("--work", required=True, type=PATH, help="Folder for the rendered videos; kept.")
@json_option
@settings_of("raymaskdp.synthetic.lift.config:LiftTrainingConfig")
def train_lift(out: Path, work: Path, settings: Any, as_json: bool) -> None:
    """Train the network that corrects the bias of MediaPipe's landmarks; takes half an hour."""
    from raymaskdp.synthetic.lift.training import train_lift as run

    show(run(out, work, settings), as_json)


@models.command("train-refiner", context_settings=CONTEXT)
@click.option(
    "--out", required=True, type=PATH, help="The file to write, relight.safetensors of the package."
)
@click.option("--work", required=True, type=PATH, help="Folder for the rendered data; kept.")
@json_option
@settings_of("raymaskdp.synthetic.relight.config:RefinerTrainingConfig")
def train_refiner(out: Path, work: Path, settings: Any, as_json: bool) -> None:
    """Train the network of `composite.refine=embedded` on rendered scenes; takes half an hour."""
    from raymaskdp.synthetic.relight.training import train_refiner as run

    show(run(out, work, settings), as_json)
