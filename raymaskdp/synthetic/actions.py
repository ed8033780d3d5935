"""Actions of the sample data: how each moves the limbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from raymaskdp.synthetic.poses import AHEAD, HANGING, OUT, Pose, Take, fan, mix, standing, step, swell


def wave(take: Take) -> Pose:
    """One hand waves beside the head."""
    pose = standing(take)
    swing = np.sin(take.cycle((0.55, 0.9))) * take.vary(0.45, 0.75)
    upper = np.array([1.0, take.vary(-0.25, 0.3), 0.25])
    pose.arms[take.side] = (upper, np.stack([0.1 + swing, np.ones_like(swing), 0.3 + 0 * swing], axis=1))
    return pose


def raise_arms(take: Take) -> Pose:
    """Both arms go up sideways and come down."""
    pose = standing(take)
    arm = fan(0.2 + take.vary(2.3, 2.8) * swell(take.cycle((1.8, 2.8))))
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    return pose


def clap(take: Take) -> Pose:
    """Hands clap in front of the chest."""
    pose = standing(take)
    open_T = swell(take.cycle((0.5, 0.8)))
    upper = mix(open_T, np.array([0.18, -0.8, 0.6]), np.array([0.6, -0.7, 0.45]))
    height = take.vary(0.1, 0.5)
    forearm = mix(open_T, np.array([-0.62, height, 0.7]), np.array([0.35, height, 0.9]))
    pose.arms = {"left": (upper, forearm), "right": (upper, forearm)}
    return pose


def jumping_jack(take: Take) -> Pose:
    """Jumps with arms and legs apart and then together."""
    pose = standing(take)
    phase = take.cycle((0.9, 1.3))
    spread = swell(phase)
    arm = fan(0.25 + take.vary(2.3, 2.7) * spread)
    leg = fan(0.06 + take.vary(0.34, 0.45) * spread, forward=0.02)
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    pose.legs = {"left": (leg, leg), "right": (leg, leg)}
    pose.lift = take.vary(0.05, 0.11) * np.sin(phase) ** 2
    return pose


def squat(take: Take) -> Pose:
    """Deep knee bends with the arms forward."""
    pose = standing(take)
    down = swell(take.cycle((1.8, 2.8)))
    depth = take.vary(1.15, 1.5)
    thigh = step(depth * down) + np.array([0.2, 0, 0]) * down[:, None]
    shin = step(-0.5 * depth * down)
    pose.legs = {"left": (thigh, shin), "right": (thigh, shin)}
    arm = mix(down, HANGING[0], np.array([0.1, -0.05, 1.0]))
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    pose.bend = 0.55 * down
    return pose


def kick(take: Take) -> Pose:
    """One leg kicks forwards."""
    pose = standing(take)
    phase = take.cycle((1.2, 1.8))
    swing = np.clip(np.sin(phase), -0.45, 1)
    bent = np.clip(-np.sin(phase + 0.9), 0, 1)
    thigh_T = take.vary(1.1, 1.45) * swing
    pose.legs[take.side] = (step(thigh_T), step(thigh_T - 0.9 * bent))
    arm = step(-0.7 * swing) + np.array([0.3, 0, 0])
    pose.arms[take.side] = (arm, arm)
    guard = step(0.7 * swing) + np.array([0.3, 0, 0])
    pose.arms[take.other] = (guard, guard)
    pose.bend = -0.12 * np.clip(swing, 0, 1)
    return pose


def walk(take: Take) -> Pose:
    """Walks in place."""
    pose = standing(take)
    phase = take.cycle((0.9, 1.3))
    knees = take.vary(0.6, 1.0)
    for side, sign in ((take.side, 1.0), (take.other, -1.0)):
        lifted = np.clip(sign * np.sin(phase), 0, 1)
        pose.legs[side] = (step(knees * lifted), step(-0.55 * knees * lifted))
        swing = -sign * np.sin(phase)
        pose.arms[side] = (step(0.6 * swing) + OUT, step(0.6 * swing + 0.7) + OUT)
    pose.turn = 0.1 * np.sin(phase)
    return pose


def bow(take: Take) -> Pose:
    """Bows from the hip."""
    pose = standing(take)
    pose.bend = take.vary(0.8, 1.15) * swell(take.cycle((2.0, 3.0)))
    arm = step(pose.bend * 0.25) + np.array([0.12, 0, 0])
    pose.arms = {"left": (arm, arm), "right": (arm, arm)}
    return pose


def punch(take: Take) -> Pose:
    """Punches straight ahead, left and right in turn."""
    pose = standing(take)
    phase = take.cycle((0.9, 1.3))
    guard = (np.array([0.25, -0.9, 0.35]), np.array([-0.1, 0.75, 0.65]))
    for side, sign in ((take.side, 1.0), (take.other, -1.0)):
        out = np.clip(sign * np.sin(phase), 0, 1)
        straight = np.array([-0.12, take.vary(-0.05, 0.1), 1.0])
        pose.arms[side] = (mix(out, guard[0], straight), mix(out, guard[1], straight))
    pose.turn = (0.3 if take.side == "right" else -0.3) * np.sin(phase)
    stance = np.array([0.22, -1.0, 0.0])
    pose.legs = {"left": (stance + AHEAD, stance), "right": (stance - AHEAD, stance)}
    return pose


def side_stretch(take: Take) -> Pose:
    """Leans to the side with one arm over the head."""
    pose = standing(take)
    share = swell(take.cycle((2.0, 3.0)))
    arm = fan(0.3 + 2.6 * share)
    pose.arms[take.side] = (arm, arm + np.array([-0.5, 0, 0]) * share[:, None])
    pose.arms[take.other] = (np.array([0.55, -0.8, -0.1]), np.array([-0.6, -0.6, 0.35]))
    pose.lean = (-1 if take.side == "left" else 1) * take.vary(0.4, 0.6) * share
    return pose


ACTIONS: Mapping[str, Callable[[Take], Pose]] = {
    action.__name__: action
    for action in (wave, raise_arms, clap, jumping_jack, squat, kick, walk, bow, punch, side_stretch)
}
