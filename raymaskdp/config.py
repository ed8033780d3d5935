"""Typed configuration: frozen dataclasses ⇄ YAML, with `key.sub=value` overrides.

>>> @dataclasses.dataclass(frozen=True)
... class Optimizer:
...     name: str = "adamw"
...     learning_rate: float = 1e-3
>>> build(Optimizer, {"learning_rate": 3}, where="train")
Optimizer(name='adamw', learning_rate=3.0)
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import os
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from raymaskdp.errors import Damaged, UserError
from raymaskdp.files import read_json
from raymaskdp.places import LocalPath, is_url, require_ordinary

LONGEST_NAME = 255
"""Bytes of the longest file name of Linux file systems."""

COMMAND = "the command"
"""Where settings are that no file gives."""

T = TypeVar("T")


def load(cls: type[T], path: LocalPath | None, overrides: Iterable[str] = ()) -> T:
    """Read a YAML file (or nothing) and `key.sub=value` overrides into the dataclass `cls`.

    Raises `UserError` for a file that is missing or not a mapping, an unknown key, or a value of the wrong
    type; the message names the file and the dotted key.
    """
    where, values = (COMMAND, {}) if path is None else (str(path), read_yaml(path))
    return build(cls, _overridden(values, overrides), where=where)


def overrides_to_dict(overrides: Iterable[str]) -> dict[str, Any]:
    """Plain values of `key.sub=value` overrides; raises `UserError` for another form."""
    return _overridden({}, overrides)


def read_yaml(path: LocalPath) -> dict[str, Any]:
    """The mapping in a YAML file (safe loading only: tags are never executed)."""
    require_ordinary(path, "The configuration")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"The file {path} is not YAML; give a file of settings.") from error
    except OSError as error:
        raise UserError(
            f"Cannot read the configuration {path} ({error.strerror}); give a YAML file."
        ) from error
    values = _parsed(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"{path} must contain a mapping of settings, but it contains a {type(values).__name__}."
        )
    return values


class _Settings(yaml.SafeLoader):
    """Safe loading that takes no name twice: YAML forbids it, and PyYAML keeps the last in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in lines:
                first, second = lines[key.tag, key.value], key.start_mark.line + 1
                where = f"line {first}" if first == second else f"lines {first} and {second}"
                raise _Twice(f"has {key.value!r} twice, in {where}; take one of them out")
            if isinstance(key, yaml.ScalarNode):
                lines[key.tag, key.value] = key.start_mark.line + 1
        return node


class _Twice(yaml.YAMLError):
    """A name that stands twice."""


def _parsed(text: str, where: str) -> Any:
    """The value of YAML text; raises `UserError` for text that is none."""
    try:
        return yaml.load(text, Loader=_Settings)
    except _Twice as error:
        raise UserError(f"{where} {error}.") from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deeply for settings; correct it.") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where} is not valid YAML{line}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:  # such as a date that is none
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from error


