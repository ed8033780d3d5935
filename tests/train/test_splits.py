"""The validation part: no person in two parts, the same people every time, outside training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.changes import changed

from raymaskdp.errors import UserError
from raymaskdp.train import (
    ClipStore,
    PrepareConfig,
    PrivacyConfig,
    TrainConfig,
    evaluate,
    prepare,
    train,
)
from raymaskdp.train.data.splits import training_videos, videos_of
from raymaskdp.train.data.store import StoredVideo
from raymaskdp.train.run.setup import initial_model, set_up


def subjects_of(videos: Sequence[StoredVideo]) -> set[str | None]:
    return {video.subject for video in videos}


@given(share=st.floats(0.01, 0.74), named=st.booleans())
def test_nobody_is_in_two_parts_and_nothing_is_lost(base_config, share, named) -> None:
    store = ClipStore.open(base_config.data)
    if not named:
        store = replace(store, videos=tuple(replace(video, subject=None) for video in store.videos))
    config = changed(base_config, validation=share)
    names = [("subject", str(v.subject)) if named else ("video", v.video_id) for v in store.split("train")]
    chosen = [int(sha256("/".join(name).encode()).hexdigest()[:12], 16) < share * 16**12 for name in names]
    if all(chosen) or not any(chosen):
        with pytest.raises(UserError, match="held out or not by its name"):
            training_videos(store, config)
        return
    kept, held_out = training_videos(store, config), videos_of(store, config, "validation")
    assert sorted(kept + held_out, key=lambda video: video.index) == list(store.split("train"))
    assert not named or subjects_of(kept).isdisjoint(subjects_of(held_out))
    assert [video in held_out for video in store.split("train")] == chosen
    assert videos_of(store, config, "train") == kept
    assert videos_of(store, config, "test") == store.split("test")


@pytest.fixture(scope="session")
def base_config(store_path, tmp_path_factory) -> TrainConfig:
    return TrainConfig(
        data=store_path, out=tmp_path_factory.mktemp("runs"), privacy=PrivacyConfig(noise_multiplier=1.0)
    )


def test_one_more_record_moves_no_other(base_config) -> None:
    """However many there are: the parts of all others are the same, whichever part the new one falls into."""
    store = ClipStore.open(base_config.data)
    config = changed(base_config, validation=0.25)
    before = subjects_of(videos_of(store, config, "validation"))
    for number in range(40):
        new = replace(store.videos[0], video_id=f"v{number}", subject=f"new {number}", index=99 + number)
        store = replace(store, videos=(*store.videos, new))
        after = subjects_of(videos_of(store, config, "validation"))
        assert after - before in (set(), {f"new {number}"})
        assert before <= after
        before = after
    assert 6 <= len(before - {"s0", "s1", "s2", "s3"}) <= 15  # a quarter of 40, give or take chance


def test_one_more_record_changes_no_declared_head(anonymized, base, tmp_path) -> None:
    declared = PrepareConfig(width=32, height=24, classes=("across", "down", "still", "jump"))
    prepare(anonymized, tmp_path / "clips", declared)
    store = ClipStore.open(tmp_path / "clips")
    assert store.classes == declared.classes
    odd = replace(store, videos=(*store.videos, replace(store.videos[0], label="jump")))
    assert initial_model(base, odd).head.weight.shape == initial_model(base, store).head.weight.shape
    with pytest.raises(UserError, match=r"The label 'across' of .* is not a declared class"):
        prepare(anonymized, tmp_path / "other", replace(declared, classes=("down", "still")))


def test_add_remove_needs_declared_classes(base, anonymized, tmp_path) -> None:
    hidden = changed(base, privacy__mechanism="multiclip", privacy__adjacency="add-remove")
    with pytest.raises(UserError, match="taken from the labels of all records; declare them"):
        set_up(hidden)
    classes = ("across", "down", "still")
    prepare(anonymized, tmp_path / "clips", PrepareConfig(width=32, height=24, classes=classes))
    plan = set_up(changed(hidden, data=tmp_path / "clips")).job.plan
    assert "number of records, and what is computed from it, is taken as public" in plan.guarantee_statement


def test_a_large_delta_is_warned_of(base) -> None:
    result = train(changed(base, steps=1, privacy__delta=0.06))  # of 18 records
    assert "delta is 0.06, but with 18 records it should be below 0.056" in str(result)
    assert train(changed(base, steps=1, privacy__delta=0.05)).warnings == ()


def test_held_out_videos_are_no_records_and_are_measured_as_such(base) -> None:
    config = changed(base, validation=0.25)
    store = ClipStore.open(config.data)
    held_out = videos_of(store, config, "validation")
    plan = set_up(config).job.plan
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
    with pytest.raises(UserError, match="leaves no subject held out"):
        train(changed(base, validation=0.01))
    with pytest.raises(UserError, match="no labelled video of split 'validation'"):
        evaluate(train(base).run, split="validation")
    store = ClipStore.open(base.data)
    own = replace(store, videos=(*store.videos, replace(store.videos[0], split="validation")))
    with pytest.raises(UserError, match="of its own"):
        training_videos(own, changed(base, validation=0.25))
