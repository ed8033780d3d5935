"""Actions of the sample data: what limbs do over time, as directions, turned into SMPL-H rotations.

An action says where the upper arms, forearms, thighs and shins point; rotations follow by the
smallest turn from the T-pose. Speeds and ranges differ from take to take, and every person has a manner of
moving of their own, as everybody has: a tempo, a reach, a carriage, a preferred side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.bodies.skeleton import JOINT, NUM_JOINTS

# Shape suffixes: T frames, J = 52 joints.
# Directions are in the person's own frame: x left, y up, z forward; arms relative to the chest.

Direction = np.ndarray
"""[T, 3], of any length; or [3], the same in every frame."""
Limbs = dict[str, tuple[Direction, Direction]]
"""Upper and lower part of the arms or legs, by side."""


@dataclass(kw_only=True, eq=False)
class Pose:
    """What a body does in T frames, before it becomes rotations. Fields default to standing still.

    Attributes:
      arms: directions of (upper arm, forearm) for the left and the right side; x points outwards.
      legs: directions of (thigh, shin), likewise.
      bend: forward bend of trunk and hip, radians [T].
      lean: sideways bend of the trunk to the left, radians [T].
      turn: turn of the trunk to the left, radians [T].
      lift: height of the lowest point above the floor, metres [T].
      heading: turn of the whole body to the left, radians [T].
    """

    arms: Limbs
    legs: Limbs
    bend: np.ndarray
    lean: np.ndarray
    turn: np.ndarray
    lift: np.ndarray = field(default_factory=lambda: np.zeros(1))
    heading: np.ndarray = field(default_factory=lambda: np.zeros(1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Performed:
    """One take of an action.

    Attributes:
      rotations_TJ3: float32 [T, 52, 3] axis-angle; row 0 in the person's own frame.
      lift_T: metres between the floor and the lowest point of the body.
    """

    rotations_TJ3: np.ndarray
    lift_T: np.ndarray


SIDES = ("left", "right")

_OUT = np.array([0.13, 0.0, 0.0])
_AHEAD = np.array([0.0, 0.0, 0.12])

HANGING = (np.array([0.20, -1.0, 0.0]), np.array([0.12, -1.0, 0.22]))
STRAIGHT = (np.array([0.07, -1.0, 0.02]), np.array([0.05, -1.0, -0.03]))


OWN = 0.75
"""How far the person decides tempo and reach; the rest is the take's."""
CARRIAGE, POSTURE = 0.11, 0.09
"""Standard deviations over people: of directions of limbs of length 1, and of the trunk in radians."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Manner:
    """How a person moves, whatever they do: what gait recognition recognizes.

    Attributes:
      side: "left" or "right", the preferred side.
      tempo, reach: where in an action's ranges of periods and of sizes this person is, 0 to 1.
      stoop, tilt, twist: bend forward and lean and turn to the left that the trunk always has, radians.
      arms, legs: added to the directions of (upper arm, forearm) and (thigh, shin), for each side.
      sway: how far the hips sway, radians.
    """

    side: str
    tempo: float
    reach: float
    stoop: float
    tilt: float
    twist: float
    arms: Mapping[str, np.ndarray]
    legs: Mapping[str, np.ndarray]
    sway: float


def draw_manner(rng: np.random.Generator) -> Manner:
    """The manner of one person, deterministic in `rng`."""
    stoop, tilt, twist = rng.normal(0, POSTURE, 3).clip(-2 * POSTURE, 2 * POSTURE)
    carried = {side: rng.normal(0, CARRIAGE, (4, 3)).clip(-2 * CARRIAGE, 2 * CARRIAGE) for side in SIDES}
    for carried_43 in carried.values():
        carried_43[2:] *= 0.5  # legs bear the body
        carried_43[:, 0] = np.abs(carried_43[:, 0])  # outwards: no limb goes through the body
    return Manner(
        side=SIDES[int(rng.integers(2))],
        tempo=float(rng.uniform()),
        reach=float(rng.uniform()),
        stoop=float(stoop),
        tilt=float(tilt),
        twist=float(twist),
        arms={side: carried[side][:2] for side in SIDES},
        legs={side: carried[side][2:] for side in SIDES},
        sway=float(rng.uniform(0.005, 0.05)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """What differs from take to take, handed to an action.

    Attributes:
      time_T: seconds.
      rng: the take's own randomness.
      manner: the person's.
    """

    time_T: np.ndarray
    rng: np.random.Generator
    manner: Manner

    @property
    def side(self) -> str:
        """The person's preferred side."""
        return self.manner.side

    @property
    def other(self) -> str:
        """The opposite of `side`."""
        return SIDES[1 - SIDES.index(self.side)]

    def cycle(self, period: tuple[float, float]) -> np.ndarray:
        """Phase in radians [T] of a movement that repeats about every `period` seconds."""
        seconds = self._within(period, self.manner.tempo)
        return 2 * np.pi * self.time_T / seconds + self.rng.uniform(0, 2 * np.pi)

    def vary(self, low: float, high: float) -> float:
        """One size of this take."""
        return self._within((low, high), self.manner.reach)

    def _within(self, span: tuple[float, float], own: float) -> float:
        place = OWN * own + (1 - OWN) * self.rng.uniform()
        return float(span[0] + (span[1] - span[0]) * place)


