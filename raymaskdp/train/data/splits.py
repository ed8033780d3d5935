"""The videos for training, for choosing settings, and for evaluation.

Settings chosen on test videos overfit them. So a share of the training videos may be held out: the
part "validation". It is split by subject, or by video if no subject is named, so that no person is in both
parts. Whether a subject is held out depends only on its own name: if it depended on the number of subjects,
one more record could move another from one part to the other.
"""

from __future__ import annotations

import hashlib

from raymaskdp.errors import UserError
from raymaskdp.train.config import VALIDATION, TrainConfig
from raymaskdp.train.data.store import ClipStore, StoredVideo


def training_videos(store: ClipStore, config: TrainConfig) -> tuple[StoredVideo, ...]:
    """The videos that a run is trained on: its split without what is held out."""
    return _parts(store, config)[0]


def videos_of(store: ClipStore, config: TrainConfig, part: str) -> tuple[StoredVideo, ...]:
    """The videos of a part of the data for a run: its held-out part, or a split of the store.

    Raises `UserError` if there is none.
    """
    if config.validation and part in (VALIDATION, config.split):
        kept, held_out = _parts(store, config)
        return held_out if part == VALIDATION else kept
    return store.split(part)


def _parts(store: ClipStore, config: TrainConfig) -> tuple[tuple[StoredVideo, ...], tuple[StoredVideo, ...]]:
    """The training videos and the held-out videos, each in the store's order."""
    videos = store.split(config.split)
    if not config.validation:
        return videos, ()
    if any(video.split == VALIDATION for video in store.videos):
        raise UserError(
            f"The clip store {store.path} has a split {VALIDATION!r} of its own; set validation=0 and use it."
        )
    kept = tuple(video for video in videos if _place(_group(video)) >= config.validation)
    held_out = tuple(video for video in videos if _place(_group(video)) < config.validation)
    if not (kept and held_out):
        whom = "no subject to train on" if held_out else "no subject held out"
        raise UserError(
            f"validation={config.validation:g} leaves {whom}: each subject of split {config.split!r} is held "
            "out or not by its name, and there are few of them; give another share."
        )
    return kept, held_out


def _group(video: StoredVideo) -> tuple[str, str]:
    """The group of videos that must stay together."""
    return ("video", video.video_id) if video.subject is None else ("subject", video.subject)


def _place(group: tuple[str, str]) -> float:
    """A subject's number in [0, 1), by a hash of its name: uniform over names."""
    return int.from_bytes(hashlib.sha256("/".join(group).encode()).digest()[:6], "big") / 2**48
