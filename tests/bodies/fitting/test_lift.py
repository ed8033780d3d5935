"""Lifting: what a mirror shows is lifted to the mirror image; nothing depends on place or size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raymaskdp.bodies.fitting import lift as lifting
from raymaskdp.bodies.fitting.fit import guess_camera
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.bodies.fitting.lift import Lift, lift, turned_to_axis

torch.set_num_threads(1)
CAMERA = guess_camera(640, 480, 65.0)
MIRROR = [
    MEDIAPIPE.points.index(p.replace("left", "right") if "left" in p else p.replace("right", "left"))
    for p in MEDIAPIPE.points
]


def landmarks(frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    keypoints = np.concatenate(
        [rng.normal((320, 240), (40, 90), (frames, 33, 2)), rng.random((frames, 33, 1))], -1
    )
    return keypoints, rng.normal(0, 0.4, (frames, 33, 3))


def test_an_untaught_network_only_turns_the_skeleton_into_the_cameras_axes() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA, Lift().eval())
    np.testing.assert_allclose(image, keypoints)
    limbs = np.linalg.norm(points[:, 11] - points[:, 13], axis=-1) / np.linalg.norm(
        points[:, 23] - points[:, 25], axis=-1
    )
    was = np.linalg.norm(world[:, 11] - world[:, 13], axis=-1) / np.linalg.norm(
        world[:, 23] - world[:, 25], axis=-1
    )
    np.testing.assert_allclose(limbs, was, rtol=1e-6)


def test_the_mirror_image_is_lifted_to_the_mirror_image() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA)
    other = keypoints[:, MIRROR] * (-1, 1, 1) + (640, 0, 0)
    other_image, other_points = lift(other, world[:, MIRROR] * (-1, 1, 1), CAMERA)
    np.testing.assert_allclose(other_image[:, MIRROR] * (-1, 1, 1) + (640, 0, 0), image, atol=1e-3)
    np.testing.assert_allclose(other_points[:, MIRROR] * (-1, 1, 1), points, atol=1e-5)


def test_neither_place_nor_size_matters() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA)
    camera = CAMERA.copy()
    camera[:2, 2] += 100
    camera[:2] *= 2
    shifted = (keypoints + np.array([100, 100, 0])) * (2, 2, 1)
    shifted[..., 2] = keypoints[..., 2]
    far_image, far_points = lift(shifted, 1.7 * world + 0.3, camera)
    np.testing.assert_allclose(far_points, points, atol=1e-5)
    np.testing.assert_allclose(far_image[..., :2], 2 * (image[..., :2] + 100), atol=1e-3)


def test_rays_are_turned_to_the_axis_by_the_least_rotation() -> None:
    rays = np.random.default_rng(1).normal((0, 0, 3), 1, (20, 3))
    turn = turned_to_axis(rays)
    length = np.linalg.norm(rays, axis=1)
    np.testing.assert_allclose(turn @ np.swapaxes(turn, 1, 2), np.tile(np.eye(3), (20, 1, 1)), atol=1e-12)
    along = (turn @ rays[..., None])[..., 0]
    np.testing.assert_allclose(along, length[:, None] * [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose((np.trace(turn, axis1=1, axis2=2) - 1) / 2, rays[:, 2] / length)


def test_a_network_survives_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Lift()
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    lifting.save(network, tmp_path / "lift.npz")
    read = lifting.load(tmp_path / "lift.npz")
    keypoints, world = landmarks()
    for first, second in zip(
        lift(keypoints, world, CAMERA, network.eval()), lift(keypoints, world, CAMERA, read), strict=True
    ):
        assert np.abs(first - second).max() == pytest.approx(0, abs=0.05 * np.abs(first).max())