def _swell(phase_T: np.ndarray) -> np.ndarray:
    """From 0 to 1 and back, smoothly."""
    return (1 - np.cos(phase_T)) / 2


def _mix(share_T: np.ndarray, start: Direction, end: Direction) -> Direction:
    return (1 - share_T[:, None]) * start + share_T[:, None] * end


def _fan(angle_T: np.ndarray, forward: float = 0.1) -> Direction:
    """Down at 0, outwards at π/2, up at π."""
    return np.stack([np.sin(angle_T), -np.cos(angle_T), np.full_like(angle_T, forward)], axis=1)


def _step(angle_T: np.ndarray) -> Direction:
    """Down at 0, forwards at π/2."""
    return np.stack([np.full_like(angle_T, 0.06), -np.cos(angle_T), np.sin(angle_T)], axis=1)


def _standing(take: Take) -> Pose:
    still = np.zeros_like(take.time_T)
    return Pose(
        arms={"left": HANGING, "right": HANGING},
        legs={"left": STRAIGHT, "right": STRAIGHT},
        bend=still,
        lean=still,
        turn=still,
        lift=still,
    )


def wave(take: Take) -> Pose:
    """One hand waves beside the head."""
    pose = _standing(take)
    swing = np.sin(take.cycle((0.55, 0.9))) * take.vary(0.45, 0.75)
    upper = np.array([1.0, take.vary(-0.25, 0.3), 0.25])
    pose.arms[take.side] = (upper, np.stack([0.1 + swing, np.ones_like(swing), 0.3 + 0 * swing], axis=1))
    return pose


def raise_arms(take: Take) -> Pose:
    """Both arms go up sideways and come down."""
    pose = _standing(take)
    arm = _fan(0.2 + take.vary(2.3, 2.8) * _swell(take.cycle((1.8, 2.8))))
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    return pose


def clap(take: Take) -> Pose:
    """Hands clap in front of the chest."""
    pose = _standing(take)
    open_T = _swell(take.cycle((0.5, 0.8)))
    upper = _mix(open_T, np.array([0.18, -0.8, 0.6]), np.array([0.6, -0.7, 0.45]))
    height = take.vary(0.1, 0.5)
    forearm = _mix(open_T, np.array([-0.62, height, 0.7]), np.array([0.35, height, 0.9]))
    pose.arms = {"left": (upper, forearm), "right": (upper, forearm)}
    return pose


def jumping_jack(take: Take) -> Pose:
    """Jumps with arms and legs apart and together."""
    pose = _standing(take)
    phase = take.cycle((0.9, 1.3))
    spread = _swell(phase)
    arm = _fan(0.25 + take.vary(2.3, 2.7) * spread)
    leg = _fan(0.06 + take.vary(0.34, 0.45) * spread, forward=0.02)
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    pose.legs = {"left": (leg, leg), "right": (leg, leg)}
    pose.lift = take.vary(0.05, 0.11) * np.sin(phase) ** 2
    return pose


