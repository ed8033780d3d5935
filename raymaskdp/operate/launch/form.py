"""Whether a launch file has a form that Ray or KubeRay accepts: a schema's errors, a sentence for each.

For `ray up` the schemas are Ray's own, and ray_up.schema.yaml in this folder; for KubeRay, whose definitions
are not installed with it, kuberay.schema.yaml. In these, `fix` has the remedy, and `known` means that the
listed names are all of KubeRay's so far.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator, ValidationError, validators

from raymaskdp.operate.doctor import Check
from raymaskdp.operate.launch.faults import unsure, wrong

FORMS = {
    "object": "settings with names",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
TAKE = "write it as in the files of cluster/"


def misfits(settings: Mapping[str, Any], kind: str) -> Iterator[Check]:
    """Places of a file for "ray_up" or "kuberay" with a wrong form, each once."""
    said: set[tuple[str, str]] = set()
    for validator in _validators(kind):
        for error in sorted(validator.iter_errors(settings), key=lambda error: [str(p) for p in error.path]):
            check = _check(error)
            if (check.name, check.found) not in said:
                said.add((check.name, check.found))
                yield check


def not_texts(node: yaml.Node) -> Iterator[Check]:
    """Names of settings that are not text, or are duplicates, of which YAML silently keeps the last."""
    seen: set[int] = set()

    def walk(node: yaml.Node, name: str) -> Iterator[Check]:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                yield from walk(value, f"{name}[{number}]")
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(
                    (":int", ":bool", ":null", ":float")
                ):
                    shown = key.value if isinstance(key, yaml.ScalarNode) and key.value else "nothing"
                    yield wrong(name or "the file", f"line {line} has {shown} for a name", "put it in quotes")
                    continue
                place = f"{name}.{key.value}".removeprefix(".")
                if key.value in names:
                    yield wrong(place, f"line {line} is a duplicate", "remove one of them")
                names.add(key.value)
                yield from walk(value, place)

    yield from walk(node, "")


@cache
def _validators(kind: str) -> tuple[Draft7Validator, ...]:
    known = validators.extend(Draft7Validator, {"known": _known})
    ours = yaml.safe_load(Path(__file__).with_name(f"{kind}.schema.yaml").read_text(encoding="utf-8"))
    if kind != "ray_up":
        return (known(ours),)
    ray = find_spec("ray")  # only its schema, because importing Ray takes a second
    assert ray is not None
    assert ray.origin is not None
    theirs = json.loads((Path(ray.origin).parent / "autoscaler/ray-schema.json").read_text(encoding="utf-8"))
    return Draft7Validator(theirs), known(ours)


def _known(
    validator: Any, known: bool, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in instance.keys() - schema.get("properties", {}).keys():
            yield ValidationError(name, path=[name])


def _check(error: ValidationError) -> Check:
    """One error in our words."""
    place, value, wanted = _place(error.absolute_path), error.instance, error.validator_value
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    fix = str(schema.get("fix", TAKE))
    match error.validator:
        case "type":
            names = [wanted] if isinstance(wanted, str) else list(wanted)
            return wrong(
                place,
                f"it is {_shown(value)}, and {' or '.join(map(FORMS.__getitem__, names))} is needed",
                fix,
            )
        case "required":
            name = error.message.split("'")[1]
            inner = schema.get("properties", {}).get(name, {})
            missing = _place([*error.absolute_path, name])
            return wrong(missing, "it is missing", inner.get("fix", "copy that of a file in cluster/"))
        case "additionalProperties":
            names = sorted(value.keys() - schema.get("properties", {}).keys())
            like = _like(names[0], schema.get("properties", {}))
            todo = f"write {like}" if like else "remove it"
            return wrong(_place([*error.absolute_path, names[0]]), "Ray knows no such setting", todo)
        case "known":
            properties = schema.get("properties", {})
            like = _like(error.message, properties)
            if like and like not in value:
                return wrong(place, "KubeRay knows no such setting", f"write {like}")
            return unsure(place, "this doctor knows no such setting of KubeRay's", "check its spelling")
        case "enum" | "const":
            allowed = wanted if isinstance(wanted, list) else [wanted]
            like = _like(str(value), [str(one) for one in allowed])
            return wrong(
                place, f"it is {_shown(value)}, which is not a known value", f"write {like}" if like else fix
            )
        case "minLength" | "minItems" | "minProperties":
            return wrong(place, "it is empty", fix)
        case "maxLength":
            return wrong(place, f"it has {len(value)} letters", fix)
        case "minimum":
            return wrong(
                place, f"it is {_shown(value)}, and at least {wanted} is needed", f"raise it to {wanted}"
            )
    return wrong(place, f"it is {_shown(value)}, which is none", fix)


def _place(path: Sequence[Any] | Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return place.removeprefix(".") or "the file"


def _like(name: str, names: Any) -> str:
    """The known name that is most similar; "" for none."""
    by_small = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), by_small, n=1, cutoff=0.75)
    return by_small[found[0]] if found else ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return FORMS["object" if isinstance(value, dict) else "array"]
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}…"
