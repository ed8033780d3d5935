"""Anonymizing on a cluster that starts with nothing: nodes come with the work, and go with it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from heads import autoscaling_head, free_port

VIDEOS = 40
GPU_NODES = {
    "gpu": {
        "resources": {"CPU": 2, "GPU": 1, "object_store_memory": 10**8},
        "node_config": {},
        "min_workers": 0,
        "max_workers": 2,
    }
}


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(("version", "workers"), [(1, []), (2, ["4"])])
def test_gpu_nodes_come_and_go_and_one_is_lost(version: int, workers: list[str], tmp_path: Path) -> None:
    """With a number of workers nodes come at once; without one as videos are done."""
    backlog = Path(__file__).with_name("backlog.py")
    with autoscaling_head(GPU_NODES, port=free_port(), version=version) as address:
        done = subprocess.run(
            [sys.executable, backlog, address, tmp_path, str(VIDEOS), *workers],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["before"] == 0
    assert answer["most"] >= 2  # it grows while there is a backlog, to all that the cluster may have
    assert answer["after"] == 0  # no GPU is held once the work is done
    counts = Counter(name for name, _, _ in answer["videos"])
    assert len(counts) == VIDEOS
    assert set(counts.values()) == {1}
    assert {status for _, status, _ in answer["videos"]} == {"done"}
    assert (tmp_path / "killed").exists()
    assert len({node for _, _, node in answer["videos"]}) >= 2
    redone = len(list(tmp_path.glob("*.out"))) - VIDEOS
    assert redone <= 2  # at most what was in flight on the lost node
