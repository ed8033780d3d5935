"""What happens in scenes that are not made for it: each has a stated behaviour (docs/pose-sources.md).

Scenes are made of rendered people cut out of a sample video and put elsewhere, so that everything is
known of them; the skeletons are written down with them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.formats import LCRNET, Film, lcrnet, write_frames

from raymaskdp.anonymize import AnonymizeConfig, AnonymizeResult, anonymize
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.finder import FindPeople
from raymaskdp.anonymize.people.people import People
from raymaskdp.anonymize.people.sources import pose_source
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.fit import FitBodies, FitConfig
from raymaskdp.bodies.motion import Motion
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import probe, stream
from raymaskdp.video.writer import VideoWriter

torch.set_num_threads(1)


@dataclass(frozen=True)
class Shown:
    """A person of the film, moved by (dx, dy) pixels and made `size` times as large about the feet."""

    person: int
    dx: float = 0
    dy: float = 0
    size: float = 1
    known: bool = True  # whether the file of skeletons has this body


@dataclass(frozen=True)
class Staged:
    """A scene on disk, its people's true pixels [T, P] of bool [H, W], and where its skeletons are."""

    video: Path
    masks: list[list[np.ndarray]]

    @property
    def record(self) -> VideoRecord:
        return VideoRecord(video_id=self.video.stem, path=str(self.video))

    def people(self, *, veto: bool = False) -> People:
        config = PoseConfig(source="smarthome", skeletons=self.video.parent, veto=veto)
        return pose_source(config)(stream(self.video), probe(self.video), self.record)

    def anonymized(self, out: Path, **settings: object) -> AnonymizeResult:
        pose = PoseConfig(
            source="smarthome", skeletons=self.video.parent, pose_model=Path(__file__)
        )  # no bundle: opening it would fail
        return anonymize(self.video, out, AnonymizeConfig(workers=0, pose=pose, **settings), progress=False)


def stage(folder: Path, film: Film, frames: Sequence[Sequence[Shown]]) -> Staged:
    """Film people cut out of `film`, later ones in front of earlier ones."""
    truth, video = film.truth, folder / "scene.mp4"
    room = cv2.imread(str(film.path.with_suffix("").with_suffix(".background.png")))[..., ::-1]
    with np.load(film.path) as stored:
        everybody = unpack(stored["masks"], truth.height, truth.width)
    pictures = list(stream(film.record.path))
    points = [truth.points(LCRNET, person) for person in truth.people]
    pixels = [truth.pixels(where) for where in points]
    between = np.mean([where[..., 0].mean() for where in pixels])  # they stand beside each other
    masks: list[list[np.ndarray]] = []
    skeletons: list[list[dict]] = []
    rng = np.random.default_rng(0)
    with VideoWriter(video, width=truth.width, height=truth.height, fps=truth.fps) as writer:
        for number, shown in enumerate(frames):
            frame = number % len(pictures)
            picture, seen, bodies = room.copy(), [], []
            for one in shown:
                mine = everybody[frame].copy()
                left = pixels[one.person][..., 0].mean() < between
                mine[:, round(between) :] &= not left
                mine[:, : round(between)] &= left
                feet = np.array([pixels[one.person][frame, :, 0].mean(), np.flatnonzero(mine.any(1)).max()])
                shift = feet * (1 - one.size) + (one.dx, one.dy)
                matrix = np.array([[one.size, 0, shift[0]], [0, one.size, shift[1]]])
                size = (truth.width, truth.height)
                moved = cv2.warpAffine(mine.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
                picture[moved] = cv2.warpAffine(pictures[frame], matrix, size)[moved]
                for other in seen:
                    other &= ~moved
                seen.append(moved)
                if one.known:
                    where = pixels[one.person][frame] * one.size + shift
                    bodies.append(lcrnet(where, points[one.person][frame] * one.size, truth))
            noise = rng.normal(0, 2, picture.shape)
            writer.write(np.clip(picture + noise, 0, 255).astype(np.uint8))
            masks.append(seen)
            skeletons.append(bodies)
    write_frames(folder / "scene.json", skeletons)
    return Staged(video, masks)


def fitted(people: People, video: Path) -> list[Motion]:
    avatars = [draw_avatar(b"s" * 32, f"somebody {i}") for i in range(len(people.persons))]
    return FitBodies(FitConfig())(people, probe(video), avatars)


def test_feet_out_of_the_frame(film: Film, tmp_path: Path) -> None:
    """A person of whom the frame shows no feet is fitted, and stands where the legs would be."""
    low = 35.0
    scene = stage(tmp_path, film, [[Shown(0, dy=low)]] * 10)
    people = scene.people()
    assert not people.suspicious
    (motion,) = fitted(people, scene.video)
    assert motion.visible_T.all()
    joints = load_body().joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)
    image = joints @ motion.camera_33.T
    image = image[..., :2] / image[..., 2:]
    ankles = film.truth.pixels(film.truth.joints[0])[:, 7:9] + (0, low)
    assert (ankles[..., 1] > film.info.height).all()
    assert np.linalg.norm(image[:, 7:9] - ankles, axis=-1).mean() < 4


