"""Fitting: kinematics against the body, exact landmarks give the pose back, nothing of the shape leaks."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.config import FitConfig, RefineConfig
from raymaskdp.bodies.fitting.fit import FitBodies, fit_run, guess_camera, place
from raymaskdp.bodies.fitting.kinematics import frame, inverse_kinematics, swing, vectors
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE, LandmarkLayout, Landmarks, landmarks_of
from raymaskdp.bodies.fitting.refine import BODY, forward
from raymaskdp.bodies.fitting.smooth import one_euro
from raymaskdp.bodies.skeleton import JOINT, PARENTS
from raymaskdp.bodies.skinning import joint_transforms, rodrigues

torch.set_num_threads(1)
FPS = 30
CAMERA = guess_camera(640, 480, 65.0)


@dataclass(frozen=True)
class Acted:
    """A made-up motion and what a perfect network would see of it."""

    rotations: np.ndarray
    translation: np.ndarray
    betas: np.ndarray
    landmarks: Landmarks
    keypoints: np.ndarray
    world: np.ndarray


def act(seed: int, frames: int = 30) -> Acted:
    """Smooth random arms, legs and trunk of a person 4 m away who turns."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / FPS
    rotations = np.zeros((frames, 52, 3))

    def sway(joint: str, axis: int, low: float, high: float) -> None:
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(0.3, 0.8) * time[:, 0] + rng.random()))
        rotations[:, JOINT[joint], axis] = low + (high - low) * wave

    for side, sign in (("left", 1), ("right", -1)):
        sway(f"{side}_shoulder", 2, -1.2 * sign, 0.3 * sign)
        sway(f"{side}_shoulder", 1, 0.1 * sign, -0.6 * sign)
        sway(f"{side}_elbow", 1, -0.2 * sign, -1.6 * sign)
        sway(f"{side}_hip", 0, 0.1, -0.7)
        sway(f"{side}_knee", 0, 0.1, 0.9)
    for joint in ("spine1", "spine2", "spine3"):
        sway(joint, 0, 0.0, 0.12)
        sway(joint, 1, -0.08, 0.08)
    turn = Rotation.from_euler("y", rng.uniform(-1, 1) + 0.6 * time)
    upright = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    rotations[:, 0] = (upright * turn).as_rotvec()
    translation = np.column_stack([0.3 * time[:, 0], np.full(frames, 0.1), np.full(frames, 4.0)])
    betas = draw_avatar(b"x" * 32, f"actor {seed}").betas_S
    body = load_body()
    landmarks = landmarks_of(body, betas)
    joints, transforms = joint_transforms(body.rest_joints(betas), rotations.astype(np.float32))
    turned = transforms[:, landmarks.joint_L, :3, :3]
    points = joints[:, landmarks.joint_L] + np.einsum("tlij,lj->tli", turned, landmarks.offset_L3)
    points = points + translation[:, None]
    image = points[..., :2] / points[..., 2:] * CAMERA[0, 0] + CAMERA[:2, 2]
    return Acted(
        rotations=rotations,
        translation=translation,
        betas=betas,
        landmarks=landmarks,
        keypoints=np.concatenate([image, np.ones((frames, 33, 1))], -1),
        world=points - points[:, [23, 24]].mean(1, keepdims=True),
    )


def joint_error_mm(rotations: np.ndarray, acted: Acted) -> float:
    body, still = load_body(), np.zeros((len(rotations), 3))
    found = body.joints(rotations.astype(np.float32), still, acted.betas)[:, :BODY]
    true = body.joints(acted.rotations.astype(np.float32), still, acted.betas)[:, :BODY]
    return float(1000 * np.linalg.norm(found - true, axis=-1).mean())


