"""Finding people in rendered and real frames: everybody is found, or the frame is called suspicious."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.scoring import score
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.fit import FitBodies, FitConfig
from raymaskdp.errors import UserError
from raymaskdp.synthetic.synthesize import SynthesizeConfig, synthesize
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import VideoInfo, probe, stream

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Clip:
    frames: list[np.ndarray]
    info: VideoInfo
    background: np.ndarray
    truth: Path


def film(folder: Path, persons: int, frames: int) -> Clip:
    settings = SynthesizeConfig(
        seed=3,
        people=persons,
        actions=("wave",),
        rooms=1,
        cameras=1,
        frames=frames,
        persons_per_video=persons,
    )
    synthesize(folder, settings)
    path = sorted((folder / "videos").glob("*.mp4"))[0]
    background = cv2.imread(str(folder / "truth" / f"{path.stem}.background.png"))[..., ::-1]
    truth = folder / "truth" / f"{path.stem}.npz"
    return Clip(list(stream(path)), probe(path), np.ascontiguousarray(background), truth)


@pytest.fixture(scope="module")
def find() -> FindPeople:
    return FindPeople(PoseConfig())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return film(tmp_path_factory.mktemp("one"), persons=1, frames=12)


@pytest.fixture(scope="module")
def found(find: FindPeople, alone: Clip) -> People:
    return find(alone.frames, alone.info)


def test_one_person_is_one_track_and_wholly_masked(found: People, alone: Clip) -> None:
    (person,) = found.persons
    assert not found.suspicious
    assert person.detected_T.all()
    avatar = draw_avatar(b"s" * 32, "somebody")
    motions = FitBodies(FitConfig())(found, alone.info, [avatar])
    got = score(found, motions, alone.truth, load_body())
    assert got.person_recall == 1
    assert got.mask_recall_worst > 0.96
    assert got.joint_error_share < 0.05
    assert motions[0].visible_T.all()


def test_masks_are_generous_but_not_boundless(found: People, alone: Clip) -> None:
    with np.load(alone.truth) as truth:
        person_THW = unpack(truth["masks"], found.height, found.width)
    masks_THW = unpack(found.union_TB(), found.height, found.width)
    assert person_THW.sum() < masks_THW.sum() < 3 * person_THW.sum()


def test_outlines_are_near_the_truth_and_inside_the_masks(found: People, alone: Clip) -> None:
    with np.load(alone.truth) as truth:
        person_THW = unpack(truth["masks"], found.height, found.width)
    outlines_TB = found.outline_TB()
    assert outlines_TB is not None
    assert not (np.asarray(outlines_TB) & ~np.asarray(found.union_TB())).any()
    outlines_THW = unpack(outlines_TB, found.height, found.width)
    shared, either = (outlines_THW & person_THW).sum(), (outlines_THW | person_THW).sum()
    assert shared / either > 0.88


def test_an_empty_scene_has_nobody_and_no_doubt(find: FindPeople, alone: Clip) -> None:
    people = find([alone.background] * 4, alone.info)
    assert people.persons == ()
    assert people.suspicious == ()
    assert people.num_frames == 4


def test_short_gaps_are_filled_and_long_ones_suspicious(find: FindPeople, alone: Clip) -> None:
    frames = list(alone.frames)
    frames[5] = frames[6] = alone.background  # as if the network had missed the person
    people = find(frames, alone.info)
    (person,) = people.persons
    assert person.visible_T.all()
    assert np.flatnonzero(~person.detected_T).tolist() == [5, 6]
    with np.load(alone.truth) as truth:
        person_THW = unpack(truth["masks"], people.height, people.width)[5:7]
    covered = unpack(np.asarray(person.masks_T)[5:7], people.height, people.width) & person_THW
    assert covered.sum() > 0.97 * person_THW.sum()
    assert np.isfinite(person.keypoints_TL3).all()

    strict = FindPeople(PoseConfig(max_gap=0.09))  # one frame of this clip
    assert {s.frame for s in strict(frames, alone.info).suspicious} >= {5, 6}


def test_somebody_out_of_nowhere_is_suspicious(find: FindPeople, alone: Clip) -> None:
    frames = [alone.background] * 9 + alone.frames[:5]
    people = find(frames, alone.info)
    assert 8 in {suspicion.frame for suspicion in people.suspicious}


def test_two_people_are_two_tracks(find: FindPeople, tmp_path: Path) -> None:
    clip = film(tmp_path, persons=2, frames=6)
    people = find(clip.frames, clip.info)
    assert len(people.persons) == 2
    motions = FitBodies(FitConfig())(people, clip.info, [draw_avatar(b"s" * 32, n) for n in "ab"])
    got = score(people, motions, clip.truth, load_body())
    assert got.person_recall == 1
    assert got.identity_switches == 0


def test_a_close_up_is_suspicious_in_every_frame(find: FindPeople, shared_videos: Path) -> None:
    path = shared_videos / "v_ApplyEyeMakeup_g01_c01.avi"
    frames = list(itertools.islice(stream(path), 6))
    people = find(frames, probe(path))
    assert {suspicion.frame for suspicion in people.suspicious} == set(range(6))


def test_a_real_person_is_covered(find: FindPeople, shared_videos: Path) -> None:
    path = shared_videos / "S001C001P001R001A001_rgb.avi"
    people = find(itertools.islice(stream(path), 4), probe(path))
    (person,) = people.persons
    assert person.detected_T.all()
    assert not people.suspicious


def test_a_missing_model_is_one_sentence() -> None:
    with pytest.raises(UserError, match="does not exist"):
        FindPeople(PoseConfig(pose_model=Path("nowhere.task")))
