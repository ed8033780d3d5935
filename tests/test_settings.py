"""Settings that can be seen: in help, as commented YAML, and as a JSON Schema, all from the dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import jsonschema
import pytest
import yaml
from annotated_types import Unit
from click.testing import CliRunner

from raymaskdp import check, cli, config, settings
from raymaskdp.cli import program
from raymaskdp.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """What is inside.

    Attributes:
      low, high: the ends.
      sizes: of it,
        in two lines.
    """

    low: Annotated[float, check.Range(0, 1, open_high=True)] = 0.5
    high: Annotated[float, check.POSITIVE, Unit("px")] | None = None
    sizes: tuple[Annotated[int, check.Range(1)], ...] = (1, 2)

    def __post_init__(self) -> None:
        check.fields(self, "inner")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """All of it.

    Attributes:
      steps: how many.
      kind: which.
      spare: not used by default.
      rest: neither.
    """

    steps: int
    kind: Literal["a", "b"] = "a"
    path: Path = Path("x")
    must: Inner
    changed: Inner = field(default_factory=lambda: Inner(low=0.25))
    spare: Inner | None = None
    rest: Needed | None = None


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What must be given, if it is.

    Attributes:
      name: of it.
    """

    name: str


def groups(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], type[Any]]]:
    """Commands with settings, and the class of these."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *names, name)
        elif hasattr(command.callback, "settings"):
            yield (*names, name), command.callback.settings()


CONFIGS = list(groups(cli.cli))
NAMES = [" ".join(names) for names, _ in CONFIGS]


def leaves(some: tuple[settings.Setting, ...]) -> Iterator[settings.Setting]:
    for one in some:
        yield from leaves(one.group) if one.group else (one,)


def test_help_gives_type_range_unit_default_and_one_line() -> None:
    rows = dict(settings.help_rows(Outer))
    assert rows["steps"] == "how many. [int; required]"
    assert rows["kind"] == "which. [a | b; default a]"
    assert rows["must.low"] == "the ends. [float in [0, 1); default 0.5]"
    assert rows["changed.low"] == "the ends. [float in [0, 1); default 0.25]"
    assert rows["must.high"] == "the ends. [float > 0, px or null; default null]"
    assert rows["must.sizes"] == "of it, in two lines. [list of int ≥ 1; default [1, 2]]"
    assert "spare.high" in rows
    assert rows["rest.name"] == "of it. [text; required if rest is given]"


def test_defaults_can_be_filled_in_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "outer.yaml"
    path.write_text(settings.commented_yaml(Outer))
    assert "# steps:    (required)" in path.read_text()
    assert "# name:    (required if rest is given)" in path.read_text()
    assert "\nmust:\n" in path.read_text()  # required groups are no secret
    assert config.load(Outer, path, ["steps=5"]) == Outer(steps=5, must=Inner())


@pytest.mark.parametrize("value", [{"low": 1.0}, {"high": 0}, {"sizes": [1, 0]}, {"low": -0.1}])
def test_ranges_hold_at_the_field_and_in_the_schema(value: dict[str, Any]) -> None:
    (name,) = value
    with pytest.raises(UserError, match=rf"inner\.{name} must be"):
        config.build(Inner, value, where="test")
    assert not jsonschema.Draft202012Validator(settings.json_schema(Inner)).is_valid(value)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"inner\.low must be"):
        Inner(low=float("nan"))


@pytest.mark.parametrize(("names", "cls"), CONFIGS, ids=NAMES)
def test_every_setting_of_every_command_has_a_line(names: tuple[str, ...], cls: type[Any]) -> None:
    assert [one.key for one in leaves(settings.settings_of(cls)) if not one.about] == []


@pytest.mark.parametrize(("names", "cls"), CONFIGS, ids=NAMES)
def test_defaults_are_what_the_schema_allows(names: tuple[str, ...], cls: type[Any]) -> None:
    schema = settings.json_schema(cls)
    jsonschema.Draft202012Validator.check_schema(schema)
    given = yaml.safe_load(settings.commented_yaml(cls))
    missing = {field.name for field in dataclasses.fields(cls)} - given.keys()
    problems = list(jsonschema.Draft202012Validator(schema).iter_errors(given))
    assert all(one.validator == "required" for one in problems), problems
    assert all(any(f"'{name}'" in one.message for one in problems) for name in missing)


def test_epsilon_is_among_the_defaults_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["train", "--defaults"])
    assert yaml.safe_load(capsys.readouterr().out)["privacy"]["epsilon"] is None
    cli.main(["train", "--help"])
    assert "privacy.epsilon" in capsys.readouterr().out


def test_the_command_line_starts_at_once() -> None:
    command = [sys.executable, "-m", "raymaskdp", "--help"]
    loaded = (
        "import sys, raymaskdp.cli; print([m for m in ('torch', 'numpy', 'ray', 'cv2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.monotonic() - began)
    assert min(took) < 2.0  # 0.2 s on an idle machine; tests share theirs


def _commands() -> Iterator[tuple[str, type]]:
    def walk(command: click.Command, words: list[str]) -> Iterator[tuple[str, type]]:
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, [*words, name])
        elif (load_class := getattr(command.callback, "settings", None)) is not None:
            yield " ".join(words), load_class()

    yield from walk(program.cli, [])


def _singles(some: tuple[settings.Setting, ...]) -> Iterator[settings.Setting]:
    for one in some:
        yield from _singles(one.group) if one.group else (one,)


def _numbers_without_a_range(hint: Any) -> bool:
    if check.intervals(hint):
        return False
    return hint in (int, float) or any(map(_numbers_without_a_range, typing.get_args(hint)))


@pytest.mark.parametrize(("command", "cls"), list(_commands()))
def test_a_number_has_a_range(command: str, cls: type) -> None:
    found = _singles(settings.settings_of(cls))
    assert not [one.key for one in found if _numbers_without_a_range(one.hint)]


@pytest.mark.parametrize(("command", "cls"), list(_commands()))
def test_ranges_are_checked(command: str, cls: type) -> None:
    groups = {cls}
    while (
        more := {
            inner
            for group in groups
            for hint in typing.get_type_hints(group).values()
            for inner in (hint, *typing.get_args(hint))
            if dataclasses.is_dataclass(inner)
        }
        - groups
    ):
        groups |= more
    for group in groups:
        ranged = [name for name, hint in _hints(group).items() if check._has_range(hint)]
        calls = "".join(inspect.getsource(base) for base in group.__mro__ if dataclasses.is_dataclass(base))
        assert not ranged or "check.fields(self" in calls or "check.in_range(" in calls, group


def _hints(group: type) -> dict[str, Any]:
    return typing.get_type_hints(group, include_extras=True)


@pytest.mark.parametrize(("command", "cls"), list(_commands()))
def test_a_text_with_a_fixed_list_shows_it(command: str, cls: type) -> None:
    """A text that its class compares with a list has the list in its type, for help and schema."""
    for group in {cls, *(type(value) for value in _defaults(cls))}:
        source = inspect.getsource(getattr(group, "__post_init__", group))
        for name in re.findall(r'one_of\("(?:\w+\.)*(\w+)"', source):
            assert typing.get_origin(_hints(group)[name]) is Literal, (group, name)


def _defaults(cls: type) -> Iterator[Any]:
    for one in dataclasses.fields(cls):
        if one.default_factory is not dataclasses.MISSING:
            value = one.default_factory()
            if dataclasses.is_dataclass(value):
                yield value


@pytest.mark.parametrize(
    ("command", "key", "choice"),
    [
        ("anonymize", "pose.source", "ntu"),
        ("anonymize", "plate.moving_camera", "blur"),
        ("anonymize", "composite.keep_objects", "all"),
        ("anonymize", "composite.refine", "embedded"),
        ("anonymize", "diffusion.backend", "wan-vace"),
        ("anonymize", "diffusion.scheduler", "lcm"),
        ("train", "scheme", "lora"),
        ("train", "model.name", "mvit-b-16x4"),
        ("privacy sigma", "mechanism", "dpsgd"),
        ("privacy sigma", "adjacency", "replace"),
        ("privacy sigma", "unit", "subject"),
        ("dataset synthesize", "motion", "pan"),
    ],
)
def test_choices_are_in_help_and_schema(command: str, key: str, choice: str) -> None:
    cls = dict(_commands())[command]
    assert choice in dict(settings.help_rows(cls))[key].rpartition("[")[2].partition(";")[0].split(" | ")
    schema = settings.json_schema(cls)
    for part in key.split("."):
        schema = schema["properties"][part]
    assert choice in schema["enum"]


def test_help_speaks_of_null_as_yaml_does() -> None:
    for _, cls in _commands():
        assert not [key for key, text in settings.help_rows(cls) if "None" in text]


@pytest.mark.parametrize(("names", "cls"), CONFIGS, ids=NAMES)
def test_a_unit_is_given_once(names: tuple[str, ...], cls: type[Any]) -> None:
    words = {"px": "pixels", "s": "seconds", "°": "degrees", "Hz": "hertz", "m": "metres"}
    for one in leaves(settings.settings_of(cls)):
        for unit in (word for sign, word in words.items() if f", {sign}" in settings.type_text(one.hint)):
            twice = rf"(^|, |, in |size in |width in |side in ){unit}\b(?! (of|for|apart))"
            assert not re.search(twice, one.about), f"{one.key}: {one.about}"


def test_help_says_what_out_may_be() -> None:
    for names, _ in CONFIGS:
        text = CliRunner().invoke(cli.cli, [*names, "--help"]).output
        assert not re.search(r"--out TEXT", text), names
