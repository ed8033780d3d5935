"""Ray heads for tests: a free port, and a head that adds fake nodes, as an autoscaler in a cloud does.

Ray's own test cluster for this is not in its wheels; its fake node provider is, and what `clouds` makes of it
can be named as an external provider.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
HEAD_TYPE = "ray.head.default"  # the fake provider knows the head by this name
PROVIDER = "clouds.Cloud"
NOTHING: dict[str, Any] = {
    name: []
    for name in (
        "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
        "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude",
        "rsync_filter",
    )
}  # fmt: skip


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


@contextlib.contextmanager
def autoscaling_head(node_types: dict[str, Any], *, port: int, version: int) -> Iterator[str]:
    """Address of a head without resources that adds nodes of `node_types`, by autoscaler 1 or 2."""
    from ray._private.services import get_node_ip_address

    provider = {
        "type": "external",
        "module": PROVIDER,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "gcs_address": f"{get_node_ip_address()}:{port}",
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),  # for `clouds`
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        # A lost node is noticed in three seconds instead of half a minute.
        "RAY_health_check_initial_delay_ms": "5000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment.pop("RAY_ADDRESS", None)
    if version == 2:
        provider |= {"launch_multiple": True, "head_node_id": HEAD_ID}
        environment |= {
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        }
    config = {
        **NOTHING,
        "cluster_name": "fake",
        "max_workers": 8,
        "provider": provider,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            **node_types,
        },
        "head_node_type": HEAD_TYPE,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.05,
    }
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        config_path, log = Path(folder) / "autoscaler.json", Path(folder) / "head.log"
        config_path.write_text(json.dumps(config))
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            f"--autoscaling-config={config_path}", "--num-cpus=0", "--num-gpus=0",
            "--object-store-memory=200000000", "--include-dashboard=false",
            "--dashboard-agent-listen-port=0", f"--temp-dir={folder}/r",
        ]  # fmt: skip
        with open(log, "wb") as opened:
            head = subprocess.Popen(
                command, env=environment, stdout=opened, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            end = time.monotonic() + 120
            while "Ray runtime started" not in log.read_text(errors="replace"):
                assert head.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            end_with_children(head)


def end_with_children(head: subprocess.Popen[bytes]) -> None:
    """End a head and what it started; it would take half a minute to do so with grace."""
    children = descendants(head.pid)
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(5)
    for process in [head.pid, *children]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    head.wait()


def descendants(pid: int) -> list[int]:
    """All processes below a process, from /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rsplit(")", 1)[1].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found
