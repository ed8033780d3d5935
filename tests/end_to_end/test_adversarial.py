"""People whom the search does not find: what looks again must see them, in every frame.

They are missed because files are asked for poses that know nothing of them and no detector looks before
(`pose.veto=false`); or because they are small, many, on a wall, or there for a moment.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.formats import Film, Truth
from support.staged import Shown, Staged, stage

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.output.manifest import Row
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.writer import VideoWriter

pytestmark = pytest.mark.slow

DEFAULTS = VerifyConfig()
"""The limits of a user who sets none: what is redacted here is not so much that a video is refused."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Two people who wave beside each other, 640 by 480 pixels."""
    folder = tmp_path_factory.mktemp("large")
    settings = SynthesizeConfig(
        seed=1, people=2, actions=("wave",), rooms=1, cameras=1, frames=8, persons_per_video=2,
        width=640, height=480,
    )  # fmt: skip
    synthesize(folder, settings)
    path = sorted((folder / "videos").glob("*.mp4"))[0]
    truth = folder / "truth" / f"{path.stem}.npz"
    return Film(VideoRecord(video_id="v", path=str(path)), probe(path), Truth(truth), truth)


def removed(out: Path, name: str = "scene") -> np.ndarray:
    """What was replaced, bool [T, H, W]."""
    with np.load(out / f"{name}.npz") as written:
        return unpack(written["person_masks"], int(written["height"]), int(written["width"]))


def least_removed(scene: Staged, out: Path, person: int) -> float:
    """The smallest share of a person's pixels that was replaced, over the frames that show the person."""
    shares = [
        gone[masks[person]].mean()
        for gone, masks in zip(removed(out), scene.masks, strict=True)
        if len(masks) > person and masks[person].sum() >= 30
    ]
    assert shares
    return float(min(shares))


def rungs(row: Row) -> dict[str, int]:
    counts = json.loads(row.metrics)["person_frames"]
    assert json.loads(row.metrics)["surviving_pixels"] == 0
    return {str(name): int(count) for name, count in counts.items()}


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(Shown(1, known=False), id="whole"),
        pytest.param(Shown(1, size=0.5, known=False), id="half as large"),
        pytest.param(Shown(1, size=0.3, known=False), id="tiny"),
        pytest.param(Shown(1, dx=100, known=False), id="half out of the frame"),
        pytest.param(Shown(1, dy=190, known=False), id="head and shoulders"),
    ],
)
def test_somebody_beside_a_person_who_is_known(large: Film, tmp_path: Path, hidden: Shown) -> None:
    """One has an avatar; the other one, of whom no search knows, is redacted in every frame."""
    scene = stage(tmp_path, large, [[Shown(0, dx=-60), hidden]] * 8)
    (row,) = scene.anonymized(tmp_path / "out", veto=False, verify=DEFAULTS).rows
    assert row.status == "done", row.reason
    counts = rungs(row)
    assert counts["avatars"] + counts["blank"] >= 8
    assert counts["background"] + counts["filled"] + counts["blank"] >= 8
    assert least_removed(scene, tmp_path / "out", 1) > 0.95


def test_somebody_behind_a_person_who_is_known(large: Film, tmp_path: Path) -> None:
    """Half of them is in the mask of the one in front; the other half must go, too."""
    points = large.truth.pixels(large.truth.joints).mean((1, 2))[:, 0]
    beside = Shown(1, dx=0.6 * float(points[0] - points[1]), known=False)
    scene = stage(tmp_path, large, [[beside, Shown(0)]] * 8)
    (row,) = scene.anonymized(tmp_path / "out", veto=False, verify=DEFAULTS).rows
    assert row.status == "done", row.reason
    assert least_removed(scene, tmp_path / "out", 0) > 0.95


