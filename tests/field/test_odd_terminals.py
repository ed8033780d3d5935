"""Full outputs, terminals of few letters, links that lead nowhere, names that are too long: one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raymaskdp.cli import main


def program(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raymaskdp", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_a_full_output_is_one_sentence(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "raymaskdp", "dataset", "list"]
        ended = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "Cannot write to the standard output (No space left on device); the command itself is do" in line


def test_a_terminal_that_knows_ascii_alone(tmp_path: Path) -> None:
    ended = program("status", "ü", cwd=tmp_path, PYTHONIOENCODING="ascii:strict")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "does not exist" in ended.stderr


def test_a_working_folder_that_was_deleted(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os, sys, raymaskdp.cli as c; os.rmdir(os.getcwd()); sys.exit(c.main(['dataset', 'list']))"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "The working folder was deleted" in ended.stderr


@pytest.mark.parametrize("command", ["anonymize", "prepare"])
@pytest.mark.parametrize("kind", ["circle", "dangling", "long"])
def test_an_output_place_that_leads_nowhere(
    command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_bytes(b"no film")
    (tmp_path / "circle").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "circle")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    out = tmp_path / (kind if kind != "long" else "n" * 300)
    assert main([command, str(tmp_path / "videos"), "--out", str(out)]) == 2
    said = "too long" if kind == "long" else "is a link that leads to no folder"
    assert said in capsys.readouterr().err