def fitted(acted: Acted, betas: np.ndarray, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    body = load_body()
    return fit_run(
        acted.keypoints,
        acted.world,
        rest_J3=body.rest_joints(betas).astype(np.float64),
        landmarks=landmarks_of(body, betas),
        camera_33=CAMERA,
        fps=FPS,
        config=FitConfig(**settings),  # type: ignore[arg-type]
    )


def test_light_skeleton_agrees_with_the_body() -> None:
    acted, body = act(0), load_body()
    rest = torch.from_numpy(body.rest_joints(acted.betas))
    local = rodrigues(torch.from_numpy(acted.rotations[:, :BODY]).float())
    pelvis = torch.from_numpy(acted.translation).float() + rest[0]
    joints, _ = forward(local, pelvis, rest[1:BODY] - rest[list(PARENTS[1:BODY])])
    reference = body.joints(acted.rotations, acted.translation, acted.betas)[:, :BODY]
    np.testing.assert_allclose(joints, reference, atol=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exact_landmarks_give_the_pose_back(seed: int) -> None:
    acted, body = act(seed), load_body()
    rest = body.rest_joints(acted.betas).astype(np.float64)
    local = inverse_kinematics(acted.world, acted.landmarks, rest)
    assert joint_error_mm(vectors(local), acted) < 20
    rotations, pelvis = fitted(acted, acted.betas)
    assert joint_error_mm(rotations, acted) < 25
    assert np.abs(pelvis - rest[0] - acted.translation).mean() < 0.08


def test_refinement_brings_noisy_landmarks_nearer_to_the_image() -> None:
    acted = act(4)
    rng = np.random.default_rng(0)
    noisy = acted.world + np.cumsum(rng.normal(0, 0.004, acted.world.shape), 0)  # slow drifts in depth
    acted = Acted(**{**vars(acted), "world": noisy})
    before, _ = fitted(acted, acted.betas, refine=RefineConfig(iterations=0))
    after, _ = fitted(acted, acted.betas)
    assert joint_error_mm(after, acted) < 0.9 * joint_error_mm(before, acted)


def test_only_the_avatars_lengths_are_used() -> None:
    acted = act(5)
    grown = Acted(**{**vars(acted), "world": 1.3 * acted.world})
    avatar = draw_avatar(b"y" * 32, "avatar").betas_S
    first, where = fitted(acted, avatar)
    second, there = fitted(grown, avatar)
    np.testing.assert_allclose(first, second, atol=0.03)
    np.testing.assert_allclose(where, there, atol=0.03)


def test_the_avatar_stands_where_its_own_size_fits_the_image() -> None:
    acted, body = act(6), load_body()
    rest = body.rest_joints(acted.betas).astype(np.float64)
    local = Rotation.from_rotvec(acted.rotations.reshape(-1, 3)).as_matrix().reshape(-1, 52, 3, 3)
    pelvis = place(local, acted.keypoints, rest_J3=rest, landmarks=acted.landmarks, camera_33=CAMERA)
    np.testing.assert_allclose(pelvis - rest[0], acted.translation, atol=2e-3)


@dataclass(frozen=True)
class Somebody:
    track_id: int
    visible_T: np.ndarray
    keypoints_TL3: np.ndarray
    world_TL3: np.ndarray
    rotations_TJ3: np.ndarray | None = None

    @property
    def cut_off_T(self) -> np.ndarray:
        return np.zeros(len(self.visible_T), bool)


@dataclass(frozen=True)
class Everybody:
    persons: tuple[Somebody, ...]
    layout: LandmarkLayout = MEDIAPIPE
    camera_33: np.ndarray | None = None


@dataclass(frozen=True)
class Video:
    width: int = 640
    height: int = 480
    fps: Fraction = Fraction(FPS)


@pytest.mark.parametrize("given", [True, False])
def test_a_long_motion_in_segments_shows_no_seam(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit in three overlapping segments is that of the whole, to millimetres, at the seams, too."""
    acted = act(8, frames=60)
    avatar = draw_avatar(b"z" * 32, "a")
    rotations = acted.rotations.astype(np.float32) if given else None
    people = Everybody((Somebody(0, np.ones(60, bool), acted.keypoints, acted.world, rotations),))
    stage = FitBodies(FitConfig(refine=RefineConfig(iterations=8)))
    (whole,) = stage(people, Video(), [avatar])
    monkeypatch.setattr("raymaskdp.bodies.fitting.fit.SEGMENT", 20)
    monkeypatch.setattr("raymaskdp.bodies.fitting.fit.OVERLAP_S", 0.6)
    (parts,) = stage(people, Video(), [avatar])
    first, second = (
        load_body().joints(motion.rotations_TJ3, motion.translation_T3, avatar.betas_S)[:, :BODY]
        for motion in (whole, parts)
    )
    apart_T = 1000 * np.linalg.norm(first - second, axis=-1).mean(axis=1)
    assert apart_T.max() < 15
    jump_T = np.abs(np.diff(second - first, axis=0)).max(axis=(1, 2))
    assert 1000 * jump_T.max() < 15
    assert parts.visible_T.all()


def test_a_torso_outside_the_frame_is_not_fitted() -> None:
    acted = act(7, frames=12)
    keypoints = acted.keypoints.copy()
    keypoints[6:, :, 1] += 400  # a close-up of the head: shoulders and hips are below the image
    somebody = Somebody(3, np.ones(12, bool), keypoints, acted.world)
    avatar = draw_avatar(b"z" * 32, "a")
    (motion,) = FitBodies(FitConfig())(Everybody((somebody,)), Video(), [avatar])
    assert motion.track_id == 3
    assert motion.visible_T.tolist() == [True] * 6 + [False] * 6
    assert np.isfinite(motion.rotations_TJ3).all()
    assert np.isfinite(motion.translation_T3).all()
    np.testing.assert_array_equal(motion.betas_S, avatar.betas_S)


def test_a_head_and_shoulders_are_an_avatar_of_the_same_size_in_the_picture() -> None:
    """Below the frame the network guesses: with guesses of another size the avatar fits what is seen."""
    acted = act(7, frames=12)
    middle = acted.keypoints[:, 11:13, :2].mean(1, keepdims=True)
    keypoints = acted.keypoints.copy()
    keypoints[..., :2] = 4 * (keypoints[..., :2] - middle) + np.array([320, 400])
    below = keypoints[..., 1] > 500
    assert below[:, 23:].all()
    keypoints[..., 2] = np.where(below, 0.3, 1.0)
    keypoints[:, 23:, 1] = 480 + 1.5 * (keypoints[:, 23:, 1] - 480)
    somebody = Somebody(3, np.ones(12, bool), keypoints, acted.world)
    (motion,) = FitBodies(FitConfig())(Everybody((somebody,)), Video(), [draw_avatar(b"z" * 32, "a")])
    assert motion.visible_T.all()
    joints = load_body().joints(motion.rotations_TJ3, motion.translation_T3, motion.betas_S)
    image = joints[..., :2] / joints[..., 2:] * motion.camera_33[0, 0] + motion.camera_33[:2, 2]
    wide = np.linalg.norm(keypoints[:, 11, :2] - keypoints[:, 12, :2], axis=-1)
    left, right = JOINT["left_shoulder"], JOINT["right_shoulder"]
    drawn = np.linalg.norm(image[:, left] - image[:, right], axis=-1)
    assert 0.75 < np.median(drawn / wide) < 1.25
    off = np.linalg.norm(image[:, [left, right]] - keypoints[:, 11:13, :2], axis=-1)
    assert np.median(off) < 0.25 * np.median(wide)


def test_one_euro_keeps_what_is_still_and_calms_noise_without_lag() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(one_euro(np.full((20, 2), 3.0), FPS, cutoff=1.0), 3.0)
    noise = rng.normal(0, 0.01, (300, 1))
    assert one_euro(noise, FPS, cutoff=1.0).std() < 0.5 * noise.std()
    ramp = np.linspace(0, 1, 300)[:, None]
    calm = one_euro(ramp + noise, FPS, cutoff=1.0)
    assert abs(float((calm - ramp)[30:-30].mean())) < 0.003


def test_swing_is_the_least_rotation() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2, 50, 3))
    turn = swing(source, target)
    moved = (turn @ source[..., None])[..., 0]
    np.testing.assert_allclose(np.cross(moved, target), 0, atol=1e-9)
    cosine = (source * target).sum(-1) / np.linalg.norm(source, axis=-1) / np.linalg.norm(target, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(vectors(turn), axis=-1), np.arccos(cosine), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(frame(source, target)), 1)
