"""The job scripts, run as `ray job submit` runs them: beside a cluster that `$RAY_ADDRESS` names."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from raymaskdp.datasets.synthesize import SynthesizeConfig, synthesize

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """A head process of its own; what is yielded is the environment of a job on it."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            "--num-cpus=2", "--include-dashboard=false", "--dashboard-agent-listen-port=0",
            f"--temp-dir={folder}", "--object-store-memory=200000000",
        ]  # fmt: skip
        log = Path(folder) / "head.log"
        with open(log, "wb") as opened_log:
            process = subprocess.Popen(command, env=environment, stdout=opened_log, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 120
            while "Ray runtime started" not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.5)
            yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
            assert process.poll() is None, "a job ended the cluster that it had joined"
        finally:
            process.terminate()  # `--block` ends what it started
            process.wait(60)


def run(head: dict[str, str], name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, JOBS / f"{name}.py", *arguments]
    return subprocess.run(
        list(map(str, command)), env=head, capture_output=True, text=True, timeout=400, check=False
    )


def test_anonymize_and_a_mistake(head: dict[str, str], tmp_path: Path) -> None:
    settings = SynthesizeConfig(people=2, actions=("wave",), rooms=1, cameras=1, frames=6, test_share=0.5)
    synthesize(tmp_path / "sample", settings)
    out = tmp_path / "out"
    done = run(head, "anonymize", tmp_path / "sample", "--out", out, "workers=1")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(out / "manifest.parquet")) == 2

    mistaken = run(head, "anonymize", tmp_path / "nowhere", "--out", out)
    assert mistaken.returncode == 2
    assert "does not exist" in mistaken.stderr


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_the_other_scripts_are_their_commands(head: dict[str, str], name: str) -> None:
    done = run(head, name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: raymaskdp {name}")
