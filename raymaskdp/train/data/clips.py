"""Clips of stored videos: their frames, crops, shifts and flips, and their form for a model.

A record is a video, or with `unit="subject"` all videos of a subject. Its clips are numbered: draw
number m of a record is always the same clip, a function of the record's name and m, and not of
private data. Training picks numbers with the run's key; pixels have no influence.

Shapes: B clips, C colours, T frames, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.train.config import ClipConfig
from raymaskdp.train.data import views
from raymaskdp.train.data.store import ClipStore, StoredVideo


@dataclass(frozen=True, kw_only=True)
class Record:
    """The unit of privacy: one video, or all videos of one subject."""

    name: str
    videos: tuple[StoredVideo, ...]


@dataclass(frozen=True)
class Clip:
    """One clip of a record: the full view, its sensitive tokens, and its video's label."""

    frames_THW3: np.ndarray
    sensitive_THW: np.ndarray
    label: str


def records_of(videos: Sequence[StoredVideo], unit: str) -> tuple[Record, ...]:
    """Group videos into records of the `unit` "video" or "subject", in order of first appearance.

    Raises `UserError` if the unit is the subject and a video names none.
    """
    check.one_of("unit", unit, ("video", "subject"))
    groups: dict[str, list[StoredVideo]] = defaultdict(list)
    for video in videos:
        if unit == "subject" and video.subject is None:
            raise UserError(
                f"The video {video.video_id} names no subject; "
                "fill in the manifest, or use privacy.unit=video."
            )
        groups[video.video_id if unit == "video" else str(video.subject)].append(video)
    return tuple(Record(name=name, videos=tuple(members)) for name, members in groups.items())


def draw(store: ClipStore, record: Record, number: int, config: ClipConfig) -> Clip:
    """Training clip `number` of a record: jittered in time, cropped, shifted and flipped."""
    name = int.from_bytes(hashlib.sha256(record.name.encode()).digest()[:8], "little")
    moment, copy = divmod(number, config.copies)
    when = np.random.default_rng([moment, name])
    how = np.random.default_rng([moment, name, copy + 1])
    video = record.videos[when.integers(len(record.videos))]
    stride = _fitting_stride(video, config)
    last_start = max(video.num_frames - 1 - (config.frames - 1) * stride, 0)
    times = _times(video, int(when.integers(last_start + 1)), stride, config)
    frames, sensitive = store.read(video.index, times)
    stored, size = frames.shape[1:3], config.size_in(store)
    scale = views.largest_scale(stored, size) * math.sqrt(how.uniform(config.crop, 1.0))
    slack = [int(whole - part * scale + 1e-6) for whole, part in zip(stored, size, strict=True)]
    corner = (int(how.integers(slack[0] + 1)), int(how.integers(slack[1] + 1)))
    frames, sensitive = _crop(frames, sensitive, size, scale, corner)
    down, right = how.integers(-config.shift, config.shift + 1, size=2)
    mirrored = config.flip and bool(how.integers(2))
    # Pixels shifted in from outside are the fill in both views, and not from the video.
    frames = _move(frames, down, right, mirrored, outside=store.fill)
    sensitive = _move(sensitive, down, right, mirrored, outside=0)
    return Clip(frames, sensitive, str(video.label))


def evenly(
    store: ClipStore, video: StoredVideo, count: int, config: ClipConfig, crops: int = 1
) -> list[Clip]:
    """`count` clips of a video evenly spread over its time, each in `crops` windows: for evaluation.

    The windows are the largest that fit, in the middle or evenly spread along the axis that leaves room.
    Raises `UserError` for several windows where no axis does.
    """
    stored, size = (store.height, store.width), config.size_in(store)
    scale = views.largest_scale(stored, size)
    room = (stored[0] - size[0] * scale, stored[1] - size[1] * scale)
    if crops > 1 and max(room) < 1:
        raise UserError(
            f"Stored frames of {stored[1]} x {stored[0]} pixels leave no room for {crops} crops of the same "
            "aspect; use crops=1, or clips.size with another aspect."
        )
    places = np.linspace(0, 1, crops) if crops > 1 else [0.5]
    stride = _fitting_stride(video, config)
    last_start = max(video.num_frames - 1 - (config.frames - 1) * stride, 0)
    starts = np.linspace(0, last_start, count + 2)[1:-1].round().astype(int)
    clips = []
    for start in starts:
        frames, sensitive = store.read(video.index, _times(video, int(start), stride, config))
        for place in places:
            corner = (room[0] * place, room[1] * place)
            clips.append(Clip(*_crop(frames, sensitive, size, scale, corner), str(video.label)))
    return clips


def full_views(clips: Sequence[Clip], fill: int) -> Tensor:
    """The clips' full views, for a model: float32 [B, C, T, H, W], 0 is the fill."""
    return _to_model([clip.frames_THW3 for clip in clips], fill)


def public_views(clips: Sequence[Clip], fill: int) -> Tensor:
    """The clips' public views, for a model: float32 [B, C, T, H, W], 0 is the fill."""
    return _to_model([views.public_view(clip.frames_THW3, clip.sensitive_THW, fill) for clip in clips], fill)


def _to_model(clips_THW3: Sequence[np.ndarray], fill: int) -> Tensor:
    clips_BTHW3 = torch.from_numpy(np.stack(clips_THW3))
    return (clips_BTHW3.movedim(-1, 1).to(torch.float32) - fill) / 128


def _fitting_stride(video: StoredVideo, config: ClipConfig) -> int:
    return max(min(config.stride, (video.num_frames - 1) // max(config.frames - 1, 1)), 1)


def _times(video: StoredVideo, start: int, stride: int, config: ClipConfig) -> np.ndarray:
    """Frame numbers of a clip; a video shorter than a clip repeats its last frame."""
    return np.minimum(start + stride * np.arange(config.frames), video.num_frames - 1)


def _crop(
    frames_THW3: np.ndarray,
    sensitive_THW: np.ndarray,
    size: tuple[int, int],
    scale: float,
    corner: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """A window scaled to `size`; sensitive wherever a sensitive pixel contributes."""
    stored = frames_THW3.shape[1:3]
    if stored == size and scale == 1:
        return frames_THW3, sensitive_THW
    resampling = views.Resampling.window(stored, size, scale, corner)
    return resampling.frames(frames_THW3), resampling.touched(sensitive_THW)


def _move(frames_THW: np.ndarray, down: int, right: int, mirrored: bool, *, outside: int) -> np.ndarray:
    """Mirror left and right, then move by whole pixels; [T, H, W, ...]."""
    if mirrored:
        frames_THW = frames_THW[:, :, ::-1]
    height, width = frames_THW.shape[1:3]
    moved = np.full_like(frames_THW, outside)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = frames_THW[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
