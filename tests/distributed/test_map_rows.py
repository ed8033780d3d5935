"""The driver on Ray Data: every row once, one thread a worker, and a death that costs one row."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

from raymaskdp.distributed.map_rows import map_rows

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files


class Doubles:
    """Doubles `value`, and says where; ends its process for the row named `deadly`."""

    def __init__(self, table: np.ndarray) -> None:
        self._table = table

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import cv2
        import torch

        if row["name"] == "deadly":
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
def test_each_row_comes_back_once_and_a_deadly_one_not(ray_session: None) -> None:
    names = [f"row{n}" for n in range(5)]
    rows = [{"name": name, "value": n} for n, name in enumerate(names)] + [{"name": "deadly", "value": 0}]
    found = list(map_rows(rows, Doubles, np.full(300_000, 7), workers=2))
    assert sorted(row["name"] for row in found) == names
    assert {row["name"]: row["value"] for row in found} == {name: 2 * n + 7 for n, name in enumerate(names)}
    assert {(row["cuda"], row["mesa"], row["threads"], row["folder"]) for row in found} == {
        ("", "1", 1, os.getcwd())
    }


def test_no_rows_start_no_cluster() -> None:
    import ray

    running = ray.is_initialized()
    assert list(map_rows([], Doubles, None, workers=2)) == []
    assert ray.is_initialized() == running
