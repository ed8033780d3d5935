"""Commands whose help lists their settings, groups in the order of the data flow, and old spellings."""

from __future__ import annotations

import collections
import difflib
import functools

import click

from raymaskdp.errors import UserError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


OLD_OPTIONS = {
    "--page": "--out FILE",
    "--pose-model": "pose.landmarks=FILE",
    "--sources": "a second place, after the folder",
}
"""New form of an old option; a setting of the same name is found automatically."""


OLD_COMMANDS = {"plan": "estimate"}


class SettingsCommand(click.Command):
    """A command whose help lists its settings, too, and which names the new form of old options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            self._require_once(ctx, args)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            now = OLD_OPTIONS.get(error.option_name) or self._as_setting(error.option_name)
            if now is not None:
                raise UserError(f"{error.option_name} is given as {now} now.") from error
            if not hasattr(self.callback, "settings") or _is_near(error):
                raise
            raise UserError(
                f"There is no option {error.option_name}; settings are given as KEY=VALUE, "
                f"see `{ctx.command_path} --help`."
            ) from error

    def _as_setting(self, option: str) -> str | None:
        """An option as a setting of this name, or of the only group that has it; None without one."""
        load_class = getattr(self.callback, "settings", None)
        if load_class is None:
            return None
        from raymaskdp import settings

        key = option.removeprefix("--").replace("-", "_")
        names = [name for name, _ in settings.help_rows(load_class())]
        inside = [name for name in names if name.endswith(f".{key}")]
        found = [key] if key in names else inside
        return f"{found[0]}=VALUE" if len(found) == 1 else None

    def _require_once(self, ctx: click.Context, args: list[str]) -> None:
        """Raise `UserError` for an option that is given twice: click keeps the last value in silence."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for param, times in collections.Counter(given).items():
            if times > 1 and isinstance(param, click.Option) and not (param.multiple or param.is_flag):
                raise UserError(f"{max(param.opts, key=len)} is given twice; take one of them out.")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        load_class = getattr(self.callback, "settings", None)
        if load_class is not None:
            from raymaskdp import settings

            with formatter.section("Settings, as KEY=VALUE or in the file of --config"):
                formatter.write_dl(settings.help_rows(load_class()), col_max=36)
        super().format_epilog(ctx, formatter)


def _is_near(error: click.NoSuchOption) -> bool:
    """Whether an option is probably a misspelt one."""
    return bool(difflib.get_close_matches(error.option_name, error.possibilities or [], cutoff=0.75))


class InOrder(click.Group):
    """Lists commands in the order of the data flow."""

    command_class = SettingsCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        now = OLD_COMMANDS.get(args[0])
        if now in self.commands and args[0] not in self.commands:
            raise UserError(f"The command {args[0]} is called {now} now.")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


command = functools.partial(click.command, cls=SettingsCommand, context_settings=CONTEXT)
"""Decorator that makes a command of a function, as `click.command` does."""
group = functools.partial(click.group, cls=InOrder)
"""Decorator that makes a group of commands, as `click.group` does."""
