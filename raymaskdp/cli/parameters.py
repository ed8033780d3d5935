"""Common parameters and output of commands: places, addresses, and results as text or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from raymaskdp import config, places
from raymaskdp.errors import UserError
from raymaskdp.places import Place

Command = TypeVar("Command", bound=Callable[..., Any])


class _Place(click.ParamType):
    """A path, or a URL of an object store."""

    name = "path or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        place = places.place(value) if isinstance(value, str) else value
        if isinstance(place, Path):
            places.require_ordinary(place)
        return place


class _Path(_Place):
    """A path; URLs are refused with a sentence, instead of creating folders with such names."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return places.only_local(super().convert(value, param, ctx), why="this works on local files")


PLACE, PATH = _Place(), _Path()


ADDRESS = click.option("--address", help="The job server, such as http://127.0.0.1:8265.")


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def show(result: Any, as_json: bool) -> None:
    """Print a result: its fields as JSON, or its `str` for people."""
    if as_json:
        text = places.printable(json.dumps(config.to_dict(result), ensure_ascii=False))
    else:
        text = "\n".join(map(places.visible, str(result).split("\n")))
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in its buffer
        raise UserError(
            f"Cannot write to the standard output ({error.strerror}); the command itself is done."
        ) from error
