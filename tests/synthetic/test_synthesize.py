import dataclasses
import os

import cv2
import numpy as np
import pytest
import smplx
import torch

from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.build import ensure_body
from raymaskdp.datasets.manifest import read_source
from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.synthetic import synthesize as synthesize_module
from raymaskdp.synthetic.actions import ACTIONS
from raymaskdp.synthetic.config import SynthesizeConfig
from raymaskdp.synthetic.draw_people import cast
from raymaskdp.synthetic.perform import perform
from raymaskdp.synthetic.poses import draw_manner
from raymaskdp.synthetic.synthesize import synthesize
from raymaskdp.video.masks import unpack
from raymaskdp.video.reader import probe, read_frames

SMALL = SynthesizeConfig(people=4, actions=("wave", "jumping_jack"), rooms=2, cameras=2, frames=10)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    synthesize(folder, SMALL)
    return folder


def _truth(folder, video_id):
    with np.load(folder / "truth" / f"{video_id}.npz") as archive:
        truth = {name: archive[name] for name in archive.files}
    truth["masks"] = unpack(truth["masks"], int(truth["height"]), int(truth["width"]))
    return truth


def test_there_is_a_video_for_every_person_action_and_take(sample):
    records = read_source(sample)
    assert len(records) == 4 * 2
    assert {(r.subject, r.label) for r in records} == {
        (f"person{p:02d}", action) for p in range(4) for action in SMALL.actions
    }
    for record in records:
        info = probe(record.path)
        assert (info.width, info.height, info.num_frames) == (192, 144, 10)
        assert float(info.fps) == SMALL.fps


def test_nobody_is_in_both_splits(sample):
    splits = {}
    for record in read_source(sample):
        splits.setdefault(record.subject, set()).add(record.split)
    assert all(len(split) == 1 for split in splits.values())
    assert sum(split == {"test"} for split in splits.values()) == 1


def test_videos_of_one_camera_share_a_background_and_rooms_differ(sample):
    by_camera = {}
    for record in read_source(sample):
        picture = cv2.imread(str(sample / "truth" / f"{record.video_id}.background.png"))
        by_camera.setdefault(record.camera, []).append(picture.astype(float))
    means = []
    for pictures in by_camera.values():
        for picture in pictures:
            np.testing.assert_array_equal(picture, pictures[0])
        assert pictures[0].std() > 15  # textured, not plain
        means.append(pictures[0])
    assert len(means) >= 2
    assert np.abs(means[0] - means[1]).mean() > 10


def test_joints_are_those_that_smplx_gives_for_the_stored_poses(sample):
    with np.load(ensure_body()) as archive:
        data = smplx.utils.Struct(**{name: archive[name] for name in archive.files})
    model = smplx.SMPLH("", data_struct=data, use_pca=False, flat_hand_mean=True, batch_size=SMALL.frames)
    record = read_source(sample)[0]
    truth = _truth(sample, record.video_id)
    pose = torch.from_numpy(truth["rotations"][0])
    output = model(
        betas=torch.from_numpy(truth["betas"][0]).expand(SMALL.frames, -1),
        global_orient=pose[:, 0],
        body_pose=pose[:, 1:22].reshape(SMALL.frames, -1),
        left_hand_pose=pose[:, 22:37].reshape(SMALL.frames, -1),
        right_hand_pose=pose[:, 37:].reshape(SMALL.frames, -1),
        transl=torch.from_numpy(truth["translation"][0]),
    )
    joints = output.joints[:, :52].detach().numpy()
    np.testing.assert_allclose(joints, truth["joints3d"][0], atol=1e-4)
    homogeneous = joints @ truth["camera"].T
    np.testing.assert_allclose(homogeneous[..., :2] / homogeneous[..., 2:], truth["joints2d"][0], atol=0.02)
    # The body fills its mask: all its vertices but those of uncovered fingers and toes project inside.
    vertices = output.vertices.detach().numpy() @ truth["camera"].T
    pixels = np.floor(vertices[..., :2] / vertices[..., 2:]).astype(int)
    for mask, places in zip(truth["masks"], pixels, strict=True):
        wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
        assert wide[places[:, 1].clip(0, 143), places[:, 0].clip(0, 191)].mean() > 0.98


