"""A pipe or a folder in place of a file is refused before any work, and never waited for."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.samples import write_anonymized

PIPE = "is a pipe"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.yaml")
    return tmp_path / "pipe.yaml"


PROGRAM = """
import sys
from raymaskdp.cli import main
for line in sys.stdin.read().splitlines():
    print("status", main(line.split("\\t")), file=sys.stderr)
"""


def refusals(*commands: str) -> list[str]:
    """The sentences with which commands end soon, in a process of their own: a pipe would stop this one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join(command.replace(" ", "\t") for command in commands),
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stderr.splitlines()
    assert lines[1::2] == ["status 2"] * len(commands), done.stderr
    assert all(line.startswith("raymaskdp: ") for line in lines[::2])
    return lines[::2]


def test_a_pipe_is_refused_where_it_is_given(pipe: Path) -> None:
    commands = [
        "doctor --launch PIPE",
        "train --config PIPE",
        "estimate videos profile=PIPE",
        "privacy verify PIPE",
        "train clips init=PIPE",
        "anonymize videos --out out secret_file=PIPE",
        "anonymize videos --out out body=PIPE",
        "prepare PIPE --out clips",
        "status PIPE",
        "report PIPE",
        "sheet PIPE --out s.png",
    ]
    for said in refusals(*(command.replace("PIPE", str(pipe)) for command in commands)):
        assert PIPE in said
        assert str(pipe) in said


def test_a_folder_whose_ledger_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger.jsonl")
    assert "ledger.jsonl is not a file" in refusals(f"privacy verify {tmp_path}")[0]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_stands_in_the_way_of_the_last_file_is_said_before_the_work(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = write_anonymized(tmp_path / "a", train=1, test=1)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/x.mp4").touch()
    taken = [
        tmp_path / f"out{n}/{name}"
        for n, name in enumerate(("manifest.parquet", "store.json", "videos.parquet"))
    ]
    for path in taken:
        path.parent.mkdir()
        make(path)
    said = refusals(
        f"anonymize {tmp_path}/videos --out {tmp_path}/out0",
        f"prepare {folder} --out {tmp_path}/out1",
        f"prepare {folder} --out {tmp_path}/out2",
    )
    for path, sentence in zip(taken, said, strict=True):
        assert str(path) in sentence
        assert "move it away" in sentence
        assert not [other for other in path.parent.rglob("*") if other != path and other.name[0] != "."]


@pytest.mark.parametrize("there", ["a folder", "missing"])
def test_a_launch_file_that_is_none_is_said_in_words(there: str, tmp_path: Path) -> None:
    if there == "a folder":
        (tmp_path / "p.yaml").mkdir()
    (said,) = refusals(f"doctor --launch {tmp_path}/p.yaml")
    assert "Errno" not in said
    assert "is not a file" in said or "does not exist" in said


def test_a_body_that_is_none_is_the_fault_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "body.npz").write_bytes(b"no body")
    (tmp_path / "x.mp4").touch()
    (said,) = refusals(f"anonymize {tmp_path}/x.mp4 --out {tmp_path}/out body={tmp_path}/body.npz")
    assert "The body model" in said
    assert "machine" not in said
