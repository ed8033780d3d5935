"""Rows on Ray Data, for features and for `prepare`: the file of `train` that knows it.

The settings are those of `anonymize`, for the same reason: a row that kills its worker costs itself.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raymaskdp.distributed.connect import ray_cluster, work_in


def spread(
    rows: Sequence[dict[str, Any]], stage: type, *arguments: Any, workers: int, gpus: float = 0.0
) -> Iterator[dict[str, Any]]:
    """What `stage(*arguments)` makes of each row, on up to `workers` actors; in any order, each once.

    Args:
      rows: each with its own `name`, which what is made of it has, too.
      stage: a class whose instances take a row and return one.
      gpus: share of a GPU that an actor holds.

    A row whose actor dies is tried once more, and then once more after all others, alone. What kills its
    actor each time does not come back. `arguments` go into the object store once.
    """
    lost = {row["name"]: row for row in rows}
    with ray_cluster():
        import ray

        shared = ray.put(arguments)
        for most in (workers, 1):
            for row in _one_pass(list(lost.values()), stage, shared, most, gpus) if lost else ():
                if lost.pop(row["name"], None) is not None:  # a row that is tried again may arrive twice
                    yield row


def _one_pass(
    rows: list[dict[str, Any]], stage: type, shared: Any, workers: int, gpus: float
) -> Iterator[dict[str, Any]]:
    import ray

    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `anonymize`: retries cannot be limited in another way
        finished: Any = dataset.map(
            _Actor,  # type: ignore[arg-type]  # a class whose instances are called: what Ray documents
            fn_constructor_args=[stage, shared, Path.cwd()],
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(rows))),
            num_cpus=1,
            num_gpus=gpus or None,
            max_restarts=-1,
            max_task_retries=1,
        )
    yield from finished.iter_rows()


class _Actor:
    """A stage in a Ray actor."""

    def __init__(self, stage: type, shared: Any, folder: Path) -> None:
        import ray

        work_in(folder)
        self._stage = stage(*ray.get(shared))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self._stage(row)
        return {**made, "name": row["name"]}
