"""Linear blend skinning of an SMPL-H body: axis-angle poses in, joints and vertices out.

The model is that of Loper et al., "SMPL: a skinned multi-person linear model" (2015), section 3.2, and Romero
et al., "Embodied hands" (2017). The code is the project's own: the reference implementation, the package
`smplx`, is licensed for non-commercial purposes only, so only tests use it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raymaskdp.bodies.skeleton import NUM_JOINTS, PARENTS

# Shape suffixes: T frames, V vertices, J = 52 joints, P = 9 · 51 entries of rotations.


def rodrigues(turns: Tensor) -> Tensor:
    """Axis-angle [..., 3] as matrices [..., 3, 3]; differentiable at zero."""
    squared = turns.square().sum(-1)[..., None, None]
    angle = (squared + 1e-12).sqrt()
    x, y, z = turns.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*turns.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=turns.dtype)
    return eye + (angle.sin() / angle) * cross + ((1 - angle.cos()) / (angle * angle)) * (cross @ cross)


def joint_transforms(rest_joints_J3: np.ndarray, rotations_TJ3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posed joints [T, 52, 3], and the transforms [T, 52, 3, 4] from rest vertices to posed ones.

    The root rotates about its own position in the rest pose.
    """
    local_TJ33, rest_J3 = rodrigues(_tensor(rotations_TJ3)), _tensor(rest_joints_J3)
    turned, placed = [local_TJ33[:, 0]], [rest_J3[0].expand(len(local_TJ33), 3)]
    for joint in range(1, NUM_JOINTS):
        parent = int(PARENTS[joint])
        bone_3 = rest_J3[joint] - rest_J3[parent]
        placed.append(placed[parent] + turned[parent] @ bone_3)
        turned.append(turned[parent] @ local_TJ33[:, joint])
    turned_TJ33, placed_TJ3 = torch.stack(turned, 1), torch.stack(placed, 1)
    shift_TJ3 = placed_TJ3 - (turned_TJ33 @ rest_J3[..., None])[..., 0]
    return placed_TJ3.numpy(), torch.cat([turned_TJ33, shift_TJ3[..., None]], -1).numpy()


def skin(
    rest_V3: np.ndarray,
    weights_VJ: np.ndarray,
    rest_joints_J3: np.ndarray,
    rotations_TJ3: np.ndarray,
    translation_T3: np.ndarray,
    pose_directions_PV3: np.ndarray | None,
) -> np.ndarray:
    """Posed vertices, float32 [T, V, 3], by one matrix product for all frames.

    Args:
      rest_V3: of the shape, in the rest pose.
      pose_directions_PV3: corrections by the entries of all rotations but the root's; None for none.
    """
    frames, num_vertices = len(rotations_TJ3), len(rest_V3)
    _, transforms_TJ34 = joint_transforms(rest_joints_J3, rotations_TJ3)
    # [V, J] @ [J, T·3·4]: the blended transforms of every vertex in every frame.
    blended_VT34 = (
        _tensor(weights_VJ) @ _tensor(transforms_TJ34.swapaxes(0, 1).reshape(NUM_JOINTS, -1))
    ).reshape(num_vertices, frames, 3, 4)
    rest = _tensor(rest_V3)[:, None]
    if pose_directions_PV3 is not None:
        turned_TP = (rodrigues(_tensor(rotations_TJ3[:, 1:])) - torch.eye(3)).reshape(frames, -1)
        offsets = turned_TP @ _tensor(pose_directions_PV3.reshape(len(pose_directions_PV3), -1))
        rest = rest + offsets.reshape(frames, num_vertices, 3).transpose(0, 1)
    posed_VT3 = (blended_VT34[..., :3] * rest[..., None, :]).sum(-1) + blended_VT34[..., 3]
    return (posed_VT3.transpose(0, 1) + _tensor(translation_T3)[:, None]).contiguous().numpy()


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
