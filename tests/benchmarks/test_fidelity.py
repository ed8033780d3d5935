"""Folds of `benchmark fidelity`: each person is tested once, by heads trained on other people."""

from pathlib import Path

import pytest

from raymaskdp.benchmarks.fidelity import fold_of
from raymaskdp.benchmarks.settings.videos import FidelityConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.train.data.prepare_job import PrepareConfig
from raymaskdp.train.data.store import ClipStore
from raymaskdp.train.preparation import prepare


def test_everybody_is_in_the_test_of_one_fold_and_clips_stay_where_they_are(tmp_path: Path) -> None:
    film = SynthesizeConfig(
        people=4, actions=("wave", "squat"), rooms=1, cameras=1, frames=4, width=96, height=64
    )
    synthesize(tmp_path / "videos", film)
    prepare(tmp_path / "videos", tmp_path / "clips", PrepareConfig())
    whole = ClipStore.open(tmp_path / "clips")
    tested: list[str] = []
    for fold in range(3):
        part = ClipStore.open(fold_of(tmp_path / "clips", tmp_path / f"fold{fold}", fold, 3))
        assert {(v.video_id, v.label, v.subject, v.frames_sha256) for v in part.videos} == {
            (v.video_id, v.label, v.subject, v.frames_sha256) for v in whole.videos
        }
        test, rest = part.split("test"), part.split("train")
        assert len(test) + len(rest) == len(whole.videos)
        assert not {v.subject for v in test} & {v.subject for v in rest}
        tested += [v.video_id for v in test]
        frames_TCHW, _ = part.read(test[0].index, [0, 1])
        assert (frames_TCHW == whole.read(test[0].index, [0, 1])[0]).all()
    assert sorted(tested) == sorted(v.video_id for v in whole.videos)
    assert {v.split for v in ClipStore.open(tmp_path / "clips").videos} == {v.split for v in whole.videos}


def test_more_folds_than_people_are_refused() -> None:
    with pytest.raises(UserError, match="folds"):
        FidelityConfig(people=4, folds=5)
