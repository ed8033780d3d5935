"""A Ray head of its own for the cluster tests, with a job server."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.heads import end_with_children, free_port


@pytest.fixture(scope="session")
def head() -> Iterator[dict[str, str]]:
    """A head process; what is yielded is the environment of a job on it, and of clients of its job server."""
    port, dashboard, metrics = free_port(), free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_metrics_report_interval_ms"] = "500"
    # Jobs call `raymaskdp` by name, as on an image that has it installed.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            "--num-cpus=2", "--include-dashboard=true", f"--dashboard-port={dashboard}",
            "--dashboard-agent-listen-port=0", f"--metrics-export-port={metrics}", f"--temp-dir={folder}",
            "--object-store-memory=200000000",
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
            yield {
                **environment,
                "RAY_ADDRESS": f"127.0.0.1:{port}",
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
                "METRICS": f"http://127.0.0.1:{metrics}/metrics",
            }
            assert process.poll() is None, "a job ended the cluster that it had joined"
        finally:
            end_with_children(process)
