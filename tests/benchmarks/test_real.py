"""The benchmark of real clips, on sample videos: what it says of people agrees with what is known of them."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize import AnonymizeConfig
from raymaskdp.benchmarks.real import clips as real
from raymaskdp.benchmarks.real.clips import FATES, benchmark_real
from raymaskdp.benchmarks.settings.videos import RealConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import reader
from raymaskdp.video.masks import unpack

STILL = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of a person, and one of the room alone, with a still and marks of each."""
    made = tmp_path_factory.mktemp("clips")
    settings = SynthesizeConfig(
        seed=5, people=1, actions=("wave",), rooms=1, cameras=1, frames=16, width=320, height=240
    )
    synthesize(made, settings)
    (someone,) = (made / "videos").glob("*.mp4")
    clips = made / "chosen"
    (clips / "stills").mkdir(parents=True)
    someone.rename(clips / "someone.mp4")
    (truth,) = (made / "truth").glob("*.npz")
    with np.load(truth) as stored:
        mask_HW = unpack(stored["masks"][STILL], 240, 320)
    rows, columns = np.nonzero(mask_HW)
    box = columns.min() / 320, rows.min() / 240, (columns.max() + 1) / 320, (rows.max() + 1) / 240
    frame_HW3 = list(reader.stream(clips / "someone.mp4"))[STILL]
    cv2.imwrite(str(clips / "stills" / "someone.jpg"), cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR))
    elsewhere = 0.01, 0.02, 0.12, 0.2  # a mark without a person: the benchmark must report it
    with open(clips / "index.csv", "w", newline="") as opened:
        csv.writer(opened).writerows([("file", "category"), ("someone.mp4", "home")])
    with open(clips / "people.csv", "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("still", "left", "top", "right", "bottom", "kind"))
        writer.writerows([("someone", *box, "large"), ("someone", *elsewhere, "tiny")])
    return clips


def test_what_it_says_is_so(folder: Path, tmp_path: Path) -> None:
    settings = RealConfig(sheet=tmp_path / "sheet.png", anonymize=AnonymizeConfig(workers=0))
    result = benchmark_real(folder, tmp_path / "out", settings)
    (clip,) = result.clips
    assert clip.status == "done", clip.reason
    assert clip.person_frames["avatars"] >= 14
    assert result.recall == {"large": (1, 1), "tiny": (0, 1)}
    assert result.poses.people >= 1
    assert result.poses.kept > 0.5 * result.poses.keypoints
    assert result.fates == {"avatar": 1, "in sight": 1}
    assert result.false_boxes == 0
    assert clip.seen == clip.seen_by_nanodet == ()
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    for fate in FATES:
        assert fate in str(result)


def test_a_person_whom_no_mask_covers_is_reported_by_both_detectors(folder: Path, tmp_path: Path) -> None:
    nothing = np.zeros((16, 240 * 320 // 8), np.uint8)
    np.savez(tmp_path / "x.npz", height=240, width=320, person_masks=nothing, avatar_masks=nothing)
    detectors = (real.LookAgain(real.VerifyConfig()), real._nanodet(real.NanoDet()))
    by_second_look, by_nanodet = real._seen(detectors, folder / "someone.mp4", tmp_path / "x.npz", 5)
    assert by_second_look == by_nanodet == (0, 5, 10, 15)
    np.savez(tmp_path / "x.npz", height=240, width=320, person_masks=~nothing, avatar_masks=nothing)
    assert real._seen(detectors, folder / "someone.mp4", tmp_path / "x.npz", 5) == [(), ()]


def test_a_folder_without_an_index_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a folder of clips with an index"):
        benchmark_real(tmp_path, tmp_path / "out", RealConfig())
