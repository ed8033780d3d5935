"""The check of a run's ledger, and, with its key, of the run's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.privacy import Key, PrivacyPlan, commands, read_ledger
from raymaskdp.privacy.budget import BudgetResult, CountedRun, Limit, budget, count_run
from raymaskdp.privacy.commands import VerifyResult
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.guarantee.earlier_runs import epsilon_with_before, warnings_of
from raymaskdp.train.run.setup import RunSetup


def verify(ledger: Path, *, expected_steps: int | None = None, data: str | None = None) -> VerifyResult:
    """The cost of a ledger's run, from two libraries that agree; raises `UserError` if they do not.

    `ledger` may be the folder of the run. With `data`, and the run's key beside the ledger, also whether it
    was on that clip store. A ledger beside the result of a finished run has all its lines; of a model that
    lies elsewhere `expected_steps` says how many steps it must have.
    """
    ledger = ledger / "ledger.jsonl" if ledger.is_dir() else ledger
    fingerprint = None if data is None else ClipStore.open(data).fingerprint
    found = commands.verify(
        ledger,
        expected_steps=expected_steps,
        fingerprint=fingerprint,
        key=Key.load(ledger.parent / "private" / "key"),
    )
    plan = ledger.parent / "plan.json"
    if plan.is_file() and configuration.read_back(PrivacyPlan, plan) != read_ledger(ledger).plan:
        raise UserError(f"The ledger {ledger} is of another plan than {plan} beside it; restore both.")
    finished = expected_steps is None and (ledger.parent / "result.json").is_file()
    # A finished run has spent its plan, including steps that were repeated and counted again.
    if finished and found.steps_spent < found.steps_planned:
        raise UserError(
            f"The ledger {ledger} announces {found.steps_spent} of {found.steps_planned} releases, but the "
            "run beside it is finished: lines are missing at its end."
        )
    before, epsilon = _of_first_weights(ledger, data)
    if before:
        before += ("The figures at other δ, and of tests, are of this run alone.",)
    return replace(
        found, guarantee_statement=" ".join([found.guarantee_statement, *before]), model_epsilon=epsilon
    )


def _of_first_weights(ledger: Path, data: str | None) -> tuple[tuple[str, ...], float | None]:
    """The cost of initial weights that the ε of a ledger does not include, in a sentence; and ε with it."""
    settings = ledger.parent / "config.yaml"
    config = configuration.load(TrainConfig, settings) if settings.is_file() else None
    if config is None or config.init is None:
        return (), None
    try:
        store, plan = ClipStore.open(data or config.data), read_ledger(ledger).plan
        return warnings_of(config, store, plan), epsilon_with_before(config, store, plan)
    except (UserError, OSError):
        said = (
            f"The run began with {config.init}; whether those come from a private run, which would cost "
            "more, can only be told beside its clip store and that run."
        )
        return (said,), None


def budget_of(
    data: str, *, limit: float | None = None, delta: float = 1e-5, others: Sequence[str] = ()
) -> BudgetResult:
    """All runs on a clip store and their total cost; with `limit`, which is stored for later runs.

    `others` are stores of the same videos, such as another preparation, whose runs are counted, too.
    """
    stores = [ClipStore.open(one) for one in (data, *others)]
    for place, store in zip((data, *others), stores, strict=True):
        if store.url is not None:
            raise UserError(
                f"The runs on {place} are counted nowhere: that needs a clip store in a folder that they all "
                "see."
            )
    wanted = None if limit is None else Limit(epsilon=limit, delta=delta)
    first, *more = dict.fromkeys(store.path.resolve() for store in stores)
    return budget(first, wanted, others=more, delta=delta)


def count(setup: RunSetup, key: Key) -> None:
    """Record a run with its data before it starts; raises `UserError` if it exceeds their limit."""
    store, job = setup.store, setup.job
    if store.url is None:
        count_run(store.path, CountedRun(run=str(job.folder), key=key.fingerprint, plan=job.plan))


def require_same_data(setup: RunSetup) -> None:
    """Raise `UserError` if a run was on other data than its store has now; needs its key."""
    job = setup.job
    key = Key.load(job.key_file)
    if key is None or not job.ledger_file.is_file():
        return  # it was published without its secrets
    if read_ledger(job.ledger_file).is_of(setup.store.fingerprint, key) is False:
        raise UserError(
            f"{job.folder} holds a run on other data, which the clip store {job.config.data} had before; "
            "give another out."
        )