def test_people_stand_on_the_floor_and_are_seen_from_head_to_foot(sample):
    for record in read_source(sample):
        truth = _truth(sample, record.video_id)
        assert truth["masks"].any(axis=(1, 2)).all()
        assert 0.03 < truth["masks"].mean() < 0.3
        joints = truth["joints2d"][0]
        assert (joints[..., 0] > 0).all()
        assert (joints[..., 0] < 192).all()
        assert (joints[:, [7, 8, 10, 11], 1] < 144).all()  # ankles and feet
        # The camera is level: feet keep their height in the picture, but for jumps.
        feet = truth["joints3d"][0][:, [10, 11]].min(axis=1)
        if record.label == "wave":
            assert np.ptp(feet[:, 1]) < 0.03


def test_outside_the_masks_is_the_background_but_for_shadow_and_noise(sample):
    record = read_source(sample)[0]
    truth = _truth(sample, record.video_id)
    clean = cv2.imread(str(sample / "truth" / f"{record.video_id}.background.png"))[..., ::-1].astype(float)
    frames = read_frames(record.path, range(SMALL.frames)).astype(float)
    near = np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) for mask in truth["masks"]]) > 0
    difference = frames - clean
    assert np.abs(difference[~near]).mean() < 6
    # What differs much is darker: a shadow.
    strong = np.abs(difference).max(axis=-1) > 25
    assert (difference[strong & ~near] < 0).mean() > 0.9
    inside = np.stack([cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) for mask in truth["masks"]]) > 0
    assert np.abs(difference[inside]).mean() > 15


@pytest.mark.slow
def test_the_seed_decides_every_byte(sample, tmp_path):
    fewer = dataclasses.replace(SMALL, people=1, frames=4)
    for name in ("first", "second"):
        synthesize(tmp_path / name, fewer)
    other = dataclasses.replace(fewer, seed=1)
    synthesize(tmp_path / "other", other)
    for file in sorted((tmp_path / "first").rglob("*")):
        if file.suffix in (".mp4", ".npz", ".png", ".parquet"):
            relative = file.relative_to(tmp_path / "first")
            assert sha256_file(file) == sha256_file(tmp_path / "second" / relative), relative
            if file.suffix == ".mp4":
                assert sha256_file(file) != sha256_file(tmp_path / "other" / relative)


