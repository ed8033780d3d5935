"""Refinement of poses on the skeleton without vertices: all frames at once, by a quasi-Newton method.

It minimizes the distance of the projected landmarks of the avatar's skeleton from the detected ones, within
joint limits, near the analytic solution, smoothly in time, with standing feet at rest.

Shape suffixes: T frames, J = 22 body joints, L points of a layout.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raymaskdp.bodies.fitting.config import RefineConfig
from raymaskdp.bodies.fitting.contact import skating, standing
from raymaskdp.bodies.fitting.landmarks import Landmarks
from raymaskdp.bodies.skeleton import JOINT, PARENTS
from raymaskdp.bodies.skinning import rodrigues

BODY = 22

# Deviation of a joint from the analytic solution, radians (one standard deviation of the prior).
_LOOSE = np.full(BODY, 0.25)
_LOOSE[[JOINT[n] for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]] = 0.5
_LOOSE[[JOINT[n] for n in ("left_elbow", "right_elbow", "left_knee", "right_knee")]] = 0.5
_LOOSE[[JOINT[n] for n in ("left_foot", "right_foot", "left_wrist", "right_wrist")]] = 0.1
_LOOSE[[JOINT[n] for n in ("left_collar", "right_collar")]] = 0.15


def refine(
    rotations_TJ33: np.ndarray,
    translation_T3: np.ndarray,
    *,
    rest_J3: np.ndarray,
    landmarks: Landmarks,
    keypoints_TL3: np.ndarray,
    points_TL3: np.ndarray,
    focal: float,
    centre: tuple[float, float],
    fps: float,
    config: RefineConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Refined local rotations [T, 22, 3, 3] and pelvis positions [T, 3] in the camera frame.

    Args:
      rotations_TJ33: analytic local rotations of the first 22 joints.
      translation_T3: initial pelvis positions.
      rest_J3: the avatar's joints in the rest pose, [52, 3] or more rows than 22.
      keypoints_TL3: x, y in pixels and weight.
      points_TL3: landmarks in the camera frame, for directions.
    """
    base = _tensor(rotations_TJ33[:, :BODY])
    turn = torch.zeros(*base.shape[:2], 3, requires_grad=True)
    start = _tensor(translation_T3)
    shift = torch.zeros_like(start, requires_grad=True)
    bones = _tensor(rest_J3[1:BODY] - rest_J3[PARENTS[1:BODY]])
    loss_of = _Loss(
        bones, landmarks, keypoints_TL3, points_TL3, start[:, 2:], focal, centre, fps=fps, config=config
    )
    # A quasi-Newton method, because Adam's equal steps would drift along directions that the image does not
    # determine.
    optimizer = torch.optim.LBFGS(
        [turn, shift], max_iter=max(1, config.iterations), history_size=8, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        # A large factor, so that LBFGS's absolute tolerances are small.
        loss = 1e3 * loss_of(base @ rodrigues(turn), start + shift, turn)
        loss.backward()
        return loss

    if config.iterations:
        optimizer.step(closure)
    with torch.no_grad():
        local = base @ rodrigues(turn)
        return local.numpy().astype(np.float64), (start + shift).numpy().astype(np.float64)


class _Loss:
    """The deviation of a pose from detected landmarks, joint limits, the analytic solution and calm motion.

    Args:
      bones: from each joint's parent to it, [21, 3].
      depth_T1: initial depth of the pelvis.
      focal, centre: of the camera, pixels.
      The others are as in `refine`.
    """

    def __init__(
        self,
        bones: Tensor,
        landmarks: Landmarks,
        keypoints_TL3: np.ndarray,
        points_TL3: np.ndarray,
        depth_T1: Tensor,
        focal: float,
        centre: tuple[float, float],
        *,
        fps: float,
        config: RefineConfig,
    ) -> None:
        self._bones, self._focal, self._config = bones, focal, config
        self._joint_L = torch.from_numpy(landmarks.joint_L)
        self._offset_L3 = _tensor(landmarks.offset_L3)
        self._target = _tensor(keypoints_TL3[..., :2])
        weight = _tensor(keypoints_TL3[..., 2] * landmarks.trust_L)
        self._weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-3)
        # Image distances are in metres at the person's depth, independent of distance and resolution.
        self._scale = (depth_T1.clamp_min(0.1) / focal)[:, None]
        self._pairs = torch.tensor(landmarks.layout.limbs())
        self._wanted = torch.nn.functional.normalize(
            _tensor(points_TL3[:, self._pairs[:, 1]] - points_TL3[:, self._pairs[:, 0]]), dim=-1
        )
        self._loose = _tensor(1 / _LOOSE**2)[:, None]
        self._principal = torch.tensor(centre, dtype=torch.float32)
        # Accelerations are per second, so that the frame rate has no effect.
        self._smooth = config.smooth * min(1.0, fps / 30) ** 4
        self._stands_TF = torch.from_numpy(standing(keypoints_TL3, landmarks.layout, fps))

    def __call__(self, local: Tensor, pelvis: Tensor, turn: Tensor) -> Tensor:
        """The loss of rotations [T, 22, 3, 3] and pelvis positions [T, 3].

        Args:
          turn: the change from the analytic solution, axis-angle [T, 22, 3].
        """
        config, first, second = self._config, self._pairs[:, 0], self._pairs[:, 1]
        joints, turned = forward(local, pelvis, self._bones)
        offset = (turned[:, self._joint_L] @ self._offset_L3[..., None])[..., 0]
        points = joints[:, self._joint_L] + offset
        image = self._focal * points[..., :2] / points[..., 2:].clamp_min(0.05) + self._principal
        residual = ((image - self._target) * self._scale).square().sum(-1)
        robust = residual / (1 + residual / 0.15**2)
        loss = (self._weight * robust).sum(-1).mean()
        direction = torch.nn.functional.normalize(points[:, second] - points[:, first], dim=-1)
        loss = loss + config.directions * (1 - (direction * self._wanted).sum(-1)).mean()
        loss = loss + config.prior * (self._loose * turn.square()).mean()
        loss = loss + config.limits * _limits(local)
        if config.contact:
            loss = loss + config.contact * skating(joints, self._stands_TF)
        if len(points) > 2:
            acceleration = points[2:] - 2 * points[1:-1] + points[:-2]
            loss = loss + self._smooth * acceleration.square().sum(-1).mean()
        return loss


