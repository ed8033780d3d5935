"""The papers' configurations: the real loader takes them, and their numbers are the papers'."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

from raymaskdp import config
from raymaskdp.sweep import SweepConfig
from raymaskdp.sweep.config import Trial, published_score, trials

FOLDER = Path(__file__).parents[1] / "configs" / "papers"
FILES = sorted(FOLDER.glob("*.yaml"))
EPSILONS = {0.5, 1.0, 2.0, 4.0, 5.0, 8.0, 10.0}


@functools.cache
def loaded(stem: str) -> tuple[SweepConfig, tuple[Trial, ...]]:
    sweep = config.load(SweepConfig, FOLDER / f"{stem}.yaml")
    return sweep, trials(sweep)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_is_one_that_the_loader_takes(path) -> None:
    sweep, planned = loaded(path.stem)
    if path.stem.startswith("sample_"):
        return
    assert {trial.config.privacy.epsilon for trial in planned} == EPSILONS | {None}
    assert f"configs/papers/{path.name}" in path.read_text()
    points = Counter(trial.config.seed for trial in planned)
    assert len(points) == len(sweep.seeds)
    assert len(set(points.values())) == 1


def numbers(stem: str) -> dict[tuple, float]:
    """Published per cents by (scheme, clips, ε)."""
    sweep, planned = loaded(stem)
    found = {}
    for trial in planned:
        score = published_score(sweep, trial.config)
        if score is not None:
            privacy = trial.config.privacy
            found[trial.config.scheme, privacy.clips, privacy.epsilon] = round(100 * score, 2)
    return found


# From the papers' tables, a second time and by another way than the files were written.
@pytest.mark.parametrize(
    ("stem", "count", "some"),
    [
        (
            "mvit_ucf101",
            12,
            {("selective", 8, 5.0): 80.86, ("scratch", 1, 10.0): 6.60, ("linear", 1, 5.0): 75.05},
        ),
        (
            "mvit_hmdb51",
            16,
            {("selective", 8, 10.0): 60.52, ("full", 8, 5.0): 29.20, ("adapter", 1, 10.0): 53.37},
        ),
        ("resnet_cifar100", 17, {("selective", 1, 8.0): 74.69, ("full", 1, None): 82.40}),
        (
            "vit_cifar100",
            21,
            {("selective", 1, 1.0): 84.73, ("adapter", 1, 8.0): 87.03, ("full", 1, None): 90.27},
        ),
        ("convnext_cifar100", 21, {("linear", 1, 2.0): 78.82, ("scratch", 1, 4.0): 15.97}),
        ("vit_b_clip_imagenet", 3, {("linear", 1, 10.0): 79.36}),
        ("vit_places_imagenet", 4, {("adapter", 1, 10.0): 40.47}),
        ("vit_places_imagenet_65536", 3, {("selective", 1, 10.0): 45.12}),
        ("vit_chexpert", 16, {("full", 1, 8.0): 85.78, ("adapter", 1, 1.0): 83.31}),
        ("convnext_chexpert", 16, {("adapter", 1, 8.0): 88.05, ("selective", 1, 2.0): 85.29}),
    ],
)
def test_published_numbers(stem, count, some) -> None:
    found = numbers(stem)
    assert len(found) == count
    assert some.items() <= found.items()