@pytest.mark.slow
def test_several_processes_film_the_same_bytes(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesize_module, "VIDEOS_A_PROCESS", 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    synthesize(tmp_path, SMALL)
    videos = sorted((sample / "videos").glob("*.mp4"))
    assert len(videos) == 8
    assert all(sha256_file(video) == sha256_file(tmp_path / "videos" / video.name) for video in videos)


def test_finished_data_is_not_made_again_and_other_data_is_not_overwritten(sample):
    before = {file: file.stat().st_mtime_ns for file in sample.rglob("*")}
    synthesize(sample, SMALL)
    assert {file: file.stat().st_mtime_ns for file in sample.rglob("*")} == before
    with pytest.raises(UserError, match="other settings"):
        synthesize(sample, dataclasses.replace(SMALL, seed=9))


def test_a_camera_under_the_ceiling_looks_down_at_people(sample, tmp_path):
    high = dataclasses.replace(SMALL, camera_height=(2.2, 2.4), camera_distance=(1.5, 2.0))
    synthesize(tmp_path, high)
    extents, steep = {}, {}
    for folder in (sample, tmp_path):
        truths = [_truth(folder, path.stem) for path in sorted((folder / "truth").glob("wave*.npz"))]
        extents[folder] = np.mean([np.ptp(t["joints2d"][..., 1], axis=-1).mean() for t in truths])
        along = [t["joints3d"][:, :, 15] - t["joints3d"][:, :, 0] for t in truths]  # pelvis to head
        steep[folder] = np.mean([np.degrees(np.arctan2(-a[..., 2], -a[..., 1])).mean() for a in along])
    assert steep[tmp_path] > steep[sample] + 15
    assert extents[tmp_path] > 0.5 * extents[sample]


def test_two_people_do_not_stand_in_each_other(tmp_path):
    settings = SynthesizeConfig(
        people=2, actions=("clap",), persons_per_video=2, frames=4, rooms=1, test_share=0
    )
    synthesize(tmp_path, settings)
    records = read_source(tmp_path)
    truth = _truth(tmp_path, records[0].video_id)
    assert truth["joints3d"].shape == (2, 4, 52, 3)
    assert records[0].subject == "person00+person01"
    pelvis = truth["joints3d"][:, :, 0]
    assert np.linalg.norm(pelvis[0] - pelvis[1], axis=-1).min() > 0.6
    for joints in truth["joints2d"]:
        places = np.floor(joints[:, 0]).astype(int)
        assert truth["masks"][np.arange(4), places[:, 1], places[:, 0]].mean() > 0.7


def test_people_differ_in_body_skin_hair_and_clothes():
    people = cast(SynthesizeConfig(people=12))
    assert len({person.outfit for person in people}) >= 8
    assert len({person.hairstyle for person in people}) >= 6
    assert len({person.top for person in people}) >= 6
    brightness = sorted(np.mean(person.skin) for person in people)
    assert brightness[-1] - brightness[0] > 0.3
    body = load_body()
    heights = [np.ptp(body.surface.shaped(person.betas_S)[:, 1]) for person in people]
    assert np.ptp(heights) > 0.15


def test_actions_are_told_apart_by_their_motion_and_takes_differ():
    """Nearest neighbour on joint tracks, other takes as reference: far above chance."""
    body = load_body()

    def features(action, take):
        # The dynamics only: where joints are on average, how far they go, in the body's own frame.
        # Every take is another person's.
        manner = draw_manner(np.random.default_rng([8, take]))
        done = perform(action, num_frames=60, fps=12.0, manner=manner, rng=np.random.default_rng([7, take]))
        joints = body.joints(done.rotations_TJ3, np.zeros((60, 3), dtype=np.float32), np.zeros(10))
        tracks = joints[:, [4, 5, 7, 8, 15, 18, 19, 20, 21]]
        either_side = np.sort(np.stack([tracks.std(axis=0)[[2, 3]], tracks.std(axis=0)[[7, 8]]]), axis=1)
        return np.concatenate(
            [tracks.std(axis=0).sum(axis=0), either_side.ravel(), np.ptp(tracks, axis=0).ravel()]
        )

    table = {(action, take): features(action, take) for action in ACTIONS for take in range(6)}
    right = 0
    for (action, take), own in table.items():
        rest = [(np.linalg.norm(own - other), name) for (name, t), other in table.items() if t != take]
        right += min(rest)[1] == action
    assert right / len(table) > 0.85
    assert len(ACTIONS) >= 6
    for action in ACTIONS:
        assert np.abs(table[action, 0] - table[action, 1]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": ("fly",)}, "actions must be one of wave"),
        ({"actions": ()}, "at least one action"),
        ({"people": 0}, "people must be"),
        ({"fps": 0.0}, "fps must be"),
        ({"persons_per_video": 3}, "persons_per_video must be"),
        ({"camera_height": (1.5, 3.0)}, "camera_height.* must be"),
        ({"camera_distance": (3.0, 2.0)}, "camera_distance.* must be"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_an_interrupted_call_is_completed_and_films_nothing_twice(tmp_path, monkeypatch):
    two = dataclasses.replace(SMALL, people=2, actions=("wave",), frames=3)
    synthesize(tmp_path / "whole", two)
    filmed, film = [], synthesize_module.Studio.film

    def killed_at_the_second(studio, scene, folder):
        filmed.append(scene.video_id)
        if len(filmed) == 2:
            raise KeyboardInterrupt
        film(studio, scene, folder)

    monkeypatch.setattr(synthesize_module.Studio, "film", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "killed", two)
    with pytest.raises(UserError, match="other settings"):
        synthesize(tmp_path / "killed", dataclasses.replace(two, seed=1))
    synthesize(tmp_path / "killed", two)
    assert filmed == ["wave_p00_t00", "wave_p01_t00", "wave_p01_t00"]
    for name in ("videos/wave_p00_t00.mp4", "videos/wave_p01_t00.mp4"):
        assert sha256_file(tmp_path / "killed" / name) == sha256_file(tmp_path / "whole" / name)
    assert len(read_source(tmp_path / "killed")) == 2
