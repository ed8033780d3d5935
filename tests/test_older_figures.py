"""Figures in docs say of which commit they are, and a command tells which are older than their code."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "docs" / "older_figures.py"))


def test_every_table_says_of_which_commit_and_code_it_is() -> None:
    figures = TOOL["marked"]((ROOT / "docs" / "measurements.md").read_text())
    assert len(figures) > 15
    missing = [path for each in figures for path in each.paths if not (ROOT / path).exists()]
    assert not missing


def test_a_table_without_a_commit_is_refused() -> None:
    with pytest.raises(SystemExit, match="'Speed'"):
        TOOL["marked"]("# Page\n\n## Speed\n\n| a | b |\n| --- | --- |\n| x | 3 |\n")


def test_changes_of_the_code_make_figures_older_and_others_do_not(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    commits = []
    for number, name in enumerate(("a.py", "b.py", "a.py", "c.py")):
        (tmp_path / name).write_text(str(number))
        git("add", "-A")
        git("commit", "-q", "-m", name)
        commits.append(git("rev-parse", "--short", "HEAD"))
    (old,) = TOOL["marked"](f"## Time\n\n<!-- measured: {commits[0]} a.py b.py -->\n| x | 3 |\n")
    (new,) = TOOL["marked"](f"## Time\n\n<!-- measured: {commits[2]} a.py b.py -->\n| x | 3 |\n")
    assert (TOOL["changes_since"](old, tmp_path), TOOL["changes_since"](new, tmp_path)) == (2, 0)
    (unknown,) = TOOL["marked"]("## Time\n\n<!-- measured: 0123456789 a.py -->\n| x | 3 |\n")
    with pytest.raises(SystemExit, match="0123456789 of 'Time'"):
        TOOL["changes_since"](unknown, tmp_path)
