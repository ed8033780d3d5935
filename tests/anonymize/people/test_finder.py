"""Finding people in rendered and real frames: everybody is found, followed and covered."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from raymaskdp.anonymize.compose.scene import HELD_S, doubt_film
from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.scoring import score
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.config import FitConfig
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.errors import UserError
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.synthesize import synthesize
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
    assert not found.doubts
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
    assert people.doubts == ()
    assert people.num_frames == 4


def test_short_gaps_are_filled_and_long_ones_have_no_pose(find: FindPeople, alone: Clip) -> None:
    frames = list(alone.frames)
    frames[5] = frames[6] = alone.background  # as if the networks had missed the person
    with np.load(alone.truth) as truth:
        person_THW = unpack(truth["masks"], alone.info.height, alone.info.width)[5:7]
    strict = FindPeople(PoseConfig(max_gap=0.09))  # one frame of this clip
    for people, is_posed in ((find(frames, alone.info), True), (strict(frames, alone.info), False)):
        (person,) = people.persons
        assert not people.doubts
        assert person.visible_T.all()
        assert np.flatnonzero(~person.detected_T).tolist() == [5, 6]
        covered = unpack(np.asarray(person.masks_T)[5:7], people.height, people.width) & person_THW
        assert covered.sum() > 0.97 * person_THW.sum()
        posed_T = np.isfinite(person.keypoints_TL3).all((1, 2))
        assert posed_T[[*range(5), *range(7, 12)]].all()
        assert posed_T[5:7].tolist() == [is_posed] * 2


def test_somebody_out_of_nowhere_is_covered_from_before_on(find: FindPeople, alone: Clip) -> None:
    """A person who stands up from behind a sofa is taken to be there a quarter of a second earlier."""
    people = find([alone.background] * 9 + alone.frames[:5], alone.info)
    (person,) = people.persons
    held = round(HELD_S * float(alone.info.fps))
    assert np.flatnonzero(person.visible_T).tolist() == list(range(9 - held, 14))
    assert np.flatnonzero(person.detected_T).tolist() == list(range(9, 14))
    with np.load(alone.truth) as truth:
        first_HW = unpack(truth["masks"], alone.info.height, alone.info.width)[0]
    for frame in range(9 - held, 9):
        assert unpack(person.masks_T[frame], people.height, people.width)[first_HW].mean() > 0.9


def test_a_cut_ends_a_person(find: FindPeople, alone: Clip) -> None:
    """After a cut to another picture no track continues, and a person there is a new one."""
    mirrored = [np.ascontiguousarray(255 - frame[::-1, ::-1][..., ::-1]) for frame in alone.frames[:4]]
    people = find([*alone.frames[:6], *mirrored], alone.info)
    first = people.persons[0]
    assert np.flatnonzero(first.visible_T).tolist() == list(range(6))


def test_two_people_are_two_tracks(find: FindPeople, tmp_path: Path) -> None:
    clip = film(tmp_path, persons=2, frames=6)
    people = find(clip.frames, clip.info)
    assert len(people.persons) == 2
    motions = FitBodies(FitConfig())(people, clip.info, [draw_avatar(b"s" * 32, n) for n in "ab"])
    got = score(people, motions, clip.truth, load_body())
    assert got.person_recall == 1
    assert got.identity_switches == 0


def test_a_close_up_is_covered_in_every_frame(find: FindPeople, shared_videos: Path) -> None:
    path = shared_videos / "v_ApplyEyeMakeup_g01_c01.avi"
    frames = list(itertools.islice(stream(path), 6))
    info = probe(path)
    people = find(frames, info)
    doubts_TB, _ = doubt_film(people, round(HELD_S * people.fps))
    covered_THW = unpack(np.asarray(people.union_TB()) | np.asarray(doubts_TB), info.height, info.width)
    faces = LookAgain(VerifyConfig()).faces
    for frame_HW3, covered_HW in zip(frames, covered_THW, strict=True):
        face_N5 = faces(frame_HW3)
        assert len(face_N5)
        x0, y0, x1, y1 = boxes.clip_to_frame(
            face_N5[face_N5[:, 4].argmax()], height=info.height, width=info.width
        )
        assert covered_HW[y0:y1, x0:x1].mean() > 0.97


def test_a_real_person_is_covered(find: FindPeople, shared_videos: Path) -> None:
    path = shared_videos / "S001C001P001R001A001_rgb.avi"
    people = find(list(itertools.islice(stream(path), 8)), probe(path))
    (person,) = people.persons
    assert person.visible_T.all()
    assert person.detected_T[::2].all()  # at 30 frames/s detectors run on every other frame
    assert not people.doubts


def test_a_missing_model_is_one_sentence() -> None:
    with pytest.raises(UserError, match="does not exist"):
        FindPeople(PoseConfig(landmarks=Path("nowhere.onnx")))
