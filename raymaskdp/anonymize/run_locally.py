"""Run tasks through the stages in this process, without other workers to compare the machine with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from raymaskdp.anonymize.item import Decided
from raymaskdp.distributed.worker import FAILURES_TO_TEST
from raymaskdp.errors import MACHINE, MachineError, UserError, machine_lacks


class SelfTesting(Protocol):
    """A callable for tasks that can test itself on a known task."""

    def __call__(self, task: Any) -> Any: ...

    def self_test(self) -> None: ...


def run_locally(tasks: Mapping[str, Any], work: SelfTesting) -> Iterator[tuple[str, Any]]:
    """The result of each task, in order. Failed videos are returned after the machine has passed its
    self-test.

    The self-test runs at the first failure whose cause is not the source, and at the third consecutive
    failure of another kind, then after twice as many. Raises `UserError` if the machine fails it; the videos
    that failed on it are then not decided.
    """
    held: list[tuple[str, Decided]] = []
    failures, patience = 0, {True: 1, False: FAILURES_TO_TEST}
    for name, task in tasks.items():
        try:
            made = work(task)
        except Exception as error:
            if machine_lacks(error):
                raise MachineError(machine_lacks(error)) from error
            raise
        if not isinstance(made, Decided) or made.status != "failed":
            yield from held
            held.clear()
            failures = 0
            yield name, made
            continue
        if made.fault.startswith(MACHINE):
            raise MachineError(made.fault.removeprefix(MACHINE))
        held.append((name, made))
        failures += 1
        unsaid = bool(made.fault)
        if failures >= patience[unsaid]:
            _try(work)
            patience[unsaid] *= 2
            yield from held
            held.clear()
            failures = 0
    if any(made.fault for _, made in held):
        _try(work)
    yield from held


def _try(work: SelfTesting) -> None:
    try:
        work.self_test()
    except (Exception, SystemExit) as error:
        if machine_lacks(error):
            raise MachineError(machine_lacks(error)) from error
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        text = " ".join(said.split())[:300].rstrip(".")
        raise UserError(
            f"This machine fails (the self-test says: {text}); fix that (see `raymaskdp doctor`) "
            "and run it again."
        ) from error
