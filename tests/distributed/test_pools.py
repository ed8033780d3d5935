"""Several pools in one pipeline: each row passes through all of them once, whatever happens to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from raymaskdp.distributed.kept import KeptResults
from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool, fitted
from raymaskdp.distributed.worker import ABOUT, PoolPlace, RowWorker
from raymaskdp.errors import UserError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


class First:
    """Adds one, and counts its calls in a file for each row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with open(self._folder / f"{row['name']}.first", "a") as calls:
            calls.write("x")
        if row["name"].startswith("broken"):
            return {"value": -1, "failed": True}
        return {"value": row["value"] + 1}


class Second(First):
    """Doubles; its process ends at rows that say so, once or each time."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with open(self._folder / f"{row['name']}.second", "a") as calls:
            calls.write("x")
        tries = (self._folder / f"{row['name']}.second").stat().st_size
        if row["name"].startswith("deadly") or (row["name"].startswith("unlucky") and tries <= 2):
            os.kill(os.getpid(), signal.SIGKILL)
        if row["name"].startswith("faulty"):
            return {"value": -2, "fault": "OSError: no"}
        return {"value": 2 * row["value"]}


class Third(First):
    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"value": row["value"] + 100}


def pools(folder: Path, *, workers: int = 2, least: int = 1) -> list[WorkerPool]:
    needs = Needs(workers=workers, least=least)
    return [WorkerPool(stage=stage, arguments=(folder,), needs=needs) for stage in (First, Second, Third)]


@pytest.mark.slow
@pytest.mark.cluster
def test_rows_pass_through_three_pools_on_two_cpus(ray_session: None, tmp_path: Path) -> None:
    """Six workers of one CPU each are asked for; failed rows pass through, and a crash repeats nothing.

    A row that kills the second worker twice is lost in the first pass, and finished in the last one.
    """
    names = [*(f"row{n}" for n in range(6)), "broken", "faulty", "unlucky", "deadly"]
    rows = [{"name": name, "value": n} for n, name in enumerate(names)]
    keep = tmp_path / "kept"
    found = {
        row["name"]: row["value"] for row in map_rows(rows, pools(tmp_path, least=2), keep=keep, ahead=2)
    }
    expected = {name: 2 * (n + 1) + 100 for n, name in enumerate(names)}
    del expected["deadly"]
    assert found == expected | {"broken": -1, "faulty": -2}
    for name in names:
        assert (tmp_path / f"{name}.first").read_text() == "x", name
    assert not (tmp_path / "broken.second").exists()
    assert len((tmp_path / "unlucky.second").read_text()) == 3
    assert 2 <= len((tmp_path / "deadly.second").read_text()) <= 4
    assert KeptResults(keep).load("row0", 0) is None  # finished
    assert keep.stat().st_mode & 0o077 == 0


class Sick(First):
    """Raises in its `__init__`."""

    def __init__(self, folder: Path) -> None:
        raise OSError("no GPU")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_pool_without_a_working_worker_ends_the_run(ray_session: None, tmp_path: Path) -> None:
    some = pools(tmp_path, workers=1)
    some[1] = WorkerPool(stage=Sick, arguments=(tmp_path,))
    rows = [{"name": f"row{n}", "value": n} for n in range(4)]
    with pytest.raises(UserError, match=r"Every worker fails .OSError: no GPU"):
        list(map_rows(rows, some))


@pytest.mark.slow
@pytest.mark.cluster
def test_a_gpu_that_is_not_there_is_said_before_the_work() -> None:
    """On a local cluster of its own, in another process; a joined one may add nodes."""
    program = (
        "from raymaskdp.distributed.connect import ray_cluster\n"
        "from raymaskdp.distributed.map_rows import map_rows\n"
        "from raymaskdp.distributed.pools import Needs, WorkerPool\n"
        "with ray_cluster(num_cpus=1):\n"
        "    list(map_rows([{'name': 'a'}], [WorkerPool(stage=dict, needs=Needs(gpus=0.5))]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=environment
    )
    assert "UserError: The workers need 0.5 GPUs" in ran.stderr, ran.stderr[-2000:]
    assert "the cluster has 0;" in ran.stderr


def test_pools_start_together_on_what_is_there() -> None:
    find, refine, compose = Needs(workers=8, least=8), Needs(workers=4, least=2), Needs(workers=4, least=2)
    assert fitted([find, refine, compose], cpus=12, gpus=0) == [find, refine, compose]
    smaller = fitted([find, refine, compose], cpus=8, gpus=0)
    assert [one.least for one in smaller] == [4, 2, 2]
    assert [one.workers for one in smaller] == [8, 4, 4]
    shares = fitted([find, refine, compose], cpus=2, gpus=0)
    assert [one.least for one in shares] == [1, 1, 1]
    assert 1.99 < sum(one.cpus for one in shares) <= 2
    assert fitted([find], cpus=2, gpus=0) == [find]  # its other workers wait for nodes
    unknown = fitted([find, refine, compose], cpus=float("inf"), gpus=0)
    assert unknown == [find, refine, compose]


def test_gpus_are_shared_by_whole_workers() -> None:
    cpu = Needs(workers=2, least=2)
    gpu = Needs(workers=8, least=8, gpus=0.5)
    assert [one.least for one in fitted([cpu, gpu, cpu], cpus=64, gpus=2)] == [2, 4, 2]
    with pytest.raises(UserError, match=r"need 1\.5 GPUs.*has 1;"):
        fitted([Needs(gpus=1.0), gpu, cpu], cpus=64, gpus=1)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 1, "least": 2}, {"cpus": 0}, {"gpus": -1}])
def test_needs_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be"):
        Needs(**wrong)  # type: ignore[arg-type]


WHERE = {"node": "n", "actor": "a"}


def test_a_result_is_kept_until_its_row_is_finished(tmp_path: Path) -> None:
    """A worker that is given the row again, after a crash in the next pool, does not work again."""
    place = PoolPlace(number=0, final=False, kept=tmp_path / "kept", ahead=3)
    kept = KeptResults(tmp_path / "kept")
    row = {"name": "a", "value": 1}
    made = RowWorker(lambda: First(tmp_path), WHERE, place)(dict(row))
    assert kept.waiting(0) == 1
    next_place = PoolPlace(number=1, kept=tmp_path / "kept")
    assert RowWorker(lambda: Third(tmp_path), WHERE, next_place)(dict(made))["value"] == 102
    assert kept.waiting(0) == 0
    assert RowWorker(lambda: First(tmp_path), WHERE, place)(dict(row)) == made
    assert (tmp_path / "a.first").read_text() == "x"
    kept.forget("a", 2)
    RowWorker(lambda: First(tmp_path), WHERE, place)(dict(row))
    assert (tmp_path / "a.first").read_text() == "xx"


def test_failed_rows_are_not_kept_and_pass_later_pools(tmp_path: Path) -> None:
    place = PoolPlace(number=0, final=False, kept=tmp_path / "kept", ahead=3)
    made = RowWorker(lambda: First(tmp_path), WHERE, place)({"name": "broken", "value": 1})
    assert KeptResults(tmp_path / "kept").waiting(0) == 0
    later = RowWorker(lambda: Second(tmp_path), WHERE, PoolPlace(number=1, kept=tmp_path / "kept"))
    assert later(dict(made)) == made
    assert made[ABOUT].count('"pool"') == 1


def test_a_worker_waits_while_the_next_pool_has_enough(tmp_path: Path) -> None:
    import threading

    place = PoolPlace(number=0, final=False, kept=tmp_path / "kept", ahead=1)
    worker = RowWorker(lambda: First(tmp_path), WHERE, place)
    worker({"name": "a", "value": 1})
    second = threading.Thread(target=worker, args=({"name": "b", "value": 1},))
    second.start()
    time.sleep(1.0)
    assert not (tmp_path / "b.first").exists()
    KeptResults(tmp_path / "kept").take("a", 0)
    second.join(timeout=30)
    assert (tmp_path / "b.first").exists()
