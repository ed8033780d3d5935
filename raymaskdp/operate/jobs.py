"""Ray jobs: the same commands, run on a cluster. Only this file uses Ray's job server.

A job's id is a digest of its work, so submitting twice attaches to the existing job instead of starting
another. All commands complete missing outputs and repeat nothing, so a failed or stopped job is simply
submitted again; that attempt is ID-2, the next one ID-3.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raymaskdp import __version__, config
from raymaskdp.errors import UserError
from raymaskdp.operate.upload import left_behind

State = Literal["pending", "running", "succeeded", "failed", "stopped"]
COMMANDS: dict[str, str] = {
    "anonymize": "raymaskdp.anonymize:AnonymizeConfig",
    "train": "raymaskdp.train:TrainConfig",
    "sweep": "raymaskdp.sweep:SweepConfig",
}
"""Commands that can run as jobs, and their settings."""

PREFIX = "raymaskdp-"
POLL_SECONDS = 0.5

EXIT_STATUS: dict[State, int] = {"succeeded": 0, "failed": 1, "stopped": 3, "pending": 4, "running": 4}
"""Exit status of `submit` and `job status`; 2 is for invalid input."""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The state of a job.

    Attributes:
      id: its submission id.
      state: pending, running, succeeded, failed or stopped.
      entrypoint: the command that it runs.
      attached: whether it had been submitted before, and was not started again.
      message: of the job server, "" if none.
    """

    id: str
    state: State
    entrypoint: str
    attached: bool = False
    message: str = ""

    def __str__(self) -> str:
        said = f" ({self.message})" if self.message and self.state == "failed" else ""
        return f"{self.id}: {self.state}{said}"


@dataclass(frozen=True, kw_only=True)
class JobList:
    """The cluster's jobs of this program, the latest first."""

    jobs: tuple[JobResult, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.jobs)) or "no jobs"


def submit(
    command: str,
    settings: Any,
    arguments: Sequence[str] = (),
    *,
    address: str | None = None,
    working_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
    follow: bool = True,
) -> JobResult:
    """Run `raymaskdp COMMAND ARGUMENTS` with `settings` as a job, or attach to the existing one.

    Args:
      command: anonymize, train or sweep.
      settings: an instance of its configuration; differences from the defaults are written into the job's
        command line, so no file has to be uploaded. Paths are the cluster's.
      arguments: the command's other arguments.
      address: of the job server, such as http://127.0.0.1:8265; `$RAY_API_SERVER_ADDRESS` or a local cluster
        by default.
      working_dir: a folder to upload, for the user's own plugins: of it only `CODE`; a key is refused.
      environment: variables of the job. They are visible on the cluster's dashboard, so they must not be
        secrets.
      follow: print the job's output until it ends; otherwise return at once.
    """
    line = shlex.join(["raymaskdp", command, *arguments, *config.overrides(settings)])
    environment = dict(environment or {})
    runtime: dict[str, Any] = {"env_vars": environment}
    if working_dir is not None:
        if not working_dir.is_dir():
            raise UserError(f"The working directory {working_dir} is not a folder.")
        runtime |= {"working_dir": str(working_dir), "excludes": left_behind(working_dir)}
    job_id = submission_id(command, line, environment)
    client = _client(address)
    job_id, attached = _start(client, job_id, line, runtime)
    if follow:
        _print_output(client, job_id)
    return dataclasses.replace(_describe(client, job_id), attached=attached)


def submission_id(command: str, line: str, environment: Mapping[str, str]) -> str:
    """The id of a job: equal for equal commands, settings, environment and version."""
    content = json.dumps([__version__, line, sorted(environment.items())])
    return f"{PREFIX}{command}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def status(job_id: str, *, address: str | None = None) -> JobResult:
    """The state of a job. Raises `UserError` if there is none with that id."""
    return _describe(_client(address), job_id)


def stop(job_id: str, *, address: str | None = None) -> JobResult:
    """Stop a job and wait until it has ended; submitting it again resumes its work."""
    client = _client(address)
    _describe(client, job_id)
    client.stop_job(job_id)
    while _describe(client, job_id).state in ("pending", "running"):
        time.sleep(POLL_SECONDS)
    return _describe(client, job_id)


def follow(job_id: str, *, address: str | None = None) -> JobResult:
    """Print a job's output until it ends."""
    client = _client(address)
    _describe(client, job_id)
    _print_output(client, job_id)
    return _describe(client, job_id)


def jobs(*, address: str | None = None) -> JobList:
    """The jobs of this program on the cluster."""
    found = [job for job in _client(address).list_jobs() if (job.submission_id or "").startswith(PREFIX)]
    found.sort(key=lambda job: job.start_time or 0, reverse=True)
    return JobList(jobs=tuple(map(_result, found)))


def _client(address: str | None) -> Any:
    # Ray reads this when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UserError(
            f"No job server responds at {address or 'the local cluster'} ({_first_line(error)}); give the "
            "dashboard's address, such as --address http://127.0.0.1:8265, and its token if it requires one."
        ) from error


def _start(client: Any, job_id: str, line: str, runtime: Mapping[str, Any]) -> tuple[str, bool]:
    """Start the job unless it exists already; returns its id, and True if it exists.

    After a failed or stopped attempt the next one gets a number, because a used id is not available at once,
    even when its entry is deleted.
    """
    for number in itertools.count(1):
        tried = job_id if number == 1 else f"{job_id}-{number}"
        state = _state(client, tried)
        if state in ("failed", "stopped"):
            continue
        if state is not None:
            return tried, True
        try:
            client.submit_job(
                # Without a shell between, an early stop reaches the command. Otherwise the command would
                # continue alone and hold its output folder.
                entrypoint=f"exec {line}",
                submission_id=tried,
                runtime_env=dict(runtime),
                metadata={"raymaskdp": __version__},
            )
        except RuntimeError as error:
            # Another user may have submitted the same job in the meantime.
            if _state(client, tried) is None:
                raise UserError(f"The cluster refuses the job: {_first_line(error)}.") from error
            return tried, True
        return tried, False
    raise AssertionError("unreachable")


def _print_output(client: Any, job_id: str) -> None:
    async def tail() -> None:
        async for text in client.tail_job_logs(job_id):
            print(text, end="", file=sys.stderr, flush=True)

    try:
        asyncio.run(tail())
    except KeyboardInterrupt:
        raise UserError(
            f"No longer following; the job is still running (`raymaskdp job follow {job_id}`, or `job stop`)."
        ) from None
    # The stream may end before the final state is known, or with a lost connection.
    while _describe(client, job_id).state in ("pending", "running"):
        time.sleep(POLL_SECONDS)


def _state(client: Any, job_id: str) -> State | None:
    """The job's state; None if the server does not know it."""
    try:
        return str(client.get_job_status(job_id)).lower()  # type: ignore[return-value]
    except RuntimeError as error:
        if "404" in str(error) or "does not exist" in str(error):
            return None
        raise


def _describe(client: Any, job_id: str) -> JobResult:
    if _state(client, job_id) is None:
        raise UserError(f"The cluster knows no job {job_id!r}; `raymaskdp job list` shows those it knows.")
    return _result(client.get_job_info(job_id))


def _result(job: Any) -> JobResult:
    return JobResult(
        id=job.submission_id,
        state=str(job.status).lower(),  # type: ignore[arg-type]
        entrypoint=job.entrypoint,
        message=job.message or "",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
