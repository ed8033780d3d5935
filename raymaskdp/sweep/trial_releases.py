"""The releases of a sweep's trials, for the selection cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
    models.
    """
    shared = scored_on(config, [config.train]) if config.pays else None
    if shared:
        raise UserError(
            f"tuning=papernot-steinke pays for choosing among models, but {shared}, and scores on them are "
            "not paid for; split the data by subject."
        )


def scored_on(config: SweepConfig, trained: Sequence[TrainConfig]) -> str | None:
    """What the videos that decide between runs, or that they are measured on, have in common with those that
    any of the runs with these settings is trained on; None if nothing.

    By names only: the answer is published, and contents are private. Unnamed subjects are assumed to be
    different. Videos that earlier runs were trained
    on, from which initial weights come, are not looked at.
    """
    stores = [ClipStore.open(train.data) for train in trained]
    used = [
        video for store, train in zip(stores, trained, strict=True) for video in training_videos(store, train)
    ]
    names, people = {video.video_id for video in used}, {video.subject for video in used}
    for store, train in zip(stores, trained, strict=True):
        for name, part in (("choose_on", config.chosen_on), ("split", config.split)):
            shown = videos_of(store, train, part)
            same = [one.video_id for one in shown if one.video_id in names]
            if same:
                return f"{len(same)} videos of {name} ({part!r}), such as {same[0]}, are training videos"
            subjects = sorted({one.subject for one in shown if one.subject is not None} & people)
            if subjects:
                return (
                    f"{len(subjects)} subjects of {name} ({part!r}), such as {subjects[0]}, are in the "
                    "training videos too"
                )
    return None


def selection_cost_of(
    config: SweepConfig, planned: Sequence[Trial], results: pd.DataFrame, best: TrainConfig
) -> SelectionCost:
    """The selection cost of a sweep whose best configuration is `best`.

    Every trial counts with all its steps, also those that failed or were stopped early, because these events
    depend on private data. A trial whose plan failed released nothing.
    """
    made: list[PrivacyPlan] = []
    before: dict[str, PrivacyPlan] = {}
    by_videos: dict[Any, TrainConfig] = {}  # one for each choice of videos
    for trial, status in zip(planned, results["status"], strict=True):
        store = ClipStore.open(trial.config.data)
        try:
            plan, origins = plan_of(trial.config, store), plans_before(trial.config, store)
        except UserError:
            if status != "failed":
                raise
            continue
        made.append(plan)
        by_videos[trial.config.data, trial.config.split, trial.config.validation] = trial.config
        before |= origins
    search = config.search if config.pays else None
    return selection_cost(
        plan_of(best, ClipStore.open(best.data)),
        made,
        possible=_possible(search, best) if search else (),
        before=list(before.values()),
        expected_runs=search.trials if search else None,
        tuning=config.tuning,
        scored_on=scored_on(config, list(by_videos.values())),
    )


def _possible(search: Search, best: TrainConfig) -> list[PrivacyPlan]:
    """The plan of a trial with each mechanism of the space. Nothing else in it affects what ε is about."""
    store = ClipStore.open(best.data)
    return [
        plan_of(replace(best, privacy=replace(best.privacy, mechanism=mechanism)), store)
        for mechanism in search.mechanisms
    ]
