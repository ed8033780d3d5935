"""Draws of the data: random divisions of the people, each as clip stores with links to the clips of all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from raymaskdp.benchmarks.fidelity import write_splits
from raymaskdp.benchmarks.settings.orderings import OrderingsConfig
from raymaskdp.errors import UserError
from raymaskdp.train import ClipStore

Part = Literal["choice", "test"]
CHOICE: Part = "choice"
TEST: Part = "test"

HELD_OUT = 0.2
"""Share of a draw's training people on whom its learning rates are chosen; the others train for that."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """Training and test videos of one draw, by their ids, for the choice of rates or for the test."""

    draw: int
    part: Part
    train: tuple[str, ...]
    test: tuple[str, ...]


def divisions(store: ClipStore, settings: OrderingsConfig) -> list[Division]:
    """Both divisions of every draw.

    Test people are drawn without replacement in a draw, and anew in the next. Nobody in the test of a draw is
    in its training or its choice. All draws have as many training videos, as many as the smallest has, so
    that ε costs the same noise in all.
    """
    found = []
    people = sorted({str(video.subject) for video in store.videos})
    for draw in range(settings.draws):
        rng = np.random.default_rng([settings.seed, 1, draw])
        order = [people[number] for number in rng.permutation(len(people))]
        videos = [store.videos[number] for number in rng.permutation(len(store.videos))]
        tested, trained = order[: settings.test_people], order[settings.test_people :]
        held_out = max(1, round(HELD_OUT * len(trained)))
        for part, learns, measures in (
            (CHOICE, trained[held_out:], trained[:held_out]),
            (TEST, trained, tested),
        ):
            train, test = (
                tuple(video.video_id for video in videos if video.subject in set(who))
                for who in (learns, measures)
            )
            if not (train and test):
                raise UserError(f"Draw {draw} has no videos to train on, or none to test; give more people.")
            found.append(Division(draw=draw, part=part, train=train, test=test))
    fewest = {part: min(len(one.train) for one in found if one.part == part) for part in (CHOICE, TEST)}
    return [
        Division(draw=one.draw, part=one.part, train=one.train[: fewest[one.part]], test=one.test)
        for one in found
    ]


def store_of(division: Division, pool: Path, folder: Path) -> Path:
    """The clip store of a division, in `folder`; made if it is missing."""
    place = folder / f"{division.draw:02d}-{division.part}"
    return linked_store(pool, place, train=division.train, test=division.test)


def linked_store(pool: Path, place: Path, *, train: Iterable[str], test: Iterable[str] = ()) -> Path:
    """The store `pool` at `place`, with a link to its clips and other splits; complete or absent.

    Other videos are in the split "unused".
    """
    if not place.is_dir():
        split = {**dict.fromkeys(train, "train"), **dict.fromkeys(test, "test")}
        names = pd.read_parquet(pool / "videos.parquet", columns=["video_id"])["video_id"]
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))  # left by a killed run
        (beside / "clips").symlink_to(
            os.path.relpath((pool / "clips").resolve(), place.parent.resolve() / place.name)
        )
        write_splits(pool, beside, [split.get(name, "unused") for name in names])
        beside.rename(place)
    return place