def squat(take: Take) -> Pose:
    """Deep knee bends with the arms forward."""
    pose = _standing(take)
    down = _swell(take.cycle((1.8, 2.8)))
    depth = take.vary(1.15, 1.5)
    thigh = _step(depth * down) + np.array([0.2, 0, 0]) * down[:, None]
    shin = _step(-0.5 * depth * down)
    pose.legs = {"left": (thigh, shin), "right": (thigh, shin)}
    arm = _mix(down, HANGING[0], np.array([0.1, -0.05, 1.0]))
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    pose.bend = 0.55 * down
    return pose


def kick(take: Take) -> Pose:
    """One leg kicks forwards."""
    pose = _standing(take)
    phase = take.cycle((1.2, 1.8))
    swing = np.clip(np.sin(phase), -0.45, 1)
    bent = np.clip(-np.sin(phase + 0.9), 0, 1)
    thigh_T = take.vary(1.1, 1.45) * swing
    pose.legs[take.side] = (_step(thigh_T), _step(thigh_T - 0.9 * bent))
    arm = _step(-0.7 * swing) + np.array([0.3, 0, 0])
    pose.arms[take.side] = (arm, arm)
    guard = _step(0.7 * swing) + np.array([0.3, 0, 0])
    pose.arms[take.other] = (guard, guard)
    pose.bend = -0.12 * np.clip(swing, 0, 1)
    return pose


def walk(take: Take) -> Pose:
    """Walks on the spot."""
    pose = _standing(take)
    phase = take.cycle((0.9, 1.3))
    knees = take.vary(0.6, 1.0)
    for side, sign in ((take.side, 1.0), (take.other, -1.0)):
        lifted = np.clip(sign * np.sin(phase), 0, 1)
        pose.legs[side] = (_step(knees * lifted), _step(-0.55 * knees * lifted))
        swing = -sign * np.sin(phase)
        pose.arms[side] = (_step(0.6 * swing) + _OUT, _step(0.6 * swing + 0.7) + _OUT)
    pose.turn = 0.1 * np.sin(phase)
    return pose


def bow(take: Take) -> Pose:
    """Bows from the hip."""
    pose = _standing(take)
    pose.bend = take.vary(0.8, 1.15) * _swell(take.cycle((2.0, 3.0)))
    arm = _step(pose.bend * 0.25) + np.array([0.12, 0, 0])
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    return pose


def punch(take: Take) -> Pose:
    """Boxes straight ahead, left and right in turn."""
    pose = _standing(take)
    phase = take.cycle((0.9, 1.3))
    guard = (np.array([0.25, -0.9, 0.35]), np.array([-0.1, 0.75, 0.65]))
    for side, sign in ((take.side, 1.0), (take.other, -1.0)):
        out = np.clip(sign * np.sin(phase), 0, 1)
        straight = np.array([-0.12, take.vary(-0.05, 0.1), 1.0])
        pose.arms[side] = (_mix(out, guard[0], straight), _mix(out, guard[1], straight))
    pose.turn = (0.3 if take.side == "right" else -0.3) * np.sin(phase)
    stance = np.array([0.22, -1.0, 0.0])
    pose.legs = {"left": (stance + _AHEAD, stance), "right": (stance - _AHEAD, stance)}
    return pose


def side_stretch(take: Take) -> Pose:
    """Leans to the side with one arm over the head."""
    pose = _standing(take)
    share = _swell(take.cycle((2.0, 3.0)))
    arm = _fan(0.3 + 2.6 * share)
    pose.arms[take.side] = (arm, arm + np.array([-0.5, 0, 0]) * share[:, None])
    pose.arms[take.other] = (np.array([0.55, -0.8, -0.1]), np.array([-0.6, -0.6, 0.35]))
    pose.lean = (-1 if take.side == "left" else 1) * take.vary(0.4, 0.6) * share
    return pose


