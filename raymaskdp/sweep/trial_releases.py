"""The releases of a sweep's trials, for the selection cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from raymaskdp.errors import UserError
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.sweep.config import SweepConfig, Trial
from raymaskdp.sweep.search import Search
from raymaskdp.sweep.selection_cost import SelectionCost, selection_cost
from raymaskdp.train import ClipStore, TrainConfig
from raymaskdp.train.data.splits import training_videos, videos_of
from raymaskdp.train.guarantee.earlier_runs import plans_before
from raymaskdp.train.run.identity import plan_of


def require_apart(config: SweepConfig) -> None:
    """Raise `UserError` if a paid choice uses data of people whose videos are trained on.

    The payment covers the choice among models, if the scores depend on the training videos only through the
    models. Unnamed subjects are assumed to be different, as their videos are.
    """
    if not config.pays:
        return
    store = ClipStore.open(config.train.data)
    trained = {video.subject for video in training_videos(store, config.train) if video.subject is not None}
    for name, part in (("choose_on", config.chosen_on), ("split", config.split)):
        shown = {video.subject for video in videos_of(store, config.train, part) if video.subject is not None}
        shared = sorted(trained & shown)
        if shared:
            raise UserError(
                f"tuning=papernot-steinke pays for choosing among models, but {len(shared)} subjects of "
                f"{name} ({part!r}), such as {shared[0]}, are in the training videos too, and scores on them "
                "are not paid for; split the data by subject."
            )


def selection_cost_of(
    config: SweepConfig, planned: Sequence[Trial], results: pd.DataFrame, best: TrainConfig
) -> SelectionCost:
    """The selection cost of a sweep whose best configuration is `best`.

    Every trial counts with all its steps, also those that failed or were stopped early, because these events
    depend on private data. A trial whose plan failed released nothing.
    """
    made: list[PrivacyPlan] = []
    before: dict[str, PrivacyPlan] = {}
    for trial, status in zip(planned, results["status"], strict=True):
        store = ClipStore.open(trial.config.data)
        try:
            plan, origins = plan_of(trial.config, store), plans_before(trial.config, store)
        except UserError:
            if status != "failed":
                raise
            continue
        made.append(plan)
        before |= origins
    search = config.search if config.pays else None
    return selection_cost(
        plan_of(best, ClipStore.open(best.data)),
        made,
        possible=_possible(search, best) if search else (),
        before=list(before.values()),
        expected_runs=search.trials if search else None,
        tuning=config.tuning,
    )


def _possible(search: Search, best: TrainConfig) -> list[PrivacyPlan]:
    """The plan of a trial with each mechanism of the space. Nothing else in it affects what ε is about."""
    store = ClipStore.open(best.data)
    return [
        plan_of(replace(best, privacy=replace(best.privacy, mechanism=mechanism)), store)
        for mechanism in search.mechanisms
    ]
