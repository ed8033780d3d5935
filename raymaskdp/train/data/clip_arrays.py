"""The arrays of a clip: frames at training size, and their sensitive tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from raymaskdp.datasets.ids import IMAGE_SUFFIXES
from raymaskdp.errors import UserError
from raymaskdp.train.data import views
from raymaskdp.train.data.clip_sources import ClipSource
from raymaskdp.train.data.positive_controls import with_blurred_people, without_people
from raymaskdp.train.data.prepare_job import People
from raymaskdp.video import masks
from raymaskdp.video.picture import read_picture
from raymaskdp.video.reader import stream

CHUNK = 32
"""Frames resampled at a time, which bounds memory at source size."""


def masked_views(one: ClipSource, size: tuple[int, int], token: int) -> tuple[np.ndarray, np.ndarray]:
    """The full view at training size, uint8 [T, H, W, 3], and its sensitive tokens, bool [T, h, w]."""
    full_views, sensitive_tokens = [], []
    for composite, avatar, sensitive in _chunks(one):
        resampling = views.Resampling.between(composite.shape[1:3], size)
        tokens = views.sensitive_tokens(resampling.touched(sensitive), token)
        sensitive_tokens.append(tokens)
        full_views.append(
            views.full_view(
                resampling.frames(composite),
                resampling.frames(avatar),
                views.expand(tokens, token),
            )
        )
    if not full_views:
        raise UserError(f"The video {one.record.path} has no frames.")
    return np.concatenate(full_views), np.concatenate(sensitive_tokens)


def control_views(
    one: ClipSource, size: tuple[int, int], token: int, people: People
) -> tuple[np.ndarray, np.ndarray]:
    """The same of the source with its people removed or blurred; all tokens are sensitive."""
    if one.original is None or one.avatar_masks is None:
        raise UserError(f"people={people} needs the masks of people; prepare an output folder of anonymize.")
    with np.load(one.avatar_masks, allow_pickle=False) as arrays:
        covers = masks.unpack(arrays["person_masks"], int(arrays["height"]), int(arrays["width"]))
    frames, covered, start = [], [], 0
    for source in _batched(stream(one.original)):
        inside = covers[start : start + CHUNK]
        if source.shape[:3] != inside.shape:
            break
        resampling = views.Resampling.between(source.shape[1:3], size)
        frames.append(resampling.frames(source))
        covered.append(resampling.touched(inside))
        start += len(source)
    if start != len(covers) or not frames:
        raise UserError(f"{one.original} differs from its masks in size or length; anonymize it again.")
    change = without_people if people == "removed" else with_blurred_people
    changed = change(np.concatenate(frames), np.concatenate(covered))
    rows, columns = size[0] // token, size[1] // token
    return changed, np.ones((len(changed), rows, columns), dtype=bool)


def _chunks(one: ClipSource) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs of frames: composite and avatar layer, uint8 [T, S, R, 3], and where sensitive, bool [T, S, R]."""
    if one.avatar_layer is None or one.avatar_masks is None:
        picture = Path(one.record.path).suffix.lower() in IMAGE_SUFFIXES
        for frames in _batched(read_picture(one.record.path) if picture else stream(one.record.path)):
            yield frames, np.zeros_like(frames), np.ones(frames.shape[:3], dtype=bool)
        return
    with np.load(one.avatar_masks, allow_pickle=False) as arrays:
        covered = masks.unpack(arrays["avatar_masks"], int(arrays["height"]), int(arrays["width"]))
    start = 0
    # Not `zip`: a layer that is shorter than its video must be detected.
    layers = itertools.zip_longest(_batched(stream(one.record.path)), _batched(stream(one.avatar_layer)))
    for composite, avatar in layers:
        inside = covered[start : start + CHUNK]
        if composite is None or avatar is None or not composite.shape[:3] == avatar.shape[:3] == inside.shape:
            raise UserError(
                f"{one.record.path}, its avatar layer and its masks differ in size or length; "
                "anonymize it again."
            )
        start += len(composite)
        yield composite, avatar, ~inside
    if start != len(covered):
        raise UserError(f"{one.record.path} has fewer frames than masks; anonymize it again.")


def _batched(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while chunk := list(itertools.islice(frames, CHUNK)):
        yield np.stack(chunk)
