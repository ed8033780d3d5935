"""Anonymizes a backlog on the cluster at an address; prints what happened as JSON.

python backlog.py ADDRESS FOLDER VIDEOS MANIFEST POSES [WORKERS]

On the way one node is lost without a warning, and another one some seconds after a warning, as spot machines
are.
"""

import contextlib
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
from raymaskdp.anonymize.item import Decided, Item, Pending
from raymaskdp.anonymize.output.secret import SecretFile
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.pipeline import STAGES, on_ray
from raymaskdp.anonymize.stages import Job
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.datasets.manifest import read_source

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


GROWN = "two-nodes"
"""File that says that the cluster has had two nodes."""

FIRST = 6
"""So many videos are finished at once where no number of workers is asked for: Ray Data asks for nodes by the
rate at which it sees work done. All others wait until there are two nodes, so that nodes that start slowly do
not come after the work.
"""

GROW_SECONDS = 90
NOTICE_SECONDS = 3


class Gate:
    """The first stage: waits for its turn; the video `doomed` takes its whole node with it, once."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._folder = job.work
        self._first = FIRST if config.workers is None else 0

    def __call__(self, item: Item) -> Item:
        (self._folder / f"raylet.{_node()}").write_text(str(os.getppid()))
        end = time.monotonic() + GROW_SECONDS
        while not self._may_go() and time.monotonic() < end:
            time.sleep(0.1)
        marker = self._folder / "killed"
        if item.record.video_id == "doomed" and not marker.exists():
            marker.write_text("")
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet: to the cluster, the machine is gone
            time.sleep(60)
        return item

    def _may_go(self) -> bool:
        return (self._folder / GROWN).exists() or len(list(self._folder.glob("*.out"))) < self._first


class Note:
    """The last stage: writes down where a video was done."""

    def __init__(self, config: AnonymizeConfig, job: Job) -> None:
        self._folder = job.work

    def __call__(self, item: Decided) -> Decided:
        (self._folder / f"{item.record.video_id}.{_node()}.out").write_text("")
        return dataclasses.replace(item, metrics={**item.metrics, "node": _node()})


class Nodes(threading.Thread):
    """Watches how many nodes there are beside the head, and has one taken away after a warning."""

    def __init__(self, folder: Path, half: int) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._half = half
        self.most = 0
        self.now = 0
        self.drained: dict[str, int | str] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        import ray

        while not self.ended.wait(0.2):
            alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
            self.now = len(alive) - 1
            self.most = max(self.most, self.now)
            if self.now >= 2:
                (self._folder / GROWN).write_text("")
            done = len(list(self._folder.glob("*.out")))
            workers = [node for node in alive if (self._folder / f"raylet.{node}").exists()]
            if not self.drained and done >= self._half and (self._folder / "killed").exists() and workers:
                self.drained = {"node": workers[0], "done": done}
                self._drain(workers[0])

    def _drain(self, node: str) -> None:
        from ray._private.worker import global_worker
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        accepted, reason = global_worker.gcs_client.drain_node(
            node,
            DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "spot",
            int(1000 * (time.time() + NOTICE_SECONDS)),
        )
        assert accepted, reason
        time.sleep(NOTICE_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # it ends by itself once nothing is left on it
            os.kill(int((self._folder / f"raylet.{node}").read_text()), signal.SIGKILL)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def main(address: str, folder: Path, videos: int, manifest: Path, poses: Path, workers: int | None) -> None:
    import ray

    names = [f"v{n}" for n in range(videos)]
    names[videos // 4] = "doomed"
    films = read_source(manifest)
    items = [
        Pending(record=dataclasses.replace(films[number % len(films)], video_id=name))
        for number, name in enumerate(names)
    ]
    config = AnonymizeConfig(
        gpus=1,
        workers=workers,
        pose=PoseConfig(source="smpl", skeletons=poses, veto=False),
        verify=VerifyConfig(look_again=False),
    )
    released = folder / "released"
    released.mkdir()
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    nodes = Nodes(folder, videos // 2)
    nodes.start()
    before, began = nodes.now, time.monotonic()
    job = Job(out=released, work=folder, secret=SecretFile.at(folder / "secret"))
    found = list(on_ray(items, config, job, stages=(Gate, *STAGES, Note)))
    worked = time.monotonic() - began
    end = time.monotonic() + 60
    while nodes.now > 0 and time.monotonic() < end:
        time.sleep(0.5)
    answer = {
        "before": before,
        "most": nodes.most,
        "after": nodes.now,
        "drained": nodes.drained,
        "seconds": [worked, time.monotonic() - began],
        "videos": [
            [item.record.video_id, " ".join((item.status, *item.reasons)), item.metrics.get("node")]
            for item in found
        ],
    }
    nodes.ended.set()
    nodes.join()
    ray.shutdown()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        int(sys.argv[3]),
        Path(sys.argv[4]),
        Path(sys.argv[5]),
        int(sys.argv[6]) if sys.argv[6:] else None,
    )
