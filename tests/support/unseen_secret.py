"""Tries to anonymize on a cluster of two nodes, of which only the driver sees the secret.

python unseen_secret.py FOLDER

Its path is a number of a file that the driver has open, which means nothing to other processes. A program of
its own, because a test cluster wants the main thread, and its environment before Ray is imported.
"""

import os
import sys
from pathlib import Path

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
}

import ray
from ray.cluster_utils import Cluster

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.anonymize.item import Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.pipeline import on_ray
from raymaskdp.anonymize.stages import Job
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError


def main(folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        with open(SecretFile.at(folder / "secret").path, "rb") as opened:
            os.dup2(opened.fileno(), 191)  # a number that a worker of Ray has nothing at
            secret = SecretFile.at(Path("/proc/self/fd/191"))
            job = Job(out=folder, work=folder, secret=secret)
            item = Pending(record=VideoRecord(video_id="a", path="none.mp4"))
            print(list(on_ray([item], AnonymizeConfig(workers=2), job)))
    except UserError as error:
        print(f"refused: {error}")
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
