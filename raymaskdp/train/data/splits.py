"""Which videos a run is trained on, and which it is chosen and measured by.

Settings chosen on test videos fit the test videos. So a share of the training videos may be held out: the
part "validation". It is cut by subject, or by video where no subject is named, so that nobody is in both
parts; which subjects follows from their names alone, and the names are public.
"""

from __future__ import annotations

import hashlib

from raymaskdp.errors import UserError
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.store import ClipStore, StoredVideo

VALIDATION = "validation"


def training_videos(store: ClipStore, config: TrainConfig) -> tuple[StoredVideo, ...]:
    """The videos that a run is trained on: its split without what is held out."""
    return _parts(store, config)[0]


def videos_of(store: ClipStore, config: TrainConfig, part: str) -> tuple[StoredVideo, ...]:
    """The videos of a part of the data, as a run sees it: what it holds out, or a split of the store.

    Raises `UserError` if there is none.
    """
    if config.validation and part in (VALIDATION, config.split):
        kept, held_out = _parts(store, config)
        return held_out if part == VALIDATION else kept
    return store.split(part)


def _parts(store: ClipStore, config: TrainConfig) -> tuple[tuple[StoredVideo, ...], tuple[StoredVideo, ...]]:
    """What is kept for training, and what is held out, each in the store's order."""
    videos = store.split(config.split)
    if not config.validation:
        return videos, ()
    if any(video.split == VALIDATION for video in store.videos):
        raise UserError(
            f"The clip store {store.path} has a split {VALIDATION!r} of its own; set validation=0 and use it."
        )
    groups = sorted({_group(video) for video in videos}, key=_order)
    count = max(round(config.validation * len(groups)), 1)
    if count >= len(groups):
        raise UserError(
            f"validation={config.validation:g} leaves no subject to train on: split {config.split!r} has "
            f"{len(groups)}."
        )
    chosen = set(groups[:count])
    kept = tuple(video for video in videos if _group(video) not in chosen)
    return kept, tuple(video for video in videos if _group(video) in chosen)


def _group(video: StoredVideo) -> tuple[str, str]:
    """What must not be split."""
    return ("video", video.video_id) if video.subject is None else ("subject", video.subject)


def _order(group: tuple[str, str]) -> bytes:
    """An arbitrary order that other subjects do not change."""
    return hashlib.sha256("/".join(group).encode()).digest()
