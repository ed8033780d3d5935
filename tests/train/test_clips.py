"""Clips: their numbering, jitter, shift and flip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.samples import write_anonymized

from raymaskdp.errors import UserError
from raymaskdp.privacy import Key
from raymaskdp.train import ClipConfig, ClipStore, PrepareConfig, prepare
from raymaskdp.train.data import clips
from raymaskdp.train.data.batches import pick_draws
from raymaskdp.train.data.clips import _move

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


def test_copies_share_their_moment(store) -> None:
    record = clips.records_of(store.split("train"), "video")[0]
    still = ClipConfig(frames=4, stride=1, draws=3, copies=4, shift=0, flip=False)
    drawn = [clips.draw(store, record, number, still).frames_THW3 for number in range(still.numbers)]
    for number in range(12):
        np.testing.assert_array_equal(drawn[number], drawn[number - number % 4])
    assert len({frames.tobytes() for frames in drawn}) == 3
    moved = [clips.draw(store, record, n, replace(still, shift=3)).frames_THW3 for n in range(12)]
    assert len({frames.tobytes() for frames in moved}) > 8


def test_a_step_takes_all_copies_of_different_moments() -> None:
    config = ClipConfig(draws=5, copies=3)
    key = Key(secret=bytes(32))
    numbers = pick_draws(key, "clips", 0, np.array([4, 9]), 6, config)
    assert numbers.shape == (2, 6)
    for row in numbers:
        moments = row.reshape(2, 3) // 3
        assert (moments == moments[:, :1]).all()
        assert moments[0, 0] != moments[1, 0]
        assert sorted(row % 3) == [0, 0, 1, 1, 2, 2]
    assert pick_draws(key, "clips", 0, np.array([], dtype=np.int64), 6, config).shape == (0, 6)


@pytest.mark.parametrize("size", [(12, 16), (20, 20), (48, 64)])
def test_crops_are_windows_of_the_stored_frame(store, size) -> None:
    """Both views are cropped alike, and what is public depends on public pixels alone."""
    record = clips.records_of(store.split("train"), "video")[0]
    config = ClipConfig(frames=3, stride=1, size=size, crop=0.3, shift=0, flip=False)
    for number in range(4):
        clip = clips.draw(store, record, number, config)
        assert clip.frames_THW3.shape == (3, *size, 3)
        assert clip.sensitive_THW.shape == (3, *size)

    class Poisoned:
        height, width, fill = store.height, store.width, store.fill

        @staticmethod
        def read(index, times):
            frames, sensitive = store.read(index, times)
            return np.where(sensitive[..., None], 255 - frames, frames), sensitive

    for number in range(4):
        one = clips.draw(store, record, number, config)
        other = clips.draw(Poisoned, record, number, config)
        assert not np.array_equal(one.frames_THW3, other.frames_THW3)
        public = [clips.public_views([clip], store.fill) for clip in (one, other)]
        assert torch.equal(*public)


def test_the_whole_frame_is_left_alone(store) -> None:
    video = store.split("test")[0]
    clip = clips.evenly(store, video, 1, ClipConfig(frames=4, stride=1))[0]
    frames, sensitive = store.read(video.index, np.arange(5, 9))
    np.testing.assert_array_equal(clip.frames_THW3, frames)
    np.testing.assert_array_equal(clip.sensitive_THW, sensitive)


def test_evaluation_looks_at_windows_along_the_longer_axis(store) -> None:
    video = store.split("test")[0]
    config = ClipConfig(frames=4, stride=1, size=(24, 24))
    found = clips.evenly(store, video, 2, config, crops=3)
    assert len(found) == 6
    frames, _ = store.read(video.index, np.arange(14))
    left, middle, right = found[:3]
    start = next(t for t in range(11) if np.array_equal(left.frames_THW3, frames[t : t + 4, :, :24]))
    np.testing.assert_array_equal(middle.frames_THW3, frames[start : start + 4, :, 4:28])
    np.testing.assert_array_equal(right.frames_THW3, frames[start : start + 4, :, 8:])
    with pytest.raises(UserError, match="leave no room for 3 crops"):
        clips.evenly(store, video, 2, ClipConfig(frames=4), crops=3)


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"crop": 1.5}, {"size": (0, 4)}, {"copies": 0}])
def test_wrong_settings(wrong) -> None:
    with pytest.raises(UserError, match=r"clips\."):
        ClipConfig(**wrong)


def test_subjects_are_records_with_all_their_videos(store) -> None:
    records = clips.records_of(store.split("train"), "subject")
    assert [record.name for record in records] == ["s0", "s1", "s2", "s3"]
    assert [len(record.videos) for record in records] == [2, 2, 1, 1]
    labels = {clips.draw(store, records[0], n, CONFIG).label for n in range(8)}
    assert labels == {video.label for video in records[0].videos}


def test_a_missing_split_is_named(store) -> None:
    with pytest.raises(UserError, match=r"no labelled video of split 'val' \(it has: test, train\)"):
        store.split("val")
