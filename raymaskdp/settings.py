"""The settings of a command for display: in `--help`, as commented YAML, and as a JSON Schema.

The source is the configuration's dataclass: types and ranges from the fields, and one line each from the
`Attributes:` of its docstring.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from annotated_types import Unit

from raymaskdp import check, config


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, or a group of settings.

    Attributes:
      key: dotted, as in KEY=VALUE.
      hint: its annotated type.
      about: description, one line.
      default: plain value; `dataclasses.MISSING` if the setting is required.
      group: the settings in it; empty for a single setting.
      optional: key of the group in which it is, if that group may be absent; else "".
    """

    key: str
    hint: Any
    about: str
    default: Any
    group: tuple[Setting, ...] = ()
    optional: str = ""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING

    def facts(self) -> str:
        """Type, range, unit and default, such as "float > 0, px; default 4.0"."""
        default = self.when_required if self.required else f"default {yaml_value(self.default)}"
        return f"{type_text(self.hint)}; {default}"

    @property
    def when_required(self) -> str:
        """That it is required, and under which condition."""
        return f"required if {self.optional} is given" if self.optional else "required"


def settings_of(
    cls: type[Any], prefix: str = "", given: Mapping[str, Any] = MappingProxyType({}), optional: str = ""
) -> tuple[Setting, ...]:
    """All settings of a configuration class, in its order.

    Args:
      prefix: of their keys.
      given: default values of a group where it is used; by default those of the class.
      optional: key of the group around them that may be absent.
    """
    about, hints = _attributes(cls), typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        key, hint = f"{prefix}{field.name}", hints[field.name]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        default = given.get(field.name, default if default is dataclasses.MISSING else config.plain(default))
        inner = _group_of(hint)
        used = default if isinstance(default, dict) else {}
        around = key if inner and default is None else optional
        found.append(
            Setting(
                key=key,
                hint=hint,
                about=about.get(field.name) or (_first_sentence(inner) if inner else ""),
                default=default,
                group=settings_of(inner, f"{key}.", used, around) if inner else (),
                optional=optional,
            )
        )
    return tuple(found)


def help_rows(cls: type[Any]) -> list[tuple[str, str]]:
    """Key and text of every single setting, for `--help`."""

    def rows(some: tuple[Setting, ...]) -> Iterator[tuple[str, str]]:
        for one in some:
            if one.group:
                yield from rows(one.group)
            else:
                yield one.key, f"{one.about.rstrip('.')}. [{one.facts()}]".removeprefix(". ")

    return list(rows(settings_of(cls)))


def commented_yaml(cls: type[Any]) -> str:
    """All settings and defaults as YAML that `config.load` reads; required ones are commented out."""
    return "".join(f"{line}\n" for line in _yaml_lines(settings_of(cls), ""))


def _yaml_lines(some: tuple[Setting, ...], indent: str) -> Iterator[str]:
    for one in some:
        if one.about:
            yield f"{indent}# {one.about}"
        inner = list(_yaml_lines(one.group, indent + "  "))
        if one.group and (one.required or one.default is not None):
            given = any(not line.lstrip().startswith("#") for line in inner)
            yield f"{indent}{one.name}:" if given else f"{indent}# {one.name}:    ({one.when_required})"
            yield from inner
            continue
        yield f"{indent}# {type_text(one.hint)}"
        if one.required:
            yield f"{indent}# {one.name}:    ({one.when_required})"
        else:
            yield f"{indent}{one.name}: {yaml_value(one.default)}"
        for line in inner:  # the settings of a disabled group
            yield line if line.lstrip().startswith("#") else f"{indent}  # {line.lstrip()}"


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """A JSON Schema (2020-12) of the YAML file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _object(settings_of(cls))


def _object(some: tuple[Setting, ...]) -> dict[str, Any]:
    properties = {}
    for one in some:
        schema = _schema(one.hint, one.group)
        extras = {"description": one.about} if one.about else {}
        properties[one.name] = schema | extras | ({} if one.required else {"default": one.default})
    required = [one.name for one in some if one.required]
    return {"type": "object", "additionalProperties": False, "properties": properties} | (
        {"required": required} if required else {}
    )


def _schema(hint: Any, group: tuple[Setting, ...]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        made = _schema(arguments[0], group)
        for interval in check.intervals(hint):
            limits = {
                "minimum": interval.ge, "maximum": interval.le,
                "exclusiveMinimum": interval.gt, "exclusiveMaximum": interval.lt,
            }  # fmt: skip
            made |= {name: limit for name, limit in limits.items() if limit is not None}
        for named in check.choices(hint):
            made = {"enum": list(named.names())}
        return made
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(arm, group) for arm in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], group)}
    if origin is tuple:
        return {
            "type": "array", "prefixItems": [_schema(one, group) for one in arguments],
            "minItems": len(arguments), "maxItems": len(arguments),
        }  # fmt: skip
    if origin is dict or hint is dict:
        return {"type": "object"}
    if dataclasses.is_dataclass(hint):
        return _object(group)
    if hint is float:  # YAML reads 1e-5 as text, which `config` converts to a number
        return {"type": ["number", "string"], "pattern": r"^[-+0-9.eE]+$"}
    kinds = {bool: "boolean", int: "integer", str: "string", Path: "string", types.NoneType: "null"}
    return {"type": kinds[hint]} if hint in kinds else {}


def type_text(hint: Any) -> str:
    """A type for people: "int ≥ 1", "float > 0, px", "sgd | adam", "path or null"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        for named in check.choices(hint):
            return " | ".join(named.names())
        ranges = [check.range_text(one) for one in check.intervals(hint)]
        units = [one.unit for one in arguments[1:] if isinstance(one, Unit)]
        return ", ".join([" ".join([type_text(arguments[0]), *ranges]), *units])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(arm) for arm in arguments)
    if origin is typing.Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin is tuple:
        inner = [type_text(one) for one in arguments if one is not Ellipsis]
        return f"list of {inner[0]}" if arguments[-1] is Ellipsis else f"[{', '.join(inner)}]"
    if origin is dict or hint is dict:
        return "mapping"
    if dataclasses.is_dataclass(hint):
        return "group"
    names = {types.NoneType: "null", Path: "path", str: "text", Any: "any"}
    return names.get(hint) or str(getattr(hint, "__name__", hint))


def yaml_value(value: Any) -> str:
    """A plain value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").rstrip("\n")


def _group_of(hint: Any) -> type[Any] | None:
    """The dataclass of a group of settings, even if the group is optional."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    found = [arm for arm in arms if dataclasses.is_dataclass(arm)]
    return typing.cast(type, found[0]) if len(found) == 1 else None


def _attributes(cls: type[Any]) -> dict[str, str]:
    """One line for each field, from the `Attributes:` of the class's docstring."""
    found: dict[str, str] = {}
    for base in cls.__mro__[:0:-1]:
        found |= _attributes(base) if dataclasses.is_dataclass(base) else {}
    text = inspect.cleandoc(cls.__doc__ or "")
    names: list[str] = []
    _, _, listed = text.partition("\nAttributes")
    for line in listed.split("\n")[1:]:
        if line and not line.startswith("  "):
            break
        begun = re.match(r"  (\w+(?:, \w+)*): +(.*)", line)
        if begun:
            names = begun[1].split(", ")
            found |= dict.fromkeys(names, begun[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    # A user types null where a programmer writes None.
    return {name: re.sub(r"\bNone\b", "null", line) for name, line in found.items()}


def _first_sentence(cls: type[Any]) -> str:
    """The first line of a class's docstring."""
    return inspect.cleandoc(cls.__doc__ or "").split("\n")[0]
