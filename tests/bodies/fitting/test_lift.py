"""Lifting: what a mirror shows is lifted to the mirror image; nothing depends on place or size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raymaskdp.bodies.fitting import lift as lifting
from raymaskdp.bodies.fitting.fit import guess_camera
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.bodies.fitting.lift import OFFSETS_S, Lift, correction_size, lift, neighbours, turned_to_axis

torch.set_num_threads(1)
FPS = 12.0
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


def test_an_untaught_network_leaves_the_image_as_it_is() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA, FPS, network=Lift().eval())
    np.testing.assert_allclose(image, keypoints)
    assert not points.any()


def test_what_is_outside_the_frame_does_not_matter_and_is_guessed_from_the_rest() -> None:
    keypoints, world = landmarks()
    inside = np.ones(keypoints.shape[:2], bool)
    inside[:, MEDIAPIPE.rows(["left_knee", "left_ankle", "right_ankle"])] = False
    image, points = lift(keypoints, world, CAMERA, FPS, inside_NL=inside)
    keypoints[~inside] = (1e4, -1e4, 0.9)
    other_image, other_points = lift(keypoints, world, CAMERA, FPS, inside_NL=inside)
    np.testing.assert_allclose(other_image[..., :2], image[..., :2], atol=1e-3)
    np.testing.assert_allclose(other_points, points, atol=1e-3)


def test_the_mirror_image_is_lifted_to_the_mirror_image() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA, FPS)
    other = keypoints[:, MIRROR] * (-1, 1, 1) + (640, 0, 0)
    other_image, other_points = lift(other, world[:, MIRROR] * (-1, 1, 1), CAMERA, FPS)
    np.testing.assert_allclose(other_image[:, MIRROR] * (-1, 1, 1) + (640, 0, 0), image, atol=1e-3)
    np.testing.assert_allclose(other_points[:, MIRROR] * (-1, 1, 1), points, atol=1e-5)


def test_neither_place_nor_size_matters() -> None:
    keypoints, world = landmarks()
    image, points = lift(keypoints, world, CAMERA, FPS)
    camera = CAMERA.copy()
    camera[:2, 2] += 100
    camera[:2] *= 2
    shifted = (keypoints + np.array([100, 100, 0])) * (2, 2, 1)
    shifted[..., 2] = keypoints[..., 2]
    far_image, far_points = lift(shifted, 1.7 * world + 0.3, camera, FPS)
    np.testing.assert_allclose(far_points, points, atol=1e-5)
    np.testing.assert_allclose(far_image[..., :2], 2 * (image[..., :2] + 100), atol=1e-3)


def test_neighbours_are_so_many_seconds_away_whatever_the_rate() -> None:
    seconds = torch.arange(40)[:, None] / 30.0
    for fps, num_frames in ((12.0, 16), (30.0, 40), (29.97, 40), (7.3, 10)):
        time_N1 = torch.arange(num_frames)[:, None] / fps
        around = neighbours(num_frames, fps).of(time_N1)[..., 0]
        expected = (time_N1 + torch.tensor(OFFSETS_S)).clamp(0, float(time_N1[-1]))
        np.testing.assert_allclose(around, expected, atol=1e-5)
    assert neighbours(1, 12.0).of(seconds[:1]).shape == (1, len(OFFSETS_S), 1)


def test_a_longer_look_changes_the_answer_and_a_far_frame_does_not() -> None:
    keypoints, world = landmarks(30)
    image, points = lift(keypoints, world, CAMERA, FPS)
    again_image, again_points = lift(keypoints[:20], world[:20], CAMERA, FPS)
    reach = round(max(OFFSETS_S) * FPS)
    np.testing.assert_allclose(again_points[: 20 - reach], points[: 20 - reach], atol=1e-5)
    np.testing.assert_allclose(again_image[: 20 - reach], image[: 20 - reach], atol=1e-3)
    assert np.abs(again_points[-1] - points[19]).max() > 1e-3


def test_how_far_a_correction_moves_what_is_clearly_seen() -> None:
    keypoints, _ = landmarks()
    keypoints[..., 2] = 0.9
    extent = np.ptp(keypoints[..., :2], axis=1).max(-1)
    inside = np.ones(keypoints.shape[:2], bool)
    other = keypoints.copy()
    other[..., 0] += 0.1 * extent[:, None]
    assert correction_size(other, keypoints, inside) == pytest.approx(0.1)
    keypoints[:, MEDIAPIPE.row("left_knee"), 2] = 0.1  # what is not clear may be moved anywhere
    far = keypoints.copy()
    far[:, MEDIAPIPE.row("left_knee"), :2] += 500
    assert correction_size(far, keypoints, inside) == pytest.approx(0.0)
    assert correction_size(other, keypoints, np.zeros_like(inside)) == 0.0


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
        lift(keypoints, world, CAMERA, FPS, network=network.eval()),
        lift(keypoints, world, CAMERA, FPS, network=read),
        strict=True,
    ):
        assert np.abs(first - second).max() == pytest.approx(0, abs=0.05 * np.abs(first).max())
