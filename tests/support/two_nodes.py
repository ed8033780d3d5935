"""Trains on a cluster of two nodes, one of which is taken away with a warning on the way, and given back.

    python two_nodes.py RUN.yaml KEY PLACES [back]

PLACES gets a line a step: how many workers there were, and the step. `back` starts another node in the end.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# Less of Ray's waiting for what happens soon, and more for processes that start slowly on a busy machine. It
# reads these when it is imported.
os.environ |= {
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
    "RAY_health_check_period_ms": "500",
}

import ray
import torch
from ray.cluster_utils import Cluster

from raymaskdp import config
from raymaskdp.train import TrainConfig, loop
from raymaskdp.train.run.curve import StepReport
from raymaskdp.train.run.job import TrainingJob
from raymaskdp.train.run.ray_workers import run_on_ray, this_worker
from raymaskdp.train.run.setup import set_up

PACE_S = 0.4
"""Steps take so long until the last change that is waited for, so that there is something left to do."""

NOTICE_S = 15
"""Enough for the workers to hear of it on a busy machine; they hold still near its end."""


def places(path: Path) -> list[tuple[int, int]]:
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def until(path: Path, training: Future[None], workers: int, steps: int = 3) -> None:
    """Wait until `workers` workers have made some steps, and no others since, or training has ended."""
    while [count for count, _ in places(path)[-steps:]] != [workers] * steps and not training.done():
        time.sleep(0.1)


def main(settings: str, key: str, path: Path, changes: int) -> None:
    job = set_up(config.load(TrainConfig, settings)).job
    job.key_file.parent.mkdir(parents=True)
    job.key_file.write_bytes(bytes.fromhex(key))

    def body(job: TrainingJob) -> None:
        torch.set_num_threads(1)
        worker = this_worker(job)

        def note(report: StepReport) -> None:
            with open(path, "a") as opened:
                opened.write(json.dumps([worker.world_size, report.step]) + "\n")
            counts = [count for count, _ in places(path)]
            done = sum(before != after for before, after in itertools.pairwise(counts))
            time.sleep(PACE_S if done < changes else 0)

        loop.run(job, worker, note)

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    training = ThreadPoolExecutor(1).submit(run_on_ray, job, body)
    until(path, training, 2)
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address,
        "--node-id", second.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message", "spot", "--deadline-remaining-seconds", str(NOTICE_S),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    time.sleep(NOTICE_S)
    cluster.remove_node(second, allow_graceful=False)
    until(path, training, 1)
    if changes == 2:
        cluster.add_node(num_cpus=1)
        until(path, training, 2)
    training.result()  # what went wrong there fails this script as well
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), 2 if "back" in sys.argv[4:] else 1)
