"""`raymaskdp doctor --launch FILE`: missing and wrong settings of a launch file for `ray up` or KubeRay.

Values that only the user knows are written in the files as `<placeholder>`, with a comment that explains
them.
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
"""Settings without a default, wherever they are."""

NOTHING = "tag:yaml.org,2002:null"

TAKE = "start from a file in cluster/"
COMMENT = re.compile(r"\s#\s*(.*)$")

GPUS = 64
"""GPUs that a launch file must provide by default."""


def inspect(path: Path, *, gpus: int = GPUS) -> DoctorResult:
    """Check a launch file that must provide so many GPUs; nothing is started, and no cloud is accessed.

    Raises `UserError` for a file that is missing or not YAML.
    """
    if not path.is_file():
        there = "is not a file" if path.exists() else "does not exist"
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
        raise UserError(f"The launch file {path} has no settings; start from one in cluster/.")
    unset = list(_unset(root, text.splitlines()))
    checks = [*unset, *_faults(path, root, settings, gpus, {check.name for check in unset})]
    if not checks:
        checks = [
            Check(name=path.name, verdict="ok", found="everything is set, and the files that it copies exist")
        ]
    return DoctorResult(healthy=all(check.verdict != "wrong" for check in checks), checks=tuple(checks))


def _faults(
    path: Path, root: yaml.Node, settings: dict[str, Any], gpus: int, unset: Collection[str]
) -> list[Check]:
    """Faults of a file, by its kind, except for unset places.

    If its form is wrong, no other fault is reported.
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
                return misfits  # unset places have no valid form either
            return [*misfits, *(check for check in faults(plan, gpus) if check.name not in unset)]
    return [wrong(path.name, "it has neither node types for `ray up` nor a cluster for KubeRay", TAKE)]


def _unset(root: yaml.Node, lines: list[str]) -> Iterator[Check]:
    """One check for every place with a placeholder; a repeated placeholder is one place."""
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
