"""`raymaskdp doctor --launch FILE`: what a launch file for `ray up` or KubeRay lacks, and what is wrong.

What only its user can know stands in the files as `<something>`, with a comment that says what belongs there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from raymaskdp.errors import UserError
from raymaskdp.operate import launch_kuberay, launch_ray_up
from raymaskdp.operate.doctor import Check, DoctorResult
from raymaskdp.operate.launch_faults import faults, wrong

PLACEHOLDER = re.compile(r"<[^<>\s]+>|^<[^<>]+>$|<\w+|\w+>$|\bTODO\b|\bYOUR_\w+|\bami-x+\b")
NEVER_EMPTY = re.compile(
    r"(^|[./])(region|availability_zone|project_id|image|claim|claimName|ImageId|sourceImage|Arn|email)$"
)
"""Settings that have no default, wherever they stand."""

NOTHING = "tag:yaml.org,2002:null"

TAKE = "take a file from cluster/ and change that"
COMMENT = re.compile(r"\s#\s*(.*)$")

MADE_BY = {
    "auth_token": "ray get-auth-token --generate",
    "ca": "sh cluster/tls.sh --new {path}",
    "secret": "(umask 077; head -c 32 /dev/urandom > {path})",
}
"""The commands that make what is copied to the machines, by its name there."""


GPUS = 64
"""GPUs that a launch file is to reach, unless it is said how many."""


def inspect(path: Path, *, gpus: int = GPUS) -> DoctorResult:
    """Look at a launch file that is to reach so many GPUs; nothing is started, and no cloud is asked.

    Raises `UserError` for a file that is not there or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"The launch file {path} cannot be read ({reason}); give a YAML file.") from error
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"The launch file {path} holds no settings; take one from cluster/.")
    lines = text.splitlines()
    settings = yaml.safe_load(text)
    checks = [*_unset(root, lines), *_missing(settings), *_faults(path, settings, gpus)]
    if not checks:
        checks = [Check(name=path.name, verdict="ok", found="everything is set, and what it copies is there")]
    return DoctorResult(healthy=all(check.verdict == "ok" for check in checks), checks=tuple(checks))


def _faults(path: Path, settings: dict[str, Any], gpus: int) -> list[Check]:
    """What keeps a file from working, whose kind decides how it is read."""
    try:
        for is_one, plan_of in (
            (launch_ray_up.is_ray_up, launch_ray_up.plan_of),
            (launch_kuberay.is_kuberay, launch_kuberay.plan_of),
        ):
            if is_one(settings):
                return list(faults(plan_of(settings), gpus))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        return [wrong(path.name, f"a part of it has not the form that is expected ({said})", TAKE)]
    return [wrong(path.name, "it has neither node types for `ray up` nor a cluster for KubeRay", TAKE)]


def _unset(root: yaml.Node, lines: list[str]) -> Iterator[Check]:
    """One check for every place that still has a placeholder; what is used several times is one place."""
    for name, node in _scalars(root, "", set()):
        found = PLACEHOLDER.findall(node.value)
        line = node.start_mark.line
        if NEVER_EMPTY.search(name) and (not node.value or node.tag == NOTHING or node.value[0] in "/:"):
            yield wrong(
                name, f"line {line + 1} has {node.value or 'nothing'} there", "put your own value there"
            )
        elif found:
            comment = COMMENT.search(lines[line])
            yield Check(
                name=name,
                verdict="wrong",
                found=f"line {line + 1} still says {' and '.join(found)}",
                fix=comment.group(1) if comment else "put your own value there",
            )


def _scalars(node: yaml.Node, name: str, seen: set[int]) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield name, node
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _scalars(value, f"{name}[{number}]", seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, f"{name}.{key.value}".removeprefix("."), seen)


def _missing(settings: dict[str, object]) -> Iterator[Check]:
    """Files that `ray up` would copy to the machines and that are not here."""
    mounts = settings.get("file_mounts")
    if not isinstance(mounts, dict):
        return
    for there, here in mounts.items():
        if not Path(str(here)).expanduser().exists():
            made = MADE_BY.get(Path(str(there)).name, "make {path}, or take it out of file_mounts")
            yield Check(
                name=f"file_mounts.{there}",
                verdict="wrong",
                found=f"{here} is not here",
                fix=made.format(path=here),
            )