def forward(local: Tensor, pelvis: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
    """Joints [T, 22, 3] and global rotations [T, 22, 3, 3] of the body without fingers."""
    turned: list[Tensor] = [local[:, :1]]
    joints: list[Tensor] = [pelvis[:, None]]
    for group, parents, where in _LEVELS:
        above = torch.cat(turned, 1)[:, where]
        turned.append(above @ local[:, group])
        joints.append(torch.cat(joints, 1)[:, where] + (above @ bones[parents][..., None])[..., 0])
    return torch.cat(joints, 1)[:, _ORDER], torch.cat(turned, 1)[:, _ORDER]


def _levels() -> tuple[list[tuple[list[int], list[int], list[int]]], list[int]]:
    """Joints by depth: (joints, their rows in `bones`, the positions of their parents), and the inverse
    order.
    """
    placed = [0]
    levels = []
    while len(placed) < BODY:
        group = [j for j in range(1, BODY) if j not in placed and int(PARENTS[j]) in placed]
        levels.append((group, [j - 1 for j in group], [placed.index(int(PARENTS[j])) for j in group]))
        placed += group
    return levels, [placed.index(j) for j in range(BODY)]


_LEVELS, _ORDER = _levels()


def _limits(local: Tensor) -> Tensor:
    """Bend of knees and elbows in the wrong direction, squared, mean over joints.

    In SMPL's rest pose a knee bends by rotation about +x and an elbow by rotation about y, to the front.
    """
    knees = local[:, [JOINT["left_knee"], JOINT["right_knee"]]]
    # The sine of the bend is in the off-diagonal entries of the rotation matrix.
    backward = torch.relu(-(knees[..., 2, 1] - knees[..., 1, 2]) / 2 - 0.03)
    sign = torch.tensor([-1.0, 1.0])
    elbows = local[:, [JOINT["left_elbow"], JOINT["right_elbow"]]]
    elbow = sign * (elbows[..., 0, 2] - elbows[..., 2, 0]) / 2
    return (backward.square() + torch.relu(-elbow - 0.03).square()).mean()


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
