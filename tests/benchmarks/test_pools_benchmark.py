"""The benchmark of pools counts the time of GPUs rightly, and gives each stage the workers that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from raymaskdp import config
from raymaskdp.benchmarks.clusters.pools import PoolsResult, PoolsRow, busy_share, split_pools
from raymaskdp.benchmarks.settings.videos import PoolsBenchmarkConfig
from raymaskdp.errors import UserError


def test_the_share_of_busy_time_is_that_of_the_window() -> None:
    spans = [(0.0, 2.0), (1.0, 3.0), (4.0, 9.0)]
    assert busy_share(spans, 0.0, 4.0, gpus=2) == pytest.approx(4 / 8)
    assert busy_share(spans, 1.0, 5.0, gpus=2) == pytest.approx(4 / 8)
    assert busy_share([(0.0, 10.0)], 2.0, 3.0, gpus=1) == 1.0


def test_only_the_refiner_holds_gpus_and_all_pools_fit() -> None:
    settings = PoolsBenchmarkConfig(cpus=32, gpus=6)
    find, refine, compose = (pool.needs for pool in split_pools(settings))
    assert (find.gpus, refine.gpus, compose.gpus) == (0, 1, 0)
    assert refine.workers == 6
    assert compose.workers == 7
    assert sum(one.workers * one.cpus for one in (find, refine, compose)) <= 32
    assert find.workers > 6 * settings.find / settings.refine  # they suffice
    with pytest.raises(UserError, match="none is left"):
        split_pools(PoolsBenchmarkConfig(cpus=7, gpus=6))


def test_the_result_is_a_table_and_json() -> None:
    row = PoolsRow(way="one operator", workers=(3,), busy=0.2, busy_all=0.19, items_per_second=0.3)
    result = PoolsResult(machine="m", items=40, seconds={"find": 6.0}, rows=(row,))
    assert "| one operator | 3 | 20% | 19% | 0.3 |" in str(result)
    assert json.loads(json.dumps(config.to_dict(result)))["rows"][0]["busy"] == 0.2


@pytest.mark.slow
@pytest.mark.cluster
def test_both_ways_run_the_same_items() -> None:
    """In a process of its own, because it starts a cluster with resources that are not there."""
    settings = ["cpus=6", "gpus=1", "items=10", "find=0.3", "refine=0.1", "compose=0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "raymaskdp", "benchmark", "pools", *settings, "--json"],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["items"] == 10
    split, fused = result["rows"]
    assert (len(split["workers"]), len(fused["workers"])) == (3, 1)
    for row in (split, fused):
        assert 0 < row["busy"] <= 1
