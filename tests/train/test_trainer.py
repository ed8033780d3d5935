"""Training on Ray Train: the same model as in process, even if workers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file
from support.changes import changed

from raymaskdp import config as configuration
from raymaskdp.privacy import Key, read_ledger
from raymaskdp.train import train
from raymaskdp.train.run.curve import read_curve
from raymaskdp.train.run.setup import set_up

KEY = Key(secret=bytes(range(32)))

LESS_WAITING = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
}
"""How often Ray's controller looks at its workers, and how long it waits for them to say goodbye."""


def own_processes(title: str) -> list[int]:
    """Processes below this one whose title contains `title` (Ray names its workers so)."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if title in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile
    below = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return [process for process in found if process in below]


def kill_on_the_way(curve: Path, plan: list[tuple[int, str]], killed: list[str]) -> None:
    """Kill -9 one process of a title of this test's own cluster whenever the run has got so far."""
    for lines, title in plan:
        while len(read_curve(curve)) < lines:
            time.sleep(0.02)
        for process in own_processes(title)[:1]:
            os.kill(process, signal.SIGKILL)
            killed.append(title)


DRIVER = """
import sys
from raymaskdp import config
from raymaskdp.privacy import Key
from raymaskdp.train import TrainConfig, train
train(config.load(TrainConfig, sys.argv[1]), key=Key(secret=bytes(range(32))))
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_whoever_is_killed_two_workers_make_the_same_model(ray_session, base, tmp_path, monkeypatch) -> None:
    """The driver first, which takes its workers along, then one of those of the next, and its controller."""
    for name, seconds in LESS_WAITING.items():
        monkeypatch.setenv(name, seconds)
    # Gentle steps: large noisy ones blow up the differences that the order of sums makes.
    base = changed(
        base, steps=60, compute__checkpoint_every=10, optimizer__learning_rate=0.05, optimizer__momentum=0.0
    )
    alone = train(changed(base, out=tmp_path / "alone"), key=KEY)
    on_ray = changed(base, compute__workers=2)
    killed: list[str] = []
    curve = set_up(on_ray).job.curve_file
    rng = np.random.default_rng()
    settings = tmp_path / "run.yaml"
    settings.write_text(configuration.to_yaml(on_ray))
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(settings)], env={**os.environ, "RAY_ADDRESS": address}
    )
    last = int(rng.integers(1, 15))
    while len(read_curve(curve)) < last:
        assert driver.poll() is None, "the driver ended before it could be killed"
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    plan = [(int(rng.integers(20, 30)), "RayTrainWorker"), (int(rng.integers(35, 45)), "TrainController")]
    threading.Thread(target=kill_on_the_way, args=(curve, plan, killed), daemon=True).start()
    together = train(on_ray, key=KEY)
    assert killed == [title for _, title in plan], plan
    first, second = (load_file(Path(result.run) / "model.safetensors") for result in (alone, together))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
    assert read_ledger(Path(together.run) / "ledger.jsonl").steps_spent == 60
    assert [line.step for line in read_curve(curve)] == list(range(1, 61))
    assert train(on_ray).finished_before


@pytest.mark.slow
@pytest.mark.cluster
def test_a_machine_that_is_taken_away_with_a_warning_costs_no_step(base, tmp_path) -> None:
    """On two nodes; the only checkpoint on the way is the one that the warning leads to."""
    gentle = {"optimizer__learning_rate": 0.05, "optimizer__momentum": 0.0, "compute__checkpoint_every": 1000}
    base = changed(base, steps=80, **gentle)
    alone = train(changed(base, out=tmp_path / "alone"), key=KEY)
    config = changed(base, compute__workers=(1, 2))
    settings, path = tmp_path / "run.yaml", tmp_path / "places"
    settings.write_text(configuration.to_yaml(config))
    script = Path(__file__).parents[1] / "support" / "two_nodes.py"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    arguments = [str(settings), KEY.secret.hex(), str(path)]
    subprocess.run([sys.executable, str(script), *arguments], check=True, env=environment, timeout=500)
    places = [json.loads(line) for line in path.read_text().splitlines()]
    assert [count for count, _ in places] == sorted((count for count, _ in places), reverse=True)
    by_count = {count: [step for before, step in places if before == count] for count in (1, 2)}
    warned = by_count[1][0]
    assert warned == by_count[2][-1] + 1 > 4  # it went on from a checkpoint, and no step was made again
    assert by_count[1][-1] == 80
    job = set_up(config).job
    state = load_file(job.checkpoint_file)
    expected = load_file(Path(alone.run) / "model.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(state[f"model.{name}"], value, rtol=1e-3, atol=1e-4)
    assert read_ledger(job.ledger_file).steps_spent == 80
    assert [line.step for line in read_curve(job.curve_file)] == list(range(1, 81))
