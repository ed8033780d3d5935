"""docs/licences.md against what is installed: every dependency is listed, with its declared licence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "licences.md").read_text()

SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Licences as classifiers name them; "BSD" says which of the BSD licences it is nowhere."""
FREE_TEXT = (
    (r"apache", "Apache-2.0"), (r"mpl-2\.0 and mit", "MPL-2.0 AND MIT"), (r"mpl", "MPL-2.0"),
    (r"bsd-2", "BSD-2-Clause"), (r"bsd", "BSD"), (r"mit", "MIT"),
)  # fmt: skip


def declared(of: Distribution) -> str:
    """The licence that a distribution's metadata gives; "" where they give none."""
    expression = of.metadata.get("License-Expression")
    if expression:
        return str(expression)
    classified = [
        SPDX[last]
        for one in of.metadata.get_all("Classifier") or []
        if one.startswith("License ::") and (last := one.split(" :: ")[-1]) in SPDX
    ]
    if classified:
        return " OR ".join(sorted(set(classified)))
    text = (of.metadata.get("License") or "").strip().partition("\n")[0].lower()
    return next((name for pattern, name in FREE_TEXT if re.search(pattern, text)), "")


def table(heading: str) -> dict[str, str]:
    """The rows of a table of the page: names, or patterns of names, and licences."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    assert rows, heading
    return {canonicalize_name(name) if "*" not in name else name: licence.strip() for name, licence in rows}


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Installed distributions that these need, directly or not."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(one), "") for one in requirements]
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        try:
            found[name] = distribution(one.name)
        except PackageNotFoundError:
            continue
        for wanted in ("", *one.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in found[name].requires or ()]
    return found


RUNTIME = closure(PROJECT["dependencies"])
EXTRAS = closure(text for some in PROJECT["optional-dependencies"].values() for text in some)


@pytest.mark.parametrize("name", sorted(RUNTIME | EXTRAS))
def test_the_table_knows_every_dependency_and_its_licence(name: str) -> None:
    known = table("Installed with raymaskdp") | (
        table("Optional extras and tests") if name not in RUNTIME else {}
    )
    rows = [licence for pattern, licence in known.items() if fnmatch(name, pattern)]
    licence = declared((RUNTIME | EXTRAS)[name])
    assert rows, f"docs/licences.md does not list {name} ({licence or 'no licence declared'})"
    assert not licence or licence == rows[0], f"{name} declares {licence}"


def test_direct_dependencies_are_listed_even_if_they_are_not_installed() -> None:
    known = table("Installed with raymaskdp")
    assert {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]} <= known.keys()


def test_what_runs_may_be_used_commercially() -> None:
    assert "smplx" not in RUNTIME
    assert "commercial" not in " ".join(table("Installed with raymaskdp").values())
