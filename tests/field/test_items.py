"""The table of items in README.md names tests that are there, and each item has one."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LINES = [
    line
    for line in (Path(__file__).parent / "README.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| item", "| ---"))
]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip()[:40])
def test_every_item_has_a_test(line: str) -> None:
    *_, item, was, now, tests, _ = re.split(r" ?\| ?", line)
    assert item
    assert was
    assert now
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
    assert named
    for path, name in named:
        assert name in functions(TESTS / path), f"{path}::{name}"


def test_every_test_of_a_field_file_belongs_to_some_item() -> None:
    """Each file here is in the table, so that the table is complete."""
    named = set(re.findall(r"field/(\w+\.py)::", "\n".join(LINES)))
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert here == named
