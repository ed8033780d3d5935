"""A discrete-event model of a cluster that processes a list of videos: wall time and node-hours.

Workers take the next video of the list when they are free, as the pipeline does. Nodes arrive one by one
after a start-up time. Spot nodes are lost at random, with the videos in progress, and replaced.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines.

    Attributes:
      nodes: largest number of machines at a time.
      workers: workers on each.
      node_start: seconds from the request of a machine to the start of its first worker.
      worker_start: seconds from there to the first frame.
      losses: nodes lost per hour of running time (0 for on-demand machines).
    """

    nodes: int
    workers: int = 1
    node_start: float = 0.0
    worker_start: float = 0.0
    losses: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a simulation.

    Attributes:
      seconds: from the first request to the last video.
      node_seconds: time of all machines, including start-up.
      busy: share of the workers' time spent on videos that counted.
      lost_nodes, redone: machines lost, and videos repeated because of that.
    """

    seconds: float
    node_seconds: float
    busy: float
    lost_nodes: int
    redone: int


def simulate(videos: Sequence[float], cluster: Cluster, *, seed: int = 0) -> Outcome:
    """Process `videos`, given by the seconds that a worker needs for each, in their order."""
    draw = random.Random(seed)
    waiting = list(reversed(videos))
    events: list[tuple[float, int, str, int, float]] = []  # time, tie, what, node, seconds of the video
    tie = 0
    began: dict[int, float] = {}  # running nodes, and the start of their cost
    running: dict[int, list[float]] = {}  # videos on each
    node_seconds, last, lost, redone, next_node = 0.0, 0.0, 0, 0, 0

    def push(time: float, what: str, node: int, video: float = 0.0) -> None:
        nonlocal tie
        tie += 1
        heapq.heappush(events, (time, tie, what, node, video))

    def ask(time: float) -> None:
        nonlocal next_node
        began[next_node], running[next_node] = time, []
        for _ in range(cluster.workers):
            push(time + cluster.node_start + cluster.worker_start, "free", next_node)
        if cluster.losses:
            push(time + draw.expovariate(cluster.losses / 3600), "lost", next_node)
        next_node += 1

    for _ in range(min(cluster.nodes, -(-len(videos) // cluster.workers))):
        ask(0.0)
    open_videos = len(videos)
    while open_videos:
        time, _, what, node, video = heapq.heappop(events)
        if node not in began:
            continue  # of a lost machine
        if what == "lost":
            node_seconds += time - began.pop(node)
            dropped = running.pop(node)
            waiting += reversed(dropped)
            lost, redone = lost + 1, redone + len(dropped)
            if waiting:
                ask(time)
            continue
        if what == "done":
            running[node].remove(video)
            open_videos -= 1
            last = time
        if waiting:
            taken = waiting.pop()
            running[node].append(taken)
            push(time + taken, "done", node, taken)
        elif not running[node]:
            node_seconds += time - began.pop(node)  # idle: released
            del running[node]
    node_seconds += sum(last - since for since in began.values() if last > since)
    held = node_seconds * cluster.workers
    return Outcome(
        seconds=last,
        node_seconds=node_seconds,
        busy=sum(videos) / held if held else 0.0,
        lost_nodes=lost,
        redone=redone,
    )
