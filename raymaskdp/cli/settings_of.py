"""The settings of a command: KEY=VALUE arguments, --config, --defaults and --schema."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from raymaskdp import config
from raymaskdp.cli.parameters import PATH
from raymaskdp.errors import UserError


def settings_of(
    place: str, *, source: str = "", out: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command its configuration, an instance of the class at `place` ("module:Class").

    Inputs are positional and outputs are given by `--out`, as in all commands: `source` is the setting whose
    value is the first word without "=", and `out` the one that `--out` sets. The rest is read from `--config
    FILE` and KEY=VALUE arguments. `--help` lists the settings, `--defaults` prints them as YAML, `--schema`
    as a JSON Schema.
    """
    word = source.rpartition(".")[2].upper()

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
            try:
                settings = config.load(load_class(), config_path, placed)
            except config.MissingSetting as error:
                raise _input_first(error, source) if source in error.keys else error from None
            return command(settings=settings, **arguments)

        metavar = f"[{word}] [KEY=VALUE]..." if source else "[KEY=VALUE]..."
        add_overrides = click.argument("overrides", nargs=-1, metavar=metavar)
        if out:
            about = f"Output folder; the setting {out}."
            add_out = click.option("--out", "placed_out", metavar="PATH", help=about)
            with_settings = add_out(with_settings)
        also = f" It may have {word}, too, as {source}." if source else ""
        about_config = f"YAML file with settings.{also}"
        add_config = click.option("--config", "config_path", type=PATH, help=about_config)
        add_defaults = printing("--defaults", "Print all settings as commented YAML, and exit.", _yaml)
        add_schema = printing("--schema", "Print a JSON Schema of that file, for editors, and exit.", _schema)
        with_settings.settings = load_class  # type: ignore[attr-defined]  # for `SettingsCommand`
        return add_defaults(add_schema(add_config(add_overrides(with_settings))))

    return decorate


def _placed(overrides: Sequence[str], source: str, out: str, where: str | None) -> Iterator[str]:
    """KEY=VALUE of all settings, including positional ones and `--out`."""
    given = False
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and key and key in (source, out):
            instead = value if key == source else f"--out {value}"
            raise UserError(
                f"{word} is now given as {instead}: inputs are positional, and --out is the output."
            )
        if equals or not source or given:
            yield word
        else:
            given = True
            yield f"{source}={json.dumps(word, ensure_ascii=False)}"
    if where is not None:
        yield f"{out}={json.dumps(where, ensure_ascii=False)}"


def _input_first(error: config.MissingSetting, source: str) -> UserError:
    """The error for a missing input, which is not given as KEY=VALUE."""
    others = [key for key in error.keys if key != source]
    also = f", and {', '.join(others)} as KEY=VALUE" if others else ""
    how = f"{click.get_current_context().command_path} {source.rpartition('.')[2].upper()} KEY=VALUE …"
    return UserError(
        f"The input {source} is missing; give it first (`{how}`) or in the file of --config{also}."
    )


def _yaml(cls: type[Any]) -> str:
    from raymaskdp import settings

    return settings.commented_yaml(cls)


def _schema(cls: type[Any]) -> str:
    from raymaskdp import settings

    return f"{json.dumps(settings.json_schema(cls), indent=2, ensure_ascii=False)}\n"
