"""Works off a backlog on the cluster at an address, as `anonymize` does; prints what happened as JSON.

python backlog.py ADDRESS FOLDER VIDEOS [WORKERS]
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ray import cloudpickle

from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import Item
from raymaskdp.anonymize.pipeline import on_ray
from raymaskdp.anonymize.stages import Job
from raymaskdp.datasets.manifest import VideoRecord

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


GROWN = "two-nodes"
"""File that says that the cluster has had two nodes."""

FIRST = 6
"""So many videos are finished at once where no number of workers is asked for: Ray Data asks for nodes by the
rate at which it sees work done. All others wait until there are two nodes, so that nodes that start slowly do
not come after the work.
"""

GROW_SECONDS = 90


class Work:
    """A stage that takes a while; the video `doomed` takes its whole node with it, once."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._folder = job.work
        self._first = FIRST if config.workers is None else 0

    def __call__(self, item: Item) -> Item:
        import ray

        name = item.record.video_id
        time.sleep(0.6)
        end = time.monotonic() + GROW_SECONDS
        while not self._may_finish() and time.monotonic() < end:
            time.sleep(0.1)
        marker = self._folder / "killed"
        if name == "doomed" and not marker.exists():
            marker.write_text("")
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet: to the cluster, the machine is gone
            time.sleep(60)
        node = ray.get_runtime_context().get_node_id()
        (self._folder / f"{name}.{node}.out").write_text("")
        return dataclasses.replace(item, status="done", metrics={"node": node})

    def _may_finish(self) -> bool:
        return (self._folder / GROWN).exists() or len(list(self._folder.glob("*.out"))) < self._first


class Nodes(threading.Thread):
    """Watches how many nodes there are beside the head."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self.most = 0
        self.now = 0
        self.ended = threading.Event()

    def run(self) -> None:
        import ray

        while not self.ended.wait(0.5):
            self.now = sum(node["Alive"] for node in ray.nodes()) - 1
            self.most = max(self.most, self.now)
            if self.now >= 2:
                (self._folder / GROWN).write_text("")


def main(address: str, folder: Path, videos: int, workers: int | None) -> None:
    import ray

    names = [f"v{n}" for n in range(videos)]
    names[videos // 4] = "doomed"
    items = [Item(record=VideoRecord(video_id=name, path=f"{name}.mp4")) for name in names]
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    nodes = Nodes(folder)
    nodes.start()
    before, began = nodes.now, time.monotonic()
    job = Job(out=folder, work=folder, secret=bytes(32))
    found = list(on_ray(items, AnonymizeConfig(gpus=0.5, workers=workers), job, stages=(Work,)))
    worked = time.monotonic() - began
    end = time.monotonic() + 60
    while nodes.now > 0 and time.monotonic() < end:
        time.sleep(0.5)
    answer = {
        "before": before,
        "most": nodes.most,
        "after": nodes.now,
        "seconds": [worked, time.monotonic() - began],
        "videos": [[item.record.video_id, item.status, item.metrics.get("node")] for item in found],
    }
    nodes.ended.set()
    nodes.join()
    ray.shutdown()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else None)
