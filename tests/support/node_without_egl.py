"""Anonymizes on a cluster of two nodes, of which one has no EGL, so that no avatar can be drawn there.

python node_without_egl.py SOURCE OUT SKELETONS SECRET

Prints as JSON the status of each video. A program of its own, because a test cluster wants the main thread,
and its environment before Ray is imported.
"""

import json
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

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.verify.config import VerifyConfig


def main(source: Path, out: Path, skeletons: Path, secret: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1, env_vars={"__EGL_VENDOR_LIBRARY_FILENAMES": "/none.json"})
    ray.init(address=cluster.address, log_to_driver=False)
    settings = AnonymizeConfig(
        workers=2,
        secret_file=secret,
        pose=PoseConfig(source="smpl", skeletons=skeletons, veto=False),
        verify=VerifyConfig(look_again=False),
    )
    try:
        result = anonymize(source, out, settings, progress=False)
        print(json.dumps([(row.video_id, row.status, row.reason) for row in result.rows]))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
