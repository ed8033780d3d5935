"""Anonymizes on a cluster of two nodes that loses an actor, a worker process and a whole node on the way.

python faulty_cluster.py SOURCE OUT SKELETONS SECRET

Prints as JSON what was killed, and after how many finished videos. A program of its own, because a test
cluster wants the main thread, and its environment before Ray is imported.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
    # A lost node is noticed in some seconds instead of half a minute.
    "RAY_health_check_initial_delay_ms": "15000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "6",
}

import ray
from ray._private.state import actors
from ray.cluster_utils import Cluster

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.video.sandbox import DecodeLimits

FAULTS_AFTER = (5, 20, 40)
"""Finished videos before an actor, a worker process and a node are killed."""


def settings(skeletons: Path, secret: Path, **others: object) -> AnonymizeConfig:
    """Poses from files, and no network at all."""
    pose = PoseConfig(source="smpl", skeletons=skeletons, veto=False)
    decode = DecodeLimits(seconds=2)
    verify = VerifyConfig(look_again=False)
    return AnonymizeConfig(pose=pose, decode=decode, verify=verify, secret_file=secret, **others)  # type: ignore[arg-type]


def kill_actor() -> bool:
    """Kill an actor the way Ray does it; it may be started anew."""
    mapping = {name: facts for name, facts in actors().items() if "Map" in facts["ActorClassName"]}
    alive = [name for name, facts in mapping.items() if facts["State"] == "ALIVE"]
    if alive:
        actor = ray.ActorID(bytes.fromhex(alive[0]))
        ray._private.worker.global_worker.core_worker.kill_actor(actor, False)
    return bool(alive)


def kill_worker() -> bool:
    """Kill a process of this cluster without a word, as the kernel does when memory runs out."""
    import psutil  # Ray brings it, once it is imported

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "MapWorker" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                return True
    return False


def main(source: Path, out: Path, skeletons: Path, secret: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = {
            "num_cpus": 1,
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
            "temp_dir": folder,
        }
        cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
        node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")

        def kill_node() -> bool:
            cluster.remove_node(node, allow_graceful=False)
            return True

        run = threading.Thread(
            target=anonymize, args=(source, out, settings(skeletons, secret)), kwargs={"progress": False}
        )
        run.start()
        killed = []
        for after, kill in zip(FAULTS_AFTER, (kill_actor, kill_worker, kill_node), strict=True):
            done = 0
            while run.is_alive():
                done = len(list(out.glob("*.json")))
                if done >= after and kill():
                    killed.append([kill.__name__, done])
                    break
                time.sleep(0.05)
        run.join()
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(killed))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
