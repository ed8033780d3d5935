"""Agreement of poses: all of it for the same video, none for a room without people."""

from pathlib import Path

import numpy as np
import pytest

from raymaskdp.anonymize.people.networks.multipose import MultiPose
from raymaskdp.benchmarks.real.pose_agreement import PoseAgreement, pose_agreement
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video import masks, reader
from raymaskdp.video.writer import VideoWriter

W, H, T, EVERY = 320, 240, 16, 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    settings = SynthesizeConfig(
        seed=5, people=1, actions=("wave",), rooms=1, cameras=1, frames=T, width=W, height=H
    )
    synthesize(folder, settings)
    (video,) = (folder / "videos").glob("*.mp4")
    return video


def arrays(folder: Path, avatar: bool) -> Path:
    covered = np.full((T, H, W), avatar)
    np.savez(folder / "a.npz", height=H, width=W, avatar_masks=masks.pack(covered))
    return folder / "a.npz"


def test_a_video_agrees_with_itself(clip: Path, tmp_path: Path) -> None:
    found = pose_agreement(clip, clip, arrays(tmp_path, True), every=EVERY, network=MultiPose())
    assert found.people == len(range(0, T, EVERY))
    assert found.kept == found.keypoints > 8 * found.people
    assert 0 < found.control <= found.controls <= found.keypoints
    assert "100.0%" in str(found + found)


def test_nobody_in_the_output_agrees_with_nothing(clip: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "empty.mp4", width=W, height=H, fps=12) as written:
        for _ in reader.stream(clip):
            written.write(np.full((H, W, 3), 120, np.uint8))
    found = pose_agreement(
        clip, tmp_path / "empty.mp4", arrays(tmp_path, True), every=EVERY, network=MultiPose()
    )
    assert found.keypoints > 0
    assert found.kept == 0


def test_people_without_an_avatar_are_not_compared(clip: Path, tmp_path: Path) -> None:
    found = pose_agreement(clip, clip, arrays(tmp_path, False), every=EVERY, network=MultiPose())
    assert found == PoseAgreement()
    assert str(found) == "pose agreement: nobody to compare"
