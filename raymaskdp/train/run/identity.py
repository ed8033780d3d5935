"""Identity of a run: its privacy plan, and the digests in the names of its folder and checkpoint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from raymaskdp import config as configuration
from raymaskdp import models
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.train.checkpoint import Identity
from raymaskdp.train.config import PrivacyConfig, TrainConfig
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.data.splits import training_videos
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.run.job import TrainingJob


def plan_of(config: TrainConfig, store: ClipStore) -> PrivacyPlan:
    """The privacy plan of a run on a store; raises `UserError` if the store reveals what it should hide."""
    if config.privacy.adjacency == "add-remove" and not store.declared:
        raise UserError(
            f"add-remove adjacency hides whether a record exists, but the classes of {config.data} are taken "
            "from the labels of all records; declare them with `raymaskdp prepare ... classes=[...]`."
        )
    records = records_of(training_videos(store, config), config.privacy.unit)
    return config.privacy.plan(num_records=len(records), steps=config.steps, copies=config.clips.copies)


def job_of(config: TrainConfig, store: ClipStore, plan: PrivacyPlan) -> TrainingJob:
    """The run of these settings on a store; its folder is named after its mechanism and its digest."""
    identity = Identity(run=run_digest(config, store), plan=configuration.digest(_without_unused(plan)))
    folder = config.out / f"{plan.mechanism}-{identity.run[:12]}"
    return TrainingJob(config=config, folder=folder, plan=plan, identity=identity)


def run_digest(config: TrainConfig, store: ClipStore) -> str:
    """Digest of everything that affects a run's result: settings, initial weights by content, data by name.

    It is published, so it does not depend on the data's content: the ledger commits to that.
    """
    settings = configuration.to_dict(config)
    for place in ("data", "out", "compute"):
        del settings[place]
    settings["privacy"] = _without_unused(config.privacy)
    settings["init"] = None if config.init is None else sha256_file(config.init)
    settings["weights"] = [sha256_file(path) for path in models.weight_files(config.model)]
    settings["precision"] = config.compute.precision
    if store.declared:  # another order gives other losses for the same labels
        settings["classes"] = list(store.declared)
    text = json.dumps([settings, store.name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_unused(config: PrivacyPlan | PrivacyConfig) -> dict[str, Any]:
    """Plain values, without unset settings of adaptive clipping: runs keep their names."""
    values = configuration.to_dict(config)
    if values["adaptive"] is None:
        del values["adaptive"]
    return values