def build(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """An instance of the dataclass `cls` from plain values; nested dataclasses from mappings."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls} is not a dataclass")
    return typing.cast(T, _build(cls, values, where, ""))


def _build(cls: type[Any], values: Mapping[str, Any], where: str, prefix: str) -> Any:
    """`build` of a group of settings; `prefix` is what its keys have before them, such as "privacy."."""
    hints: dict[str, Any] = _hints_of(cls)  # type: ignore[arg-type]  # classes are hashable
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in known:
            now, last = getattr(cls, "RENAMED", {}).get(key), str(key).rpartition(".")[2]
            close = difflib.get_close_matches(str(key), known, n=1)
            elsewhere = [name for name in _names_of(cls) if name.rpartition(".")[2] == last]
            meant = elsewhere[:1] or close
            hint = f"did you mean {prefix + meant[0]!r}?" if meant else f"known settings: {', '.join(known)}."
            hint = hint if now is None else f"it is now called {prefix + now!r}."
            raise UserError(f"Unknown setting {prefix + str(key)!r} in {where}; {hint}")
    arguments: dict[str, Any] = {}
    missing: list[str] = []
    for key, value in values.items():
        try:
            name = f"{prefix}{key}" if where == COMMAND else f"{where}: {prefix}{key}"
            arguments[key] = _convert(hints[key], value, name, where, f"{prefix}{key}.")
        except MissingSetting as error:  # what is wrong with others is said first
            missing += error.keys
    for name, field in known.items():
        if name not in values and _required(field):
            missing += _keys_to_give(hints[name], field, f"{prefix}{name}")
    if missing:
        raise MissingSetting(missing, where)
    return cls(**arguments)


class MissingSetting(UserError):
    """Settings without a default were not given."""

    def __init__(self, keys: list[str], where: str) -> None:
        self.keys = keys
        several = len(keys) > 1
        named = f"settings {', '.join(keys[:-1])} and {keys[-1]} are" if several else f"setting {keys[0]} is"
        super().__init__(f"The {named} missing in {where}; give {'them' if several else 'it'} as KEY=VALUE.")


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _keys_to_give(hint: Any, field: dataclasses.Field[Any], key: str) -> list[str]:
    """The keys that a user gives for a required setting; for a group, those in it.

    A group may be required though none of its settings is: then its field names one, as the metadata "give".
    """
    if not dataclasses.is_dataclass(hint):
        return [key]
    hints = _hints_of(typing.cast(type, hint))
    inner = [
        found
        for one in dataclasses.fields(hint)
        if _required(one)
        for found in _keys_to_give(hints[one.name], one, f"{key}.{one.name}")
    ]
    return inner or [f"{key}.{field.metadata['give']}" if "give" in field.metadata else key]


def _names_of(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a dataclass."""
    for name, hint in _hints_of(cls).items():
        yield f"{prefix}{name}"
        if dataclasses.is_dataclass(hint):
            yield from _names_of(hint, f"{prefix}{name}.")


@functools.cache
def _hints_of(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # slow, and a sweep needs it for every trial


def read_back(cls: type[T], path: LocalPath, *, without: Collection[str] = ()) -> T:
    """An instance of the dataclass `cls` from a JSON file that this project wrote, apart from some names.

    Raises `Damaged` for a file that is incomplete, of another version, or of another kind.
    """
    values = {name: value for name, value in read_json(path).items() if name not in without}
    try:
        return build(cls, values, where=str(path))
    except UserError as error:
        raise Damaged(str(error)) from error


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values (dicts, lists, strings, numbers) of a configuration, fit for YAML and JSON."""
    return typing.cast(dict[str, Any], plain(config))


def to_yaml(config: Any) -> str:
    """YAML text that `load` reads back to an equal configuration."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def assignment(text: str, where: str) -> tuple[str, str]:
    """Name and value of `NAME=VALUE`; raises `UserError` for anything else."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"{where} {text!r} must have the form NAME=VALUE.")
    return name, value


def overrides(config: Any) -> list[str]:
    """`key.sub=value` for all differences of a configuration from its defaults.

    `load(type(config), None, overrides(config))` gives an equal configuration.
    """
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in _differences(config)]


def paths(config: Any, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Dotted keys and values of all paths in a configuration."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if isinstance(value, Path):
            yield key, value
        elif dataclasses.is_dataclass(value):
            yield from paths(value, f"{key}.")


def digest(config: Any) -> str:
    """SHA-256 (hex) of a configuration; equal configurations have equal digests."""
    text = json.dumps(plain(config), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _overridden(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with `key.sub=value` overrides. Raises `UserError` for a setting that is given twice."""
    given: list[str] = []
    for override in overrides:
        key = override.partition("=")[0]
        for before in given:
            if f"{key}.".startswith(f"{before}.") or f"{before}.".startswith(f"{key}."):
                also = "" if before == key else f", as {before} and as {key}"
                raise UserError(f"The setting {min(before, key)} is given twice{also}; take one of them out.")
        given.append(key)
        _override(values, override)
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(
            f"{override!r} is not a setting; settings have the form key=value or key.sub=value, see --help."
        )
    value = _parsed(text, f"The value of {key}")
    *parents, last = key.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(
                f"The override {override!r} is inside {parent!r}, which is not a group of settings."
            )
        values = child
    values[last] = value


def _convert(hint: Any, value: Any, key: str, where: str = "", prefix: str = "") -> Any:
    """`value` as the annotated type `hint`, or a `UserError` that names the place.

    Args:
      key: of the setting, for messages.
      where, prefix: of a group of settings, as in `_build`.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, value, key, where, prefix)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise UserError(f"{key} must be one of {', '.join(map(str, choices))}, but it is {value!r}.")
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        item, *rest = typing.get_args(hint)
        items = [item] * len(value) if rest == [Ellipsis] else [item, *rest]
        if len(value) == len(items):
            return tuple(
                _convert(h, v, f"{key}[{i}]", where, f"{prefix[:-1]}[{i}].")
                for i, (h, v) in enumerate(zip(items, value, strict=True))
            )
    if origin is dict and isinstance(value, Mapping):
        key_hint, item_hint = typing.get_args(hint)
        return {
            _convert(key_hint, k, key): _convert(item_hint, v, f"{key}.{k}", where, f"{prefix}{k}.")
            for k, v in value.items()
        }
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _build(typing.cast(type, hint), value, where, prefix)
        if isinstance(value, typing.cast(type, hint)):
            return value
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-5 as a string
        except ValueError:
            pass
    if hint is Path and isinstance(value, (str, Path)):
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(value).parts):
            raise UserError(
                f"{key} names a file with more than {LONGEST_NAME} bytes, more than file systems support."
            )
        require_ordinary(value, f"{key}:")
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{key} must be {kind_of(hint)}, but it is {value!r}.")


def kind_of(hint: Any) -> str:
    """A type in a sentence: "a whole number", "a list of texts", "2 values: [a number, a number]"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(arm) for arm in inner)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list such as [A, B], each {kind_of(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)}: [{', '.join(kind_of(one) for one in inner)}]"
    if origin is dict or hint is dict or dataclasses.is_dataclass(hint):
        return "a group of settings"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return names.get(hint, "null" if hint is types.NoneType else "a path or URL")


def _convert_union(hint: Any, value: Any, key: str, where: str, prefix: str) -> Any:
    choices = typing.get_args(hint)
    if value is None and type(None) in choices:
        return None
    if Path in choices and isinstance(value, str) and not is_url(value):
        require_ordinary(value, f"{key}:")
    arms = [choice for choice in choices if choice is not types.NoneType]
    failures: list[UserError] = []
    for arm in arms:
        try:
            return _convert(arm, value, key, where, prefix)
        except UserError as error:
            failures.append(error)
    # An arm that a value of this shape is meant for says best what is wrong with it.
    meant = [
        failure
        for arm, failure in zip(arms, failures, strict=True)
        if len(arms) == 1
        or (isinstance(value, Mapping) and (dataclasses.is_dataclass(arm) or typing.get_origin(arm) is dict))
        or (isinstance(value, (list, tuple)) and typing.get_origin(arm) is tuple)
        or (isinstance(value, str) and arm is Path)
    ]
    if meant:
        raise meant[-1]
    raise UserError(f"{key} must be {kind_of(hint)}, but it is {value!r}.")


def _differences(config: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values that differ from the defaults."""
    for field in dataclasses.fields(config):
        value, default = getattr(config, field.name), field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value == default:
            continue
        if dataclasses.is_dataclass(value) and type(value) is type(default):
            for key, inner in _differences(value):
                yield f"{field.name}.{key}", inner
        else:
            yield field.name, plain(value)


def plain(value: Any) -> Any:
    """Dicts, lists, strings and numbers of a configuration or a part of one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
