"""Every command in the README and the docs is one that the command line understands (nothing is run)."""

import re
import shlex
from pathlib import Path

import click
import pytest

from raymaskdp.cli import cli
from raymaskdp.errors import UserError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "cluster" / "README.md"]


def commands(text: str) -> list[str]:
    """Commands in code blocks (indented or fenced) of a page, with lines that go on joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^(?: {4,}|\$ )?(?:\$ )?(raymaskdp [^\n]*)$", joined, re.M)
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```", joined, re.M | re.S))
    return [
        line
        for line in found
        if f"    {line}" in joined or line in fenced or line.startswith("raymaskdp demo")
    ]


def arguments(command: str) -> list[str]:
    """The words of a command line: without comments, and up to a pipe or another command."""
    words = shlex.split(command, comments=True)[1:]
    ends = [place for place, word in enumerate(words) if word in {"&&", "|", ";", ">", "2>"}]
    return words[: ends[0]] if ends else words


def parse(words: list[str]) -> click.Context:
    """Parse as the command line does, down to the command, and stop before it runs."""
    command: click.Command = cli
    context = cli.make_context("raymaskdp", list(words))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        assert name is not None
        command, context = found, found.make_context(name, rest, parent=context)
    return context


EXAMPLES = [(page.name, line) for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), EXAMPLES, ids=[f"{page}: {line[:60]}" for page, line in EXAMPLES])
def test_the_command_line_understands(page: str, line: str) -> None:
    words = arguments(line)
    if words[-1:] in (["--help"], ["--version"]) or "--defaults" in words:
        words = words[:-1]  # these print and leave; that the command is there is what counts
        assert not words or cli.get_command(click.Context(cli), words[0])
        return
    context = parse(words)
    words = context.params.get("overrides", ())
    by_place = context.info_name in ("train", "sweep") and words and "=" not in words[0]
    for text in words[1:] if by_place else words:
        assert text in ("...", "…") or re.match(r"^[\w.]+=", text), f"{page}: {text} is no KEY=VALUE"


def test_examples_are_found_and_wrong_ones_refused() -> None:
    assert len(EXAMPLES) > 20
    assert any("audit" in line for _, line in EXAMPLES)
    for wrong in ("evaluate", "anonymize x", "train --no-such-option", "nothing"):
        with pytest.raises((click.ClickException, UserError)):
            parse(wrong.split())
