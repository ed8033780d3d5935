"""Clips: their numbering, jitter, shift and flip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import write_anonymized

from raymaskdp.errors import UserError
from raymaskdp.train import ClipConfig, ClipStore, PrepareConfig, clips, prepare
from raymaskdp.train.clips import _move

CONFIG = ClipConfig(frames=4, stride=2, draws=8, shift=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ClipStore:
    folder = tmp_path_factory.mktemp("data")
    write_anonymized(folder / "anonymized", train=6, test=2)
    prepare(folder / "anonymized", folder / "clips", PrepareConfig(width=32, height=24))
    return ClipStore.open(folder / "clips")


def test_a_number_is_always_the_same_clip(store) -> None:
    record, *others = clips.records_of(store.split("train"), "video")
    once, again = (clips.draw(store, record, 5, CONFIG) for _ in range(2))
    np.testing.assert_array_equal(once.frames_THW3, again.frames_THW3)
    different = {clips.draw(store, record, n, CONFIG).frames_THW3.tobytes() for n in range(8)}
    assert len(different) >= 7
    # The position of a record in the store does not matter, only its name.
    starts = {clips.draw(store, other, 5, CONFIG).frames_THW3.tobytes() for other in others}
    assert len(starts) == len(others)


def test_both_views_move_together(store) -> None:
    record = clips.records_of(store.split("train"), "video")[0]
    drawn = [clips.draw(store, record, n, CONFIG) for n in range(8)]
    full, public = clips.full_views(drawn, store.fill), clips.public_views(drawn, store.fill)
    sensitive = torch.from_numpy(np.stack([clip.sensitive_THW for clip in drawn]))[:, None].expand_as(full)
    assert torch.equal(full[~sensitive], public[~sensitive])
    assert (public[sensitive] == 0).all()
    assert full.min() >= -1
    assert full.max() <= 1


def test_move_is_a_mirror_and_a_shift() -> None:
    frame = np.arange(1, 13).reshape(1, 3, 4)
    np.testing.assert_array_equal(_move(frame, 0, 0, False, outside=0), frame)
    np.testing.assert_array_equal(_move(frame, 0, 0, True, outside=0)[0], frame[0, :, ::-1])
    np.testing.assert_array_equal(
        _move(frame, 1, -2, False, outside=0)[0], [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]]
    )


def test_short_videos_are_stretched_and_repeated(store) -> None:
    record = clips.records_of(store.split("train"), "video")[0]
    long = clips.draw(store, record, 0, ClipConfig(frames=20, stride=5, shift=0, flip=False))
    frames, _ = store.read(record.videos[0].index, np.minimum(np.arange(20), 13))
    np.testing.assert_array_equal(long.frames_THW3, frames)


def test_subjects_are_records_with_all_their_videos(store) -> None:
    records = clips.records_of(store.split("train"), "subject")
    assert [record.name for record in records] == ["s0", "s1", "s2", "s3"]
    assert [len(record.videos) for record in records] == [2, 2, 1, 1]
    labels = {clips.draw(store, records[0], n, CONFIG).label for n in range(8)}
    assert labels == {video.label for video in records[0].videos}


def test_a_missing_split_is_named(store) -> None:
    with pytest.raises(UserError, match=r"no labelled video of split 'val' \(it has: test, train\)"):
        store.split("val")
