"""One process at a time, and a killed process releases its lock."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymaskdp.errors import UserError
from raymaskdp.locks import held, is_held, only_one

HOLDER = """
import sys, time
from pathlib import Path
from raymaskdp import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holder(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", HOLDER, kind, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_process_releases_a_lock_file_and_a_living_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        holder("only_one", path),
        pytest.raises(UserError, match="it is busy"),
        only_one(path, wait_s=0, refusal="it is busy"),
    ):
        pass
    for _ in range(2):
        with only_one(path, wait_s=5):
            pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_or_folder_is_locked_without_a_trace(tmp_path: Path, kind: str) -> None:
    path = tmp_path
    if kind == "file":
        path = tmp_path / "mark"
        path.write_text("content")
    before = (sorted(tmp_path.iterdir()), path.stat().st_mtime_ns)
    assert not is_held(path)
    with holder("held", path):
        assert is_held(path)
        with pytest.raises(BlockingIOError), held(path):
            pass
    with held(path, wait_s=5):
        assert is_held(path)
    assert not is_held(path)
    assert (sorted(tmp_path.iterdir()), path.stat().st_mtime_ns) == before


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(UserError, match=r"Cannot lock .*lock.*; remove it"), only_one(tmp_path / "lock"):
        pass
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "nowhere")
