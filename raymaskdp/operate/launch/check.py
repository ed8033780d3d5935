"""`raymaskdp doctor --launch FILE`: what a launch file for `ray up` or KubeRay lacks, and what is wrong.

What only its user can know is written in the files as `<something>`, with a comment that says what to write
there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from raymaskdp.errors import UserError
from raymaskdp.operate.doctor import Check, DoctorResult
from raymaskdp.operate.launch import form, kuberay, ray_up
from raymaskdp.operate.launch.faults import faults, wrong

PLACEHOLDER = re.compile(r"<[^<>\s]+>|^<[^<>]+>$|<\w+|\w+>$|\bTODO\b|\bYOUR_\w+|\bami-x+\b")
NEVER_EMPTY = re.compile(
    r"(^|[./])(region|availability_zone|project_id|image|claim|claimName|ImageId|sourceImage|Arn|email)$"
)
"""Settings that have no default, wherever they stand."""

NOTHING = "tag:yaml.org,2002:null"

TAKE = "take a file from cluster/ and change that"
COMMENT = re.compile(r"\s#\s*(.*)$")

GPUS = 64
"""GPUs that a launch file is to reach, unless it is said how many."""


def inspect(path: Path, *, gpus: int = GPUS) -> DoctorResult:
    """Look at a launch file that is to reach so many GPUs; nothing is started, and no cloud is asked.

    Raises `UserError` for a file that is not there or is no YAML.
    """
    if not path.is_file():
        there = "is no file" if path.exists() else "does not exist"
        raise UserError(f"The launch file {path} {there}; give one like those in cluster/.")
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        settings = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            reason = f"line {error.problem_mark.line + 1}: {error.problem}"
        raise UserError(f"The launch file {path} cannot be read ({reason}); give a YAML file.") from error
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"The launch file {path} holds no settings; take one from cluster/.")
    unset = list(_unset(root, text.splitlines()))
    checks = [*unset, *_faults(path, root, settings, gpus, {check.name for check in unset})]
    if not checks:
        checks = [Check(name=path.name, verdict="ok", found="everything is set, and what it copies is there")]
    return DoctorResult(healthy=all(check.verdict != "wrong" for check in checks), checks=tuple(checks))


def _faults(
    path: Path, root: yaml.Node, settings: dict[str, Any], gpus: int, unset: Collection[str]
) -> list[Check]:
    """What keeps a file from working, whose kind decides how it is read, but for the places named as unset.

    Of a file that has not its form, nothing else is said.
    """
    odd = list(form.not_texts(root))
    if odd:
        return odd
    for kind, is_one, plan_of in (
        ("ray_up", ray_up.is_ray_up, ray_up.plan_of),
        ("kuberay", kuberay.is_kuberay, kuberay.plan_of),
    ):
        if is_one(settings):
            misfits = [check for check in form.misfits(settings, kind) if check.name not in unset]
            if any(check.verdict == "wrong" for check in misfits):
                return misfits
            try:
                plan = plan_of(settings)
            except (AttributeError, KeyError, TypeError, ValueError):
                if not unset:
                    raise
                return misfits  # what is not set yet has no form either
            return [*misfits, *(check for check in faults(plan, gpus) if check.name not in unset)]
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
