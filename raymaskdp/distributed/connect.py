"""Joining a Ray cluster, or starting a small local one: what Data, Train and Tune share."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def ray_cluster(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[bool]:
    """Run the block on a Ray cluster; True if others made it, so that its size is not ours to know.

    In order: the cluster that this process has joined already; `address`, or `$RAY_ADDRESS` (set inside
    `ray job submit`); otherwise a new local one with `num_cpus` (all of the machine's by default), which
    ends with the block. Only a cluster that was started here is shut down here.
    """
    # Ray answers to these when it is imported. Workers inherit them.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield True
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address=address or "local",
            num_cpus=num_cpus if not address else None,
            include_dashboard=None if address else False,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    try:
        yield address is not None
    finally:
        ray.shutdown()


def work_in(folder: Path) -> None:
    """Make `folder`, where the driver works, this worker's, too: paths of settings may be relative.

    Ray's workers work where their node was started. On a machine that has no such folder they stay there, and
    only full paths lead anywhere.
    """
    if folder.is_dir():
        os.chdir(folder)


def num_cpus() -> int:
    """CPUs of the joined cluster; at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
