"""The driver on Ray Data: every row once, one thread a worker, and a death that costs one row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

from raymaskdp.distributed.map_rows import map_rows
from raymaskdp.distributed.pools import Needs, WorkerPool
from raymaskdp.distributed.worker import MOST_TRIES
from raymaskdp.errors import UserError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


def pool(stage: type, *arguments: Any, workers: int) -> list[WorkerPool]:
    return [WorkerPool(stage=stage, arguments=arguments, needs=Needs(workers=workers))]


class Doubles:
    """Doubles `value`, and says where; ends its process for the row named `deadly`."""

    def __init__(self, table: np.ndarray) -> None:
        self._table = table

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import cv2
        import torch

        if row["name"] == "deadly":
            with open(row["marks"], "a") as marks:
                marks.write("begun\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return {
            "value": 2 * row["value"] + int(self._table[0]),
            "cuda": os.environ["CUDA_VISIBLE_DEVICES"],
            "mesa": os.environ["LP_NUM_THREADS"],
            "threads": max(cv2.getNumThreads(), torch.get_num_threads()),
            "folder": os.getcwd(),
        }


@pytest.mark.slow
@pytest.mark.cluster
def test_each_row_comes_back_once_and_a_deadly_one_not(ray_session: None, tmp_path: Path) -> None:
    names, marks = [f"row{n}" for n in range(5)], tmp_path / "marks"
    rows = [{"name": name, "value": n, "marks": ""} for n, name in enumerate(names)]
    rows.append({"name": "deadly", "value": 0, "marks": str(marks)})
    found = list(map_rows(rows, pool(Doubles, np.full(300_000, 7), workers=2)))
    assert sorted(row["name"] for row in found) == names
    assert {row["name"]: row["value"] for row in found} == {name: 2 * n + 7 for n, name in enumerate(names)}
    assert {(row["cuda"], row["mesa"], row["threads"], row["folder"]) for row in found} == {
        ("", "1", 1, os.getcwd())
    }
    assert len(marks.read_text().splitlines()) == 2 * MOST_TRIES, "beside the others, and then alone"


class Leaves:
    """Ends for some rows in ways that stop a pipeline of Ray Data for ever, or end it."""

    def __init__(self, broken: str | None = None) -> None:
        if broken == "exit":
            sys.exit(0)
        if broken is not None:
            raise OSError(broken)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["how"] == "sys.exit":
            sys.exit(0)
        if row["how"] == "os._exit":
            os._exit(0)
        if row["how"] == "raise":
            raise ValueError("no")
        if row["how"] == "fault":
            return {"value": -1, "fault": "OSError: no"}
        return {"value": 1}


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_that_leaves_costs_itself(ray_session: None, workers: int) -> None:
    hows = ["sys.exit", "", "os._exit", "", "raise", "", "fault", ""]
    rows = [{"name": n, "how": how} for n, how in enumerate(hows)]
    found = {row["name"]: row for row in map_rows(rows, pool(Leaves, workers=workers))}
    assert {name: row["value"] for name, row in found.items()} == {1: 1, 3: 1, 5: 1, 6: -1, 7: 1}
    assert {key for row in found.values() for key in row} == {"name", "value"}


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("broken", ["no display", "exit"])
def test_a_stage_that_does_not_begin_is_said(ray_session: None, broken: str) -> None:
    rows = [{"name": n, "how": ""} for n in range(4)]
    with pytest.raises(UserError, match=r"Every worker fails .(OSError: no display|SystemExit: 0)"):
        list(map_rows(rows, pool(Leaves, broken, workers=1)))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("when", ["call", "init", "test"])
def test_a_sick_node_costs_no_row(when: str) -> None:
    """A node where everything fails at once took nearly the whole queue: 54 of 60 rows."""
    program = Path(__file__).parents[1] / "support" / "sick_node.py"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, program, when, "30"], capture_output=True, text=True, timeout=400, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found["names"]) == sorted(f"row{n}" for n in range(30))
    assert found["nodes"] == 1


class Judges:
    """Fails marked rows; its self-test records each call, and returns a given result."""

    def __init__(self, folder: Path, sick: str = "") -> None:
        self._folder = folder
        self._sick = sick

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        with open(self._folder / str(row["name"]), "a") as tried:
            tried.write("x")
        return {"failed": row["bad"]}

    def self_test(self) -> None:
        with open(self._folder / "tests", "a") as tests:
            tests.write("x")
        if self._sick == "exit":
            sys.exit(1)
        if self._sick:
            raise UserError(self._sick)


@pytest.mark.slow
@pytest.mark.cluster
def test_broken_rows_are_done_with_once_where_the_self_test_passes(ray_session: None, tmp_path: Path) -> None:
    """Ten in a row: tested after three, and after six more; no worker is given up, no row tried again."""
    rows = [{"name": f"r{n:02}", "bad": 2 <= n < 12} for n in range(15)]
    found = list(map_rows(rows, pool(Judges, tmp_path, workers=1)))
    assert sorted(row["name"] for row in found) == [row["name"] for row in rows]
    assert all(set(row) == {"name"} for row in found)
    assert (tmp_path / "tests").read_text() == "xx"
    assert {(tmp_path / row["name"]).read_text() for row in rows} == {"x"}
    # What was held back until a test passed, or another row was done, came then.
    order = [row["name"] for row in found]
    assert order.index("r02") < order.index("r05") < order.index("r12")


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(
    ("sick", "said"), [("No display is here.", "No display is here"), ("exit", "SystemExit: 1")]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_whose_workers_all_fail_their_self_test_ends_in_a_sentence(
    ray_session: None, workers: int, sick: str, said: str, tmp_path: Path
) -> None:
    rows = [{"name": f"r{n:02}", "bad": True} for n in range(40)]
    found = []
    with pytest.raises(UserError) as caught:
        found.extend(map_rows(rows, pool(Judges, tmp_path, sick, workers=workers)))
    assert str(caught.value).startswith(f"Every worker fails (the self-test says: {said}); fix that")
    assert not found  # no row is called broken
    assert len(list(tmp_path.glob("r*"))) <= 3 * workers


def test_no_rows_start_no_cluster() -> None:
    import ray

    running = ray.is_initialized()
    assert list(map_rows([], pool(Doubles, None, workers=2))) == []
    assert ray.is_initialized() == running
