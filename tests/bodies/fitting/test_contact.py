"""Foot contact: feet that stand do not skate, feet that swing are not held, a moving camera holds nothing."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.config import FitConfig, RefineConfig
from raymaskdp.bodies.fitting.contact import skating, standing
from raymaskdp.bodies.fitting.fit import fit_run, guess_camera
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE, landmarks_of
from raymaskdp.bodies.skeleton import JOINT
from raymaskdp.bodies.skinning import joint_transforms

torch.set_num_threads(1)
FPS, FRAMES = 25, 50
CAMERA = guess_camera(640, 480, 65.0)
BETAS = np.zeros(10, np.float32)
ANKLES = [JOINT["left_ankle"], JOINT["right_ankle"]]


def stepping() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A person seen from the side whose left leg swings twice while the right one stands.

    Returns the joints [T, 52, 3], keypoints and points in space [T, 33, 3], and how far the left swings [T].
    """
    phase = np.arange(FRAMES) / FPS * 2 * np.pi
    swing = np.clip(np.sin(phase), 0, None)
    rotations = np.zeros((FRAMES, 52, 3), np.float32)
    upright = Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]))
    rotations[:, 0] = (upright * Rotation.from_euler("y", 1.2)).as_rotvec()
    rotations[:, JOINT["left_shoulder"], 2], rotations[:, JOINT["right_shoulder"], 2] = -1.1, 1.1
    rotations[:, JOINT["left_hip"], 0] = -0.9 * swing
    rotations[:, JOINT["left_knee"], 0] = 1.2 * swing
    body = load_body()
    landmarks = landmarks_of(body, BETAS)
    joints, transforms = joint_transforms(body.rest_joints(BETAS), rotations)
    turned = transforms[:, landmarks.joint_L, :3, :3]
    points = joints[:, landmarks.joint_L] + np.einsum("tlij,lj->tli", turned, landmarks.offset_L3)
    points = points + np.array([0, 0.1, 4.0])
    image = points[..., :2] / points[..., 2:] * CAMERA[0, 0] + CAMERA[:2, 2]
    keypoints = np.concatenate([image, np.ones((FRAMES, 33, 1))], -1)
    return joints, keypoints, points - points[:, [23, 24]].mean(1, keepdims=True), swing


def drawn_ankles(keypoints: np.ndarray, world: np.ndarray, contact: float) -> np.ndarray:
    body = load_body()
    rest = body.rest_joints(BETAS).astype(np.float64)
    rotations, pelvis = fit_run(
        keypoints,
        world,
        rest_J3=rest,
        landmarks=landmarks_of(body, BETAS),
        camera_33=CAMERA,
        fps=FPS,
        config=FitConfig(refine=RefineConfig(contact=contact)),
    )
    return np.asarray(body.joints(rotations.astype(np.float32), pelvis - rest[0], BETAS)[:, ANKLES])


def test_standing_feet_skate_at_most_half_as_much_and_swinging_feet_swing() -> None:
    joints, keypoints, world, swing = stepping()
    rng = np.random.default_rng(0)
    keypoints[..., :2] += rng.normal(0, 0.7, keypoints[..., :2].shape)
    world += np.cumsum(rng.normal(0, 0.003, world.shape), 0)
    free, held = (drawn_ankles(keypoints, world, contact) for contact in (0.0, RefineConfig().contact))
    stays = np.linalg.norm(np.diff(joints[:, ANKLES], axis=0), axis=-1) < 1e-3
    skate_free, skate_held = (
        np.linalg.norm(np.diff(drawn, axis=0), axis=-1)[stays].mean() for drawn in (free, held)
    )
    assert skate_held < 0.5 * skate_free
    rise = held[swing > 0.8, 0].mean(0) - held[swing == 0, 0].mean(0)
    true = joints[swing > 0.8, ANKLES[0]].mean(0) - joints[swing == 0, ANKLES[0]].mean(0)
    assert np.linalg.norm(rise - true) < 0.2 * np.linalg.norm(true)


@pytest.mark.parametrize("fps", [12, 25, 50])
def test_stands_are_told_from_swings_at_any_rate(fps: int) -> None:
    _, keypoints, _, swing = stepping()
    when = np.linspace(0, FRAMES - 1, FRAMES * fps // FPS)
    at = np.arange(FRAMES)
    seen = np.stack([np.interp(when, at, column) for column in keypoints.reshape(FRAMES, -1).T], 1)
    stands = standing(seen.reshape(len(when), 33, 3), MEDIAPIPE, fps)
    assert (stands[:, 1] == stands[0, 1]).all()
    assert stands[0, 1] > 0
    lifted = np.interp(when, at, swing) > 0.3
    assert not stands[lifted, 0].any()
    assert (stands[np.interp(when, at, swing) == 0, 0] > 0).mean() > 0.7


def test_a_moving_camera_holds_no_foot() -> None:
    _, keypoints, _, _ = stepping()
    keypoints[..., 0] += np.arange(FRAMES)[:, None] / FPS * 150  # half a body's height a second
    assert not standing(keypoints, MEDIAPIPE, FPS).any()


def test_only_standing_joints_that_move_cost() -> None:
    joints = torch.zeros(4, 22, 3)
    joints[:, JOINT["left_ankle"], 0] = torch.tensor([0.0, 0.2, 5.0, 9.0])
    stands = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0]])
    assert float(skating(joints, stands)) == pytest.approx(2 * 0.1**2 / 4 / 4)
    assert float(skating(joints, torch.zeros_like(stands))) == 0
