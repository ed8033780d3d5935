"""The start of a process: before the first step all workers agree on the run, and the ledger is open."""

from __future__ import annotations

import json
from dataclasses import dataclass

from raymaskdp.errors import UserError
from raymaskdp.privacy import Key, Ledger
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.guarantee.agreement import digest_of_all, require_agreement, share_from_first
from raymaskdp.train.guarantee.step_circumstances import circumstances, remove_mark
from raymaskdp.train.run.job import TrainingJob, Worker


@dataclass(frozen=True)
class Start:
    """What a process starts with.

    Attributes:
      step: its first one.
      made_by: of the checkpoint (`checkpoint.save`); "" without one.
      clipping_norm: C of its first step.
      features: digest of the cached features; None if clips are read.
    """

    step: int
    made_by: str
    clipping_norm: float
    features: str | None = None


@dataclass(frozen=True)
class Begun:
    """Values that all workers agree on before the first step of a process.

    Attributes:
      key: of the attempt of this session.
      redone: releases that were announced earlier and do not count as steps of this attempt.
      end: the step before which the budget ends; the plan's last unless steps were counted again.
      ledger: of the first worker, the only one that writes it.
    """

    key: Key
    redone: int
    end: int
    ledger: Ledger | None


def begin(job: TrainingJob, worker: Worker, store: ClipStore, start: Start) -> Begun:
    """Compare the workers' data and open the ledger; raises `UserError` in all of them, or in none."""
    run_key, plan = Key.load(job.key_file), job.plan
    facts = {
        "the run's folder": None if run_key is None else run_key.commit("agreement", "run"),
        "the checkpoint": f"{start.step} {start.made_by} {start.clipping_norm!r}",
        "the plan": job.identity.plan,
        "the settings": job.identity.run,
        "the data": None if run_key is None else run_key.commit("agreement", store.fingerprint),
    }
    about = circumstances(
        job.config, world_size=worker.world_size, device=worker.device, unread_mark=job.unread_mark
    )
    if start.features is not None:
        facts["the cached features"] = (
            None if run_key is None else run_key.commit("agreement", start.features)
        )
    facts["the versions"] = json.dumps(
        {name: about[name] for name in ("raymaskdp", "code", "torch", "numpy", "transformers")}
    )
    require_agreement(facts, worker)
    assert run_key is not None  # otherwise there would be no agreement
    if worker.world_size > 1:  # the ledger is the first worker's, but sums are rounded by all
        about["machines"] = digest_of_all(
            f"{about['machine']} {about['libraries']} {about['device']}", worker
        )
    if start.features is not None:
        about["features"] = run_key.commit("features", start.features)
    ledger, refusal = None, None
    if worker.rank == 0:
        remove_mark(job.unused_mark)
        try:
            ledger = Ledger.open(
                job.ledger_file, plan=plan, key=run_key, fingerprint=store.fingerprint, start=start.step,
                circumstances=about, made_by=start.made_by,
            )  # fmt: skip
        except UserError as error:
            refusal = error
    said = None if ledger is None else (1, ledger.attempt, ledger.redone)
    opened, attempt, redone = share_from_first(said, 3, worker)
    if not opened:
        raise refusal or UserError("The first worker cannot continue the run's ledger; its message says why.")
    end = plan.steps - redone
    if end < 1:
        raise UserError(
            f"All {plan.steps} steps of {job.folder} were spent before one was saved; start a new run in "
            "another folder, and count this one."
        )
    return Begun(key=run_key.attempt(attempt), redone=redone, end=end, ledger=ledger)
