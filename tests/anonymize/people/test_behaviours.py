"""What happens in scenes that are not made for it: each has a stated behaviour (docs/pose-sources.md).

Scenes are made of rendered people cut out of a sample video and put elsewhere, so that everything is
known of them; the skeletons are written down with them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.formats import Film
from support.staged import Shown, stage

from raymaskdp.anonymize import AnonymizeConfig, anonymize
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.config import FitConfig
from raymaskdp.bodies.fitting.fit import FitBodies
from raymaskdp.bodies.motion import Motion
from raymaskdp.errors import UserError
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import probe, stream

torch.set_num_threads(1)


def fitted(people: People, video: Path) -> list[Motion]:
    avatars = [draw_avatar(b"s" * 32, f"somebody {i}") for i in range(len(people.persons))]
    return FitBodies(FitConfig())(people, probe(video), avatars)


def test_feet_out_of_the_frame(film: Film, tmp_path: Path) -> None:
    """A person of whom the frame shows no feet is fitted, and stands where the legs would be."""
    low = 35.0
    scene = stage(tmp_path, film, [[Shown(0, dy=low)]] * 10)
    people = scene.people()
    assert not people.doubts
    (motion,) = fitted(people, scene.video)
    assert motion.visible_T.all()
    joints = load_body().joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)
    image = joints @ motion.camera_33.T
    image = image[..., :2] / image[..., 2:]
    ankles = film.truth.pixels(film.truth.joints[0])[:, 7:9] + (0, low)
    assert (ankles[..., 1] > film.info.height).all()
    assert np.linalg.norm(image[:, 7:9] - ankles, axis=-1).mean() < 4


def test_people_who_leave_are_drawn_as_long_as_they_are_seen(film: Film, tmp_path: Path) -> None:
    """A person who walks out of the frame leaves no doubt, and later frames have no person."""
    frames = [[Shown(1, dx=22.0 * t)] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.doubts
    (person,) = people.persons
    shown = np.array([masks[0].any() for masks in scene.masks])
    assert shown.sum() < 9  # the last frames are empty
    assert person.visible_T[shown].all()
    covered = unpack(person.masks_T, people.height, people.width)
    for frame, (mask,) in enumerate(scene.masks):
        assert mask.sum() < 30 or covered[frame][mask].mean() > 0.9


def test_people_who_enter_away_from_the_edge_are_doubts_where_they_were_not_known(
    film: Film, tmp_path: Path
) -> None:
    """People do not appear in the middle of a room: before that, a person was missed."""
    frames = [[Shown(0, known=t >= 4)] for t in range(10)]
    people = stage(tmp_path, film, frames).people()
    # The skeleton is held for a tenth of a second before it; before that, its place is a doubt.
    assert {doubt.frame for doubt in people.doubts} == {0, 1, 2}
    assert {doubt.reason for doubt in people.doubts} == {"a skeleton appears inside the frame"}
    points = people.persons[0].keypoints_TL3[4, :, :2]
    for doubt in people.doubts:
        x0, y0, x1, y1 = doubt.box
        assert (points >= (x0, y0)).all()
        assert (points <= (x1, y1)).all()


def test_whoever_is_hidden_for_a_moment_is_followed(film: Film, tmp_path: Path) -> None:
    """One walks in front of the other, who has no skeleton meanwhile: two people, and no doubt."""
    apart = film.truth.pixels(film.truth.joints).mean((1, 2))[:, 0]
    step = (apart[1] - apart[0]) / 5
    frames = [[Shown(1, known=t not in (4, 5)), Shown(0, dx=step * t)] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.doubts
    assert len(people.persons) == 2
    assert all(person.visible_T.all() for person in people.persons)
    covered = unpack(people.union_TB(), people.height, people.width)
    for frame, masks in enumerate(scene.masks):
        for mask in masks:
            assert mask.sum() < 30 or covered[frame][mask].mean() > 0.9


def test_a_crowd_of_skeletons_is_followed(film: Film, tmp_path: Path) -> None:
    """With skeletons the number of people in a frame is not limited: every person has an avatar."""
    places = [(person, dx) for dx in (-30.0, -10.0, 10.0, 30.0) for person in (0, 1)]
    frames = [[Shown(person, dx=dx, size=0.5) for person, dx in places] for _ in range(4)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.doubts
    assert len(people.persons) == 8
    assert all(motion.visible_T.all() for motion in fitted(people, scene.video))


@pytest.mark.slow
def test_of_a_crowd_the_largest_have_a_pose_and_the_others_are_covered(film: Film) -> None:
    """Landmarks are computed for `pose.max_people` people per frame; further people are still masked."""
    find = FindPeople(PoseConfig(max_people=1))
    people = find(list(stream(film.record.path))[:4], film.info)
    assert len(people.persons) == 2
    posed_PT = np.array([np.isfinite(person.keypoints_TL3).all((1, 2)) for person in people.persons])
    assert posed_PT.any(0).all()
    assert posed_PT.sum(0).max() == 1
    with np.load(film.path) as truth:
        person_THW = unpack(truth["masks"][:4], film.info.height, film.info.width)
    covered_THW = unpack(people.union_TB(), film.info.height, film.info.width)
    assert (covered_THW & person_THW).sum() > 0.97 * person_THW.sum()


def test_children_become_small_adults(film: Film, tmp_path: Path) -> None:
    """A child is as large in the picture as before, and its avatar is an adult who stands further away."""
    scenes = []
    for size in (1.0, 0.6):
        folder = tmp_path / str(size)
        folder.mkdir()
        scene = stage(folder, film, [[Shown(0, size=size)]] * 10)
        (motion,) = fitted(scene.people(), scene.video)
        joints = load_body().joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)[:, :22]
        image = joints @ motion.camera_33.T
        extent = np.ptp((image[..., :2] / image[..., 2:])[..., 1], axis=1).mean()
        scenes.append((extent, joints[:, 0, 2].mean(), motion.betas_S))
    (tall, near, shape), (small, far, same) = scenes
    assert small / tall == pytest.approx(0.6, abs=0.05)
    assert near / far == pytest.approx(0.6, abs=0.05)
    np.testing.assert_array_equal(shape, same)  # nothing of the child's size is in the body


@pytest.mark.slow
def test_an_empty_scene_is_done_unless_somebody_wants_to_look(film: Film, tmp_path: Path) -> None:
    scene = stage(tmp_path, film, [[]] * 8)
    outcome = scene.anonymized(tmp_path / "a")
    assert outcome.done == 1, outcome.rows[0].reason
    assert outcome.rows[0].num_people == 0
    assert sum(json.loads(outcome.rows[0].metrics)["person_frames"].values()) == 0
    outcome = scene.anonymized(tmp_path / "b", verify=VerifyConfig(empty="quarantine"))
    assert outcome.quarantined == 1
    assert outcome.rows[0].reason == "nobody was found, so nobody was replaced"


@pytest.mark.slow
@pytest.mark.parametrize("veto", [True, False])
def test_people_of_whom_the_file_does_not_know_are_removed(film: Film, tmp_path: Path, veto: bool) -> None:
    """The file has no people, but there are two: detectors find them before, or afterwards."""
    hidden = [[Shown(0, known=False), Shown(1, known=False)]] * 8
    scene = stage(tmp_path, film, hidden)
    anything = VerifyConfig(max_redacted=1, max_blank=1)
    outcome = scene.anonymized(tmp_path / "out", veto=veto, verify=anything)
    assert outcome.done == 1, outcome.rows[0].reason
    with np.load(tmp_path / "out" / "scene.npz") as written:
        removed_THW = unpack(written["person_masks"], film.info.height, film.info.width)
    for frame, masks in enumerate(scene.masks):
        assert removed_THW[frame][masks[0] | masks[1]].mean() > 0.97, frame
    rungs = json.loads(outcome.rows[0].metrics)["person_frames"]
    assert rungs["avatars"] == 0
    assert bool(rungs["silhouettes"]) == veto

    strict = scene.anonymized(tmp_path / "strict", veto=veto, verify=anything, on_doubt="quarantine")
    assert strict.quarantined == 1
    reason = "no body can be fitted" if veto else "an independent detector finds somebody"
    assert reason in strict.rows[0].reason


@pytest.mark.slow
def test_no_pose_network_runs_with_skeletons(film: Film, tmp_path: Path) -> None:
    """The whole way, with a pose model that cannot be opened; the networks need it, skeletons do not."""
    frames = [[Shown(0, dx=2.0 * t), Shown(1, dx=-2.0 * t)] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    outcome = scene.anonymized(tmp_path / "out")
    assert outcome.done == 1, outcome.rows[0].reason
    metrics = json.loads(outcome.rows[0].metrics)
    assert metrics["surviving_pixels"] == 0
    with np.load(tmp_path / "out" / "scene.npz") as written:
        removed = unpack(written["person_masks"], film.info.height, film.info.width)
        assert written["visible"].shape == (2, 10)
        assert written["visible"].all()
    for frame, masks in enumerate(scene.masks):
        assert removed[frame][masks[0] | masks[1]].mean() > 0.99

    broken = AnonymizeConfig(workers=0, pose=PoseConfig(landmarks=Path(__file__)))
    with pytest.raises(UserError, match="not a landmark network"):  # before any video
        anonymize(scene.video, tmp_path / "networks", broken, progress=False)

    (tmp_path / "scene.json").unlink()
    outcome = scene.anonymized(tmp_path / "none")
    assert outcome.failed == 1  # never done without its skeletons
    assert "no skeletons of scene" in outcome.rows[0].reason


@pytest.mark.slow
def test_a_person_whom_no_body_fits_is_a_silhouette_or_withheld(film: Film, tmp_path: Path) -> None:
    """A head without shoulders: a flat shape is drawn, or the video is quarantined if that is asked for."""
    frames = [
        [Shown(1, dx=-5.0 * t), Shown(0, size=2.4, dy=min(200.0, 40.0 * max(0, t - 6)))] for t in range(16)
    ]
    scene = stage(tmp_path, film, frames)
    motions = fitted(scene.people(), scene.video)
    flat = np.array([not all(motion.visible_T[frame] for motion in motions) for frame in range(16)])
    assert flat[-4:].all()
    assert not flat[:7].any()  # for half a second they are avatars, which is held
    outcome = scene.anonymized(tmp_path / "strict", veto=False, on_doubt="quarantine")
    assert outcome.quarantined == 1
    assert f"no body can be fitted to a person, out of view or unclear (frames {np.flatnonzero(flat)[0]}" in (
        outcome.rows[0].reason
    )
    assert not list((tmp_path / "strict").glob("scene.*"))

    outcome = scene.anonymized(tmp_path / "flat", veto=False, verify=VerifyConfig(look_again=False))
    assert outcome.done == 1, outcome.rows[0].reason
    provenance = json.loads((tmp_path / "flat" / "scene.json").read_text())
    drawn = np.array(provenance["frames"]["silhouette_pixels"])
    np.testing.assert_array_equal(drawn > 0, flat)
    with np.load(tmp_path / "flat" / "scene.npz") as written:
        avatar = unpack(written["avatar_masks"], film.info.height, film.info.width)
        removed = unpack(written["person_masks"], film.info.height, film.info.width)
    after = list(stream(tmp_path / "flat" / "scene.mp4"))
    layer = list(stream(tmp_path / "flat" / "scene.avatar.mp4"))
    for frame in np.flatnonzero(flat):
        shape = scene.masks[frame][1] & ~avatar[frame]
        assert shape.sum() > 30
        assert removed[frame][shape].all()  # what is not of the avatar layer is sensitive in training
        assert not layer[frame][~avatar[frame]].any()
        away = np.abs(after[frame][shape].astype(int) - np.median(after[frame][shape], axis=0)).max(-1)
        assert (away < 16).mean() > 0.7  # one colour