def improvise(take: Take) -> Pose:
    """Moves anyhow: from one drawn pose to the next, turned anywhere. What networks are calibrated on."""
    pose = _standing(take)
    poses = [_drawn(take) for _ in range(2 + int(take.time_T[-1] / 0.5))]
    # A pose is reached every half second or so; in between, everything moves evenly or rests.
    place_T = np.clip(take.time_T / take.rng.uniform(0.4, 0.8), 0, len(poses) - 1.001)
    before_T = place_T.astype(int)
    share_T = _swell(np.pi * np.clip((place_T - before_T) * take.rng.uniform(1.0, 1.5), 0, 1))

    def along(name: str) -> np.ndarray:
        values = np.array([drawn[name] for drawn in poses])
        return np.asarray(_mix(share_T, values[before_T], values[before_T + 1]))

    for side in ("left", "right"):
        pose.arms[side] = (along(f"{side} upper arm"), along(f"{side} forearm"))
        pose.legs[side] = (along(f"{side} thigh"), along(f"{side} shin"))
    pose.bend, pose.lean, pose.turn = (along(name)[:, 0] for name in ("bend", "lean", "turn"))
    pose.heading = take.rng.uniform(-np.pi, np.pi) + take.rng.uniform(-0.5, 0.5) * take.time_T
    return pose


def _drawn(take: Take) -> dict[str, np.ndarray]:
    """Directions of limbs and angles of the trunk, drawn within what joints allow."""
    rng = take.rng
    stands, squats = rng.random() < 0.4, rng.random() < 0.2
    drawn = {
        "bend": np.array([rng.uniform(-0.15, 0.3) if rng.random() < 0.7 else rng.uniform(0.3, 1.2)]),
        "lean": np.array([rng.normal(0, 0.2)]),
        "turn": np.array([rng.normal(0, 0.3)]),
    }
    depth = rng.uniform(0.3, 1.5)
    for side in ("left", "right"):
        if rng.random() < 0.3:
            upper, forearm = HANGING
        else:
            upper = rng.normal((0.6, -0.2, 0.3), 0.7)
            upper /= np.linalg.norm(upper)
            to = rng.normal((-0.4, 0.4, 0.6), 0.6)
            to -= (to @ upper) * upper
            bent = rng.uniform(0, 2.4)
            forearm = np.cos(bent) * upper + np.sin(bent) * to / np.linalg.norm(to)
        drawn[f"{side} upper arm"], drawn[f"{side} forearm"] = upper, forearm
        step = depth if squats else rng.normal(0, 0.08) if stands else rng.choice([0.3, 1.0]) * rng.normal()
        step = float(np.clip(step, -0.6, 1.7))
        bent = float(np.clip(0.04 if stands and not squats else rng.normal(1.2 * abs(step), 0.4), 0, 2.2))
        aside = np.array([abs(rng.normal(0.05, 0.15)), 0, 0])
        drawn[f"{side} thigh"] = _step(np.array([step]))[0] + aside
        drawn[f"{side} shin"] = _step(np.array([step - bent]))[0] + aside
    return drawn


ACTIONS: Mapping[str, Callable[[Take], Pose]] = {
    action.__name__: action
    for action in (wave, raise_arms, clap, jumping_jack, squat, kick, walk, bow, punch, side_stretch)
}
"""Every action by name; the name is the label."""

PERFORMED: Mapping[str, Callable[[Take], Pose]] = {**ACTIONS, "improvise": improvise}
"""All that can be filmed: the actions, and movement without a meaning."""


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
    """The pose as this person holds it."""
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
    # A bend is shared by hip and spine; the legs stay where they are told to.
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
        # Above the shoulder line the shoulder blade takes a part of the way.
        shrug = 0.35 * np.clip(np.arctan2(upper[:, 1], np.abs(upper[:, 0]) + np.abs(upper[:, 2])), 0, None)
        collar = put(f"{side}_collar", Rotation.from_rotvec(np.outer(sign * shrug, [0, 0, 1.0])))
        bone = np.array([sign, 0.0, 0.0])
        shoulder = collar * put(f"{side}_shoulder", _aim(collar, bone, upper))
        put(f"{side}_elbow", _aim(shoulder, bone, forearm))
        thigh, shin = (_unit(direction * outward, frames) for direction in pose.legs[side])
        leg = np.array([0.05 * sign, -1.0, 0.0])
        hip = root * put(f"{side}_hip", _aim(root, leg, thigh))
        knee = hip * put(f"{side}_knee", _aim(hip, leg, shin))
        # The foot keeps to the floor, or follows the shin where that is far from upright.
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
