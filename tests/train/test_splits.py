"""The validation part: nobody in two parts, the same people every time, out of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.changes import changed

from raymaskdp.errors import UserError
from raymaskdp.train import ClipStore, PrivacyConfig, TrainConfig, evaluate, train
from raymaskdp.train.data.splits import training_videos, videos_of
from raymaskdp.train.data.store import StoredVideo
from raymaskdp.train.trainer import make_job


def subjects_of(videos: Sequence[StoredVideo]) -> set[str | None]:
    return {video.subject for video in videos}


@given(share=st.floats(0.01, 0.74), named=st.booleans())
def test_nobody_is_in_two_parts_and_nothing_is_lost(base_config, share, named) -> None:
    store = ClipStore.open(base_config.data)
    if not named:
        store = replace(store, videos=tuple(replace(video, subject=None) for video in store.videos))
    config = changed(base_config, validation=share)
    kept, held_out = training_videos(store, config), videos_of(store, config, "validation")
    assert sorted(kept + held_out, key=lambda video: video.index) == list(store.split("train"))
    assert kept
    assert held_out
    groups = 4 if named else 18
    assert not named or subjects_of(kept).isdisjoint(subjects_of(held_out))
    assert len(subjects_of(held_out) if named else held_out) == max(round(share * groups), 1)
    assert videos_of(store, config, "train") == kept
    assert videos_of(store, config, "test") == store.split("test")


@pytest.fixture(scope="session")
def base_config(store_path, tmp_path_factory) -> TrainConfig:
    return TrainConfig(
        data=store_path, out=tmp_path_factory.mktemp("runs"), privacy=PrivacyConfig(noise_multiplier=1.0)
    )


def test_a_new_subject_moves_no_other_one_out(base_config) -> None:
    """The order of subjects is by name alone, so data that grow keep most of their parts."""
    store = ClipStore.open(base_config.data)
    config = changed(base_config, validation=0.25)
    before = subjects_of(videos_of(store, config, "validation"))
    grown = replace(store, videos=(*store.videos, replace(store.videos[0], subject="new", index=99)))
    after = subjects_of(videos_of(grown, config, "validation"))
    assert after in (before, {"new"})


def test_held_out_videos_are_no_records_and_are_measured_as_such(base) -> None:
    config = changed(base, validation=0.25)
    store = ClipStore.open(config.data)
    held_out = videos_of(store, config, "validation")
    plan = make_job(config).plan
    assert plan.num_records == 18 - len(held_out)
    run = train(config).run
    measured = evaluate(run, split="validation")
    assert measured.videos == len(held_out)
    assert "validation videos" in measured.data
    assert "ε does not cover" in measured.data
    assert "that were trained on" in evaluate(run, split="train").data
    assert (
        evaluate(run).data == "Measured on private videos that were not trained on; ε does not cover this "
        "measurement."
    )


def test_parts_that_cannot_be_made_are_refused(base) -> None:
    with pytest.raises(UserError, match="leaves no subject to train on"):
        train(changed(base, validation=0.9))
    with pytest.raises(UserError, match="no labelled video of split 'validation'"):
        evaluate(train(base).run, split="validation")
    store = ClipStore.open(base.data)
    own = replace(store, videos=(*store.videos, replace(store.videos[0], split="validation")))
    with pytest.raises(UserError, match="of its own"):
        training_videos(own, changed(base, validation=0.25))
