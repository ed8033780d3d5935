"""One writer per run, and a killed process releases the lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raymaskdp.distributed.lock import only_writer
from raymaskdp.errors import UserError

HOLDER = """
import sys, time
from raymaskdp.distributed.lock import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_lets_go_and_a_living_one_does_not(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="being trained by another process"),
            only_writer(tmp_path, wait_s=0),
        ):
            pass
        holder.kill()
    with only_writer(tmp_path, wait_s=5):
        pass
    with only_writer(tmp_path, wait_s=0):  # and once more
        pass
