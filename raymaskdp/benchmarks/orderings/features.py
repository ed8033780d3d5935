"""Features of the frozen backbone: of all videos once, then as the files that trials on each draw read.

A record's features depend on the record alone (`raymaskdp.train.features`), so those of a draw are rows of
those of all. Videos are divided into groups, because an interrupted run repeats the group at hand only.

Shapes: V videos, L clips of a video in the test, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raymaskdp.benchmarks.orderings.arms import Arm
from raymaskdp.benchmarks.orderings.draws import linked_store
from raymaskdp.files import atomic_path
from raymaskdp.models import load_weights
from raymaskdp.train import ClipStore, TrainConfig, evaluate
from raymaskdp.train.data import clips
from raymaskdp.train.data.batches import PixelInputs, Views
from raymaskdp.train.data.clips import records_of
from raymaskdp.train.features import features_path
from raymaskdp.train.metrics import top
from raymaskdp.train.run.setup import HeadAlone, initial_model, only_head_learns, open_inputs

GROUP = 64
"""Videos whose features are computed together."""
LOOKS = 3
"""Clips of a test video, as `evaluate` has by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features of all videos.

    Attributes:
      rows: the row of each video, by id.
      training: of the training clips, as `cached_features` returns them; V records.
      tests: of the clips of a test, float32 [V, L, D].
    """

    rows: dict[str, int]
    training: Views
    tests: Tensor


def feature_tasks(arms: Sequence[Arm], folder: Path) -> Iterator[TrainConfig]:
    """The groups of every clip store whose features arms learn from, without those that are computed."""
    found: set[Path] = set()
    for arm in arms:
        for config in _groups(arm, folder):
            store = ClipStore.open(config.data)
            model = initial_model(config, store)
            path = tests_path(config, store, model)
            if only_head_learns(model) and path not in found and not path.is_file():
                found.add(path)
                yield config


@torch.no_grad()
def compute_features(config: TrainConfig) -> None:
    """Features of the videos of a group: of the training clips, then of those of a test."""
    store = ClipStore.open(config.data)
    model = initial_model(config, store)
    open_inputs(config, store, model)
    model.eval()
    found = [
        model.features(clips.full_views(drawn, store.fill))  # type: ignore[operator]
        for drawn in (clips.evenly(store, video, LOOKS, config.clips) for video in store.split("train"))
    ]
    with atomic_path(tests_path(config, store, model), ours=True) as temporary:
        save_file({"features": torch.stack(found)}, temporary)


def load_features(arm: Arm, folder: Path) -> Features | None:
    """The features that an arm learns from; None if it learns from pixels."""
    rows: dict[str, int] = {}
    training: list[Views] = []
    tests = []
    for config in _groups(arm, folder):
        store = ClipStore.open(config.data)
        model = initial_model(config, store)
        if not only_head_learns(model):
            return None
        rows |= {video.video_id: len(rows) + n for n, video in enumerate(store.split("train"))}
        training.append(Views(**load_file(features_path(_pixels(config, store), model, config.model))))
        tests.append(load_file(tests_path(config, store, model))["features"])
    names = [field.name for field in dataclasses.fields(Views)]
    return Features(
        rows=rows,
        training=Views(**{name: torch.cat([getattr(part, name) for part in training]) for name in names}),
        tests=torch.cat(tests),
    )


def give_features(features: Features, config: TrainConfig) -> None:
    """Write the features of a draw where trials with `config` look for them."""
    store = ClipStore.open(config.data)
    model = initial_model(config, store)
    pixels = _pixels(config, store)
    path, tests = features_path(pixels, model, config.model), tests_path(config, store, model)
    if tests.is_file():
        return
    at = torch.tensor([features.rows[record.name] for record in pixels.records])
    with atomic_path(path, ours=True) as temporary:
        save_file({name: value[at] for name, value in vars(features.training).items()}, temporary)
    videos = store.split("test")
    at = torch.tensor([features.rows[video.video_id] for video in videos])
    labels = torch.tensor([int(store.target(str(video.label))) for video in videos])
    with atomic_path(tests, ours=True) as temporary:
        save_file({"features": features.tests[at], "labels": labels}, temporary)


def accuracy_of(config: TrainConfig, run: Path) -> tuple[float, int]:
    """Accuracy of a finished run on the test videos of its store, and their number: that of `evaluate`.

    From the features where the backbone is frozen.
    """
    store = ClipStore.open(config.data)
    model = initial_model(config, store)
    if not only_head_learns(model):
        measured = evaluate(run, views=LOOKS)
        return measured.score, measured.videos
    path = tests_path(config, store, model)
    load_weights(run / "model.safetensors", model)
    stored = load_file(path)
    with torch.no_grad():
        scores_VLC = HeadAlone(model.eval())(stored["features"]).softmax(dim=2)
    return top(scores_VLC.mean(dim=1).numpy(), stored["labels"].numpy(), 1), len(scores_VLC)


def tests_path(config: TrainConfig, store: ClipStore, model: nn.Module) -> Path:
    """The file of the features of test clips, beside that of training clips."""
    return features_path(_pixels(config, store), model, config.model).with_suffix(".tests.safetensors")


def _pixels(config: TrainConfig, store: ClipStore) -> PixelInputs:
    return PixelInputs(store, records_of(store.split("train"), config.privacy.unit), config.clips)


def _groups(arm: Arm, folder: Path) -> Iterator[TrainConfig]:
    pool = Path(str(arm.train.data))
    names = [video.video_id for video in ClipStore.open(pool).videos]
    for number, first in enumerate(range(0, len(names), GROUP)):
        place = folder / f"{pool.name}-{number:03d}"
        data = linked_store(pool, place, train=names[first : first + GROUP])
        yield dataclasses.replace(arm.train, data=data)
