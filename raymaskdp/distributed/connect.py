"""Join a Ray cluster, or start a small local one: shared by Data, Train and Tune."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raymaskdp.errors import UserError

ANSWER_S = 10.0
"""Time limit for a cluster's response; Ray's own limit is a quarter of an hour."""

_started: list[bool] = []
"""Not empty while this process has joined a cluster that it started itself."""

_HEALTH = "/grpc.health.v1.Health/Check"
_OF_HTTP = "http2 header with status"
"""gRPC's message for a server with HTTP/2 but without gRPC, such as a proxy that responds for any address."""


@contextlib.contextmanager
def ray_cluster(
    address: str | None = None, *, num_cpus: int | None = None, num_gpus: int | None = None
) -> Iterator[bool]:
    """Run the block on a Ray cluster; True if it existed before, so that its size is not ours to choose.

    In order of priority: the cluster that this process has joined already; `address`, or `$RAY_ADDRESS` (set
    inside `ray job submit`); otherwise a new local one with `num_cpus` and `num_gpus` (all of the machine's
    by default), which ends with the block. Only a cluster that was started here is shut down here. Raises
    `UserError` if no cluster responds at the address.
    """
    named = f"address={address}" if address else f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}"
    # Ray reads these when it is imported. Workers inherit them.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield True
        return
    _keep_reports_off_stdout()
    address = address or os.environ.get("RAY_ADDRESS")
    if address not in (None, "", "auto", "local"):
        require_answer(address, named)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=address or "local",
                num_cpus=num_cpus if not address else None,
                num_gpus=num_gpus if not address else None,
                include_dashboard=None if address else False,
                configure_logging=True,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"The Ray cluster of {named} cannot be joined ({said}).") from error
    if address is None:
        _started.append(True)
    try:
        yield address is not None
    finally:
        _started.clear()
        ray.shutdown()


def _keep_reports_off_stdout() -> None:
    """Send Ray's reports of failed workers and tasks to the logger `ray.reports`, at level INFO.

    Ray prints them on the driver's standard output, whatever `log_to_driver` says, and a result in JSON is
    there. A failure that matters reaches the caller as an exception or as a row.
    """
    import ray._private.worker as driver

    reports = logging.getLogger("ray.reports")

    def log_reports(data: dict[str, Any], ignore_prefix: bool) -> None:
        reports.info("\n".join(data["lines"]))

    driver.print_to_stdstream = log_reports


def require_answer(address: str, named: str) -> None:
    """Raise `UserError` unless a server such as a Ray head listens at HOST:PORT, within `ANSWER_S`.

    Args:
      address: optionally with `ray://` before it.
      named: the setting with the address, for the message.
    """
    found = re.fullmatch(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^/:\s]+):(?P<port>\d{1,5})", address)
    if found is None or int(found["port"]) > 65_535:
        hint = "; `raymaskdp submit` takes http:// addresses" if "://" in address else ""
        raise UserError(
            f"{named} is not an address of a Ray cluster, which is HOST:PORT, as in 10.0.0.1:6379{hint}."
        )
    place = f"{found['host']}:{found['port']}"
    end = time.monotonic() + ANSWER_S
    why = "nothing answers"
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=left):
                pass
            if os.environ.get("RAY_USE_TLS", "0") in ("0", "") and not _speaks_grpc(place):
                why = "another server listens there"
                break
            return
        except OSError as error:
            why = error.strerror or str(error) or why
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    raise UserError(
        f"No Ray cluster responds at {named} ({why}); start it, or remove the setting to work locally."
    )


def _speaks_grpc(place: str) -> bool:
    """Whether a server responds as Ray's do, even if it does not know the request."""
    import grpc  # which Ray needs

    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_HEALTH)(b"", timeout=ANSWER_S / 2)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return _OF_HTTP not in str(error.details())
            return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True


def work_in(folder: Path) -> None:
    """Make the driver's working folder `folder` this worker's, too, because paths of settings may be
    relative.

    Ray's workers start in the working folder of their node. On a machine without such a folder they stay
    there, and only absolute paths are valid.
    """
    if folder.is_dir():
        os.chdir(folder)


def on_other_nodes(work: Callable[[str], str]) -> Iterator[str]:
    """The result of `work` on each other node of the joined cluster that has CPUs, given the node's address.

    Nodes that are lost meanwhile are omitted.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def asked_there(address: str) -> str:
        return work(address)

    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    remote = ray.remote(num_cpus=0, max_retries=0)(asked_there)
    asked = [
        remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        ).remote(node["NodeManagerAddress"])
        for node in nodes
        if node["NodeID"] != here
    ]
    for answer in asked:
        with contextlib.suppress(ray.exceptions.RayError):
            yield str(ray.get(answer))


def num_cpus() -> int:
    """CPUs of the joined cluster; at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def cluster_size() -> tuple[float, float]:
    """CPUs and GPUs of the cluster, those included that its configuration allows it to add.

    A cluster that this process did not start may add nodes that it does not tell of. A resource of which it
    has none is then given as infinite.
    """
    import ray
    from ray._private.state import state

    now, most = ray.cluster_resources(), state.get_max_resources_from_cluster_config() or {}
    cpus, gpus = (max(float(now.get(name, 0)), float(most.get(name, 0))) for name in ("CPU", "GPU"))
    return (cpus, gpus) if _started else (cpus or math.inf, gpus or math.inf)
