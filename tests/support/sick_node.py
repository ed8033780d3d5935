"""Rows on a cluster of two nodes, on one of which everything fails at once; prints as JSON what came back.

python sick_node.py call|init|test ROWS

A program of its own: a test cluster wants the main thread, and its environment before Ray is imported.
"""

import json
import os
import sys
import time
from typing import Any

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
}

import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Works:
    """Takes a moment for a row; on the sick node it fails at once, at its start or at each row.

    With "test" it says that rows failed, as if they were broken, and so do rows that end in 7 anywhere.
    """

    def __init__(self, sick: str, when: str) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._sick = self._node == sick
        self._when = when
        if self._sick and when == "init":
            raise OSError("no EGL display")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._when == "test" and (self._sick or row["name"].endswith("7")):
            return {"node": self._node, "failed": True}
        if self._sick:
            raise OSError(f"no EGL display for {row['name']}")
        time.sleep(0.3)
        return {"node": self._node}


class Tests(Works):
    """The same with a self-test."""

    def self_test(self) -> None:
        if self._sick:
            raise OSError("no EGL display")


def main(when: str, count: int) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        rows = [{"name": f"row{n}"} for n in range(count)]
        stage = Tests if when == "test" else Works
        pool = WorkerPool(stage=stage, arguments=(node.node_id, when), needs=Needs(workers=2, least=2))
        found = list(map_rows(rows, [pool]))
        names = [row["name"] for row in found]
        print(json.dumps({"names": names, "nodes": len({row["node"] for row in found})}))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
