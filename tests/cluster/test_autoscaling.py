"""Anonymizing on a cluster that starts with nothing: nodes come with the work, and go with it."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.formats import Truth, write_amass
from support.heads import autoscaling_head, free_port

from raymaskdp.anonymize.output.manifest import DATA_SUFFIXES
from raymaskdp.datasets.manifest import read_source, write_table
from raymaskdp.files import sha256_file
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize

VIDEOS = 40
GPU_NODES = {
    "gpu": {
        "resources": {"CPU": 1, "GPU": 1, "memory": 10**9, "object_store_memory": 10**8},
        "node_config": {},
        "min_workers": 0,
        "max_workers": 2,
    }
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small films, with their poses in the folder `poses`."""
    folder = tmp_path_factory.mktemp("films")
    small = SynthesizeConfig(
        seed=1, people=2, actions=("wave",), rooms=1, cameras=1, frames=6, width=96, height=72
    )
    synthesize(folder, small)
    (folder / "poses").mkdir()
    for path in (folder / "truth").glob("*.npz"):
        write_amass(folder / "poses" / path.name, Truth(path))
    records = [dataclasses.replace(record, camera=None) for record in read_source(folder)]
    write_table(folder / "films.parquet", records)
    return folder


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(("version", "workers"), [(1, []), (2, ["2"])])
def test_gpu_nodes_come_and_go_and_two_are_lost(
    version: int, workers: list[str], films: Path, tmp_path: Path
) -> None:
    """With a number of workers nodes come at once; without one as videos are done."""
    backlog = Path(__file__).parents[1] / "support" / "backlog.py"
    given = [tmp_path, str(VIDEOS), films / "films.parquet", films / "poses", *workers]
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_MIN_GAP_BETWEEN_AUTOSCALING_REQUESTS": "2",  # seconds, instead of ten
    }
    with autoscaling_head(GPU_NODES, port=free_port(), version=version) as address:
        done = subprocess.run(
            [sys.executable, backlog, address, *given],
            env=environment,
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
    released = tmp_path / "released"
    assert {path.name for path in released.iterdir()} == {
        f"{name}{suffix}" for name in counts for suffix in (*DATA_SUFFIXES, ".json")
    }
    # Two videos, forty times under other names: the results are the same for all workers.
    assert len({sha256_file(path) for path in released.glob("*.mp4")}) == 2 * 2

    assert (tmp_path / "killed").exists()
    assert VIDEOS // 2 <= answer["drained"]["done"] < VIDEOS
    assert len({node for _, _, node in answer["videos"]}) >= 2
    redone = len(list(tmp_path.glob("*.out"))) - VIDEOS
    assert redone <= 2  # at most what was in flight on the two lost nodes
