"""Convert the limb directions of actions to SMPL-H rotations, by the smallest rotations from the T-pose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS
from raymaskdp.synthetic.actions import ACTIONS
from raymaskdp.synthetic.improvise import improvise, step_about
from raymaskdp.synthetic.poses import SIDES, Direction, Limbs, Manner, Pose, Take

# Shape suffixes: T frames, J = 52 joints.


@dataclass(frozen=True, kw_only=True, eq=False)
class Performed:
    """One take of an action.

    Attributes:
      rotations_TJ3: float32 [T, 52, 3] axis-angle; row 0 in the person's own frame.
      lift_T: metres between the floor and the lowest point of the body.
    """

    rotations_TJ3: np.ndarray
    lift_T: np.ndarray


PERFORMED: Mapping[str, Callable[[Take], Pose]] = {
    **ACTIONS,
    "improvise": improvise,
    "step_about": step_about,
}
"""All movements that can be rendered: the actions, and random movement."""


def perform(
    action: str, *, num_frames: int, fps: float, manner: Manner, rng: np.random.Generator
) -> Performed:
    """A take of an action by a person with this manner, deterministic in `rng`."""
    take = Take(time_T=np.arange(num_frames) / fps, rng=rng, manner=manner)
    pose = _in_manner(PERFORMED[action](take), manner)
    sway = manner.sway * np.sin(take.cycle((2.5, 4.0)))
    rotations = _rotations(pose, num_frames, sway, take.cycle((3.0, 5.0)))
    lift_T = np.broadcast_to(np.maximum(pose.lift, 0.0), num_frames)
    return Performed(rotations_TJ3=rotations, lift_T=lift_T.copy())


def _carried(limbs: Limbs, own: Mapping[str, np.ndarray]) -> Limbs:
    return {side: (limbs[side][0] + own[side][0], limbs[side][1] + own[side][1]) for side in SIDES}


def _in_manner(pose: Pose, manner: Manner) -> Pose:
    """The pose with the manner of this person."""
    return replace(
        pose,
        arms=_carried(pose.arms, manner.arms),
        legs=_carried(pose.legs, manner.legs),
        bend=pose.bend + manner.stoop,
        lean=pose.lean + manner.tilt,
        turn=pose.turn + manner.twist,
    )


def _rotations(pose: Pose, frames: int, sway: np.ndarray, gaze: np.ndarray) -> np.ndarray:
    rotations = np.zeros((frames, NUM_JOINTS, 3), dtype=np.float32)

    def put(joint: str, rotation: Rotation) -> Rotation:
        rotations[:, JOINT[joint]] = rotation.as_rotvec()
        return rotation

    bend, lean, turn, heading = (
        np.broadcast_to(value, frames) for value in (pose.bend, pose.lean, pose.turn, pose.heading)
    )
    # Hip and spine share a bend; the legs keep their given directions.
    tilt = Rotation.from_euler("yxz", np.stack([0.3 * turn, 0.55 * bend, sway], axis=1))
    root = put("pelvis", Rotation.from_euler("y", heading[:, None]) * tilt)
    chest = root
    for joint in ("spine1", "spine2", "spine3"):
        share = np.stack([turn, 0.45 * bend, -lean], axis=1) * [0.23, 1 / 3, 1 / 3]
        chest = chest * put(joint, Rotation.from_euler("yxz", share))
    put("head", Rotation.from_euler("yx", np.stack([0.15 * np.sin(gaze), -0.25 * bend], axis=1)))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outward = np.array([sign, 1.0, 1.0])
        upper, forearm = (_unit(direction * outward, frames) for direction in pose.arms[side])
        # Above the shoulder line the shoulder blade performs a part of the rotation.
        shrug = 0.35 * np.clip(np.arctan2(upper[:, 1], np.abs(upper[:, 0]) + np.abs(upper[:, 2])), 0, None)
        collar = put(f"{side}_collar", Rotation.from_rotvec(np.outer(sign * shrug, [0, 0, 1.0])))
        bone = np.array([sign, 0.0, 0.0])
        shoulder = collar * put(f"{side}_shoulder", _aim(collar, bone, upper))
        put(f"{side}_elbow", _aim(shoulder, bone, forearm))
        thigh, shin = (_unit(direction * outward, frames) for direction in pose.legs[side])
        leg = np.array([0.05 * sign, -1.0, 0.0])
        hip = root * put(f"{side}_hip", _aim(root, leg, thigh))
        knee = hip * put(f"{side}_knee", _aim(hip, leg, shin))
        # The foot stays parallel to the floor, or follows the shin if that is far from upright.
        tilt = np.arccos(np.clip(-shin[:, 1], -1, 1))
        follow = Rotation.from_rotvec(knee.as_rotvec() * np.clip(tilt / 1.2 - 0.5, 0, 0.7)[:, None])
        put(f"{side}_ankle", knee.inv() * follow)
        curl = 0.25 * sign
        for finger in ("index", "middle", "ring", "pinky"):
            for segment in (1, 2, 3):
                rotations[:, JOINT[f"{side}_{finger}{segment}"]] = [0, 0, -curl]
    return rotations


def _unit(direction: Direction, frames: int) -> np.ndarray:
    vectors = np.broadcast_to(direction, (frames, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _aim(parent: Rotation, rest: np.ndarray, target_T3: np.ndarray) -> Rotation:
    """The smallest rotation, in the parent's frame, that turns a bone from `rest` to `target_T3`."""
    start = rest / np.linalg.norm(rest)
    wanted = parent.inv().apply(target_T3)
    axis = np.cross(start, wanted)
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(length[:, 0], wanted @ start)
    return Rotation.from_rotvec(axis / np.maximum(length, 1e-9) * angle[:, None])