def test_people_who_leave_are_drawn_as_long_as_they_are_seen(film: Film, tmp_path: Path) -> None:
    """Somebody who walks out of the frame leaves no doubt, and later frames have nobody."""
    frames = [[Shown(1, dx=22.0 * t)] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.suspicious
    (person,) = people.persons
    shown = np.array([masks[0].any() for masks in scene.masks])
    assert shown.sum() < 9  # the last frames are empty
    assert person.visible_T[shown].all()
    covered = unpack(person.masks_T, people.height, people.width)
    for frame, (mask,) in enumerate(scene.masks):
        assert mask.sum() < 30 or covered[frame][mask].mean() > 0.9


def test_people_who_enter_away_from_the_edge_are_suspicious(film: Film, tmp_path: Path) -> None:
    """Nobody appears in the middle of a room: before that, somebody was not known."""
    frames = [[Shown(0, known=t >= 4)] for t in range(10)]
    people = stage(tmp_path, film, frames).people()
    assert {s.frame for s in people.suspicious} == {3}
    assert "appears inside the frame" in people.suspicious[0].reason


def test_whoever_is_hidden_for_a_moment_is_followed(film: Film, tmp_path: Path) -> None:
    """One walks in front of the other, who has no skeleton meanwhile: two people, and no doubt."""
    apart = film.truth.pixels(film.truth.joints).mean((1, 2))[:, 0]
    step = (apart[1] - apart[0]) / 5
    frames = [[Shown(1, known=t not in (4, 5)), Shown(0, dx=step * t)] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.suspicious
    assert len(people.persons) == 2
    assert all(person.visible_T.all() for person in people.persons)
    covered = unpack(people.union_TB(), people.height, people.width)
    for frame, masks in enumerate(scene.masks):
        for mask in masks:
            assert mask.sum() < 30 or covered[frame][mask].mean() > 0.9


def test_a_crowd_of_skeletons_is_followed(film: Film, tmp_path: Path) -> None:
    """With skeletons there is no limit to how many people are in a frame: everybody has an avatar."""
    places = [(person, dx) for dx in (-30.0, -10.0, 10.0, 30.0) for person in (0, 1)]
    frames = [[Shown(person, dx=dx, size=0.5) for person, dx in places] for _ in range(4)]
    scene = stage(tmp_path, film, frames)
    people = scene.people()
    assert not people.suspicious
    assert len(people.persons) == 8
    assert all(motion.visible_T.all() for motion in fitted(people, scene.video))


@pytest.mark.slow
def test_a_crowd_for_the_networks_is_suspicious(film: Film, tmp_path: Path) -> None:
    """Networks that report as many people as they can may have missed one."""
    find = FindPeople(PoseConfig(max_people=2))
    people = find(list(stream(film.record.path))[:2], film.info)
    assert "more people than can be told apart" in {s.reason for s in people.suspicious}


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
def test_an_empty_scene_is_quarantined_unless_it_may_be_empty(film: Film, tmp_path: Path) -> None:
    scene = stage(tmp_path, film, [[]] * 8)
    outcome = scene.anonymized(tmp_path / "a")
    assert [row.reason for row in outcome.rows] == ["no person was found, so none could be replaced"]
    allowed = VerifyConfig(require_people=False)
    outcome = scene.anonymized(tmp_path / "b", verify=allowed)
    assert outcome.done == 1, outcome.rows[0].reason

    # The file says that nobody is there, but somebody is: the independent networks see it.
    (tmp_path / "lie").mkdir()
    scene = stage(tmp_path / "lie", film, [[Shown(0, known=False), Shown(1, known=False)]] * 8)
    outcome = scene.anonymized(tmp_path / "c", verify=allowed)
    assert outcome.quarantined == 1
    assert "outside all people found" in outcome.rows[0].reason


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

    broken = AnonymizeConfig(workers=0, pose=PoseConfig(pose_model=Path(__file__)))
    outcome = anonymize(scene.video, tmp_path / "networks", broken, progress=False)
    assert outcome.failed == 1
    assert "PoseLandmarker" in outcome.rows[0].reason

    (tmp_path / "scene.json").unlink()
    outcome = scene.anonymized(tmp_path / "none")
    assert outcome.failed == 1  # never done without its skeletons
    assert "no skeletons of scene" in outcome.rows[0].reason


@pytest.mark.slow
def test_whom_no_body_fits_is_withheld_or_a_silhouette(film: Film, tmp_path: Path) -> None:
    """A close-up without a torso: by default the video is quarantined, else a flat shape is drawn."""
    frames = [[Shown(1, dx=-8.0 * t), Shown(0, size=1.6, dy=min(125.0, 25.0 * t))] for t in range(10)]
    scene = stage(tmp_path, film, frames)
    motions = fitted(scene.people(), scene.video)
    flat = np.array([not all(motion.visible_T[frame] for motion in motions) for frame in range(10)])
    assert 0 < flat.sum() < 10
    outcome = scene.anonymized(tmp_path / "strict")
    assert outcome.quarantined == 1
    assert f"no body can be fitted to a person, out of view or unclear (frames {np.flatnonzero(flat)[0]}" in (
        outcome.rows[0].reason
    )
    assert not list((tmp_path / "strict").glob("scene.*"))

    outcome = scene.anonymized(tmp_path / "flat", fit=FitConfig(unfittable="silhouette"))
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