@pytest.mark.parametrize("searched", [False, True])
def test_a_person_of_one_frame(large: Film, tmp_path: Path, searched: bool) -> None:
    """A person who is visible for a twelfth of a second, with and without a search before."""
    frames: list[Sequence[Shown]] = [[] for _ in range(16)]
    frames[9] = [Shown(0, known=False)]
    scene = stage(tmp_path, large, frames)
    if searched:
        config = AnonymizeConfig(workers=0, verify=DEFAULTS)
        (row,) = anonymize(scene.video, tmp_path / "out", config, progress=False).rows
    else:
        (row,) = scene.anonymized(tmp_path / "out", veto=False, verify=DEFAULTS).rows
    assert row.status == "done", row.reason
    gone = removed(tmp_path / "out")
    assert gone[9][scene.masks[9][0]].mean() > 0.97
    near = [frame for frame in range(16) if gone[frame][scene.masks[9][0]].mean() > 0.9]
    if (
        searched
    ):  # for a quarter of a second around it the place is redacted, so that nothing blinks; no longer
        assert near == list(range(6, 13))
        assert sum(rungs(row).values()) >= 7
    else:  # what differs from the plate in one frame is taken out there, before anybody looks again
        assert near == [9]


def test_a_face_on_a_poster(large: Film, shared_videos: Path, tmp_path: Path) -> None:
    """A photograph of a real face hangs on the wall of a room in which a known person waves."""
    still = shared_videos / "real" / "stills" / "face_grimace.jpg"
    if not still.is_file():
        pytest.skip(f"the real stills are not at {still.parent}")
    photo = cv2.imread(str(still))[..., ::-1]
    look = LookAgain(VerifyConfig())
    faces_N5 = look.faces(photo)
    x0, y0, x1, y1 = boxes.clip_to_frame(
        boxes.expand(faces_N5[faces_N5[:, 4].argmax()], 0.4), height=photo.shape[0], width=photo.shape[1]
    )
    poster = cv2.resize(photo[y0:y1, x0:x1], (90, 110), interpolation=cv2.INTER_AREA)
    scene = stage(tmp_path, large, [[Shown(0, dx=60)]] * 8)
    frames = list(stream(scene.video))
    hung = np.s_[30:140, 20:110]
    with VideoWriter(scene.video, width=640, height=480, fps=scene.info.fps) as writer:
        for frame_HW3 in frames:
            with_poster = frame_HW3.copy()
            with_poster[hung] = poster
            writer.write(with_poster)
    assert all(len(look.faces(frame_HW3[:200, :200])) for frame_HW3 in stream(scene.video))
    (row,) = scene.anonymized(tmp_path / "out", veto=False, verify=DEFAULTS).rows
    assert row.status == "done", row.reason
    middle = np.s_[50:120, 40:90]
    for gone_HW, after_HW3 in zip(removed(tmp_path / "out"), stream(tmp_path / "out/scene.mp4"), strict=True):
        assert gone_HW[middle].mean() > 0.95
        assert not len(look.faces(np.ascontiguousarray(after_HW3[:200, :200])))


def test_a_crowd_of_thirty(large: Film, tmp_path: Path) -> None:
    """Thirty people a sixth as tall as the frame: the search finds most, and what is left is redacted."""
    places = [
        Shown(number % 2, dx=-215 + 42.0 * (number % 10), dy=-150 + 80.0 * (number // 10), size=0.25)
        for number in range(30)
    ]
    scene = stage(tmp_path, large, [places] * 6)
    config = AnonymizeConfig(workers=0, verify=DEFAULTS)
    (row,) = anonymize(scene.video, tmp_path / "out", config, progress=False).rows
    assert row.status == "done", row.reason
    gone = removed(tmp_path / "out")
    shares = np.array(
        [
            [gone[frame][mask].mean() for mask in masks if mask.sum() >= 30]
            for frame, masks in enumerate(scene.masks)
        ]
    )
    assert shares.shape[1] == 30
    assert (shares > 0.9).mean() > 0.9, shares.round(2).tolist()
    # People who stand behind others may be inside their boxes, and are counted with them.
    assert sum(rungs(row).values()) >= 6 * 25
