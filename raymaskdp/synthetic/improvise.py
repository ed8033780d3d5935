"""Random movement, from pose to pose or in steps: calibration data for networks."""

from __future__ import annotations

import numpy as np

from raymaskdp.synthetic.poses import HANGING, SIDES, STRAIGHT, Limbs, Pose, Take, mix, standing, step, swell


def improvise(take: Take) -> Pose:
    """Random movement and orientation: from one random pose to the next."""
    pose = standing(take)
    poses = [_drawn(take) for _ in range(2 + int(take.time_T[-1] / 0.5))]
    # A pose is reached about every half second; between two poses, limbs move evenly or rest.
    place_T = np.clip(take.time_T / take.rng.uniform(0.4, 0.8), 0, len(poses) - 1.001)
    before_T = place_T.astype(int)
    share_T = swell(np.pi * np.clip((place_T - before_T) * take.rng.uniform(1.0, 1.5), 0, 1))

    def along(name: str) -> np.ndarray:
        values = np.array([drawn[name] for drawn in poses])
        return np.asarray(mix(share_T, values[before_T], values[before_T + 1]))

    for side in SIDES:
        pose.arms[side] = (along(f"{side} upper arm"), along(f"{side} forearm"))
        pose.legs[side] = (along(f"{side} thigh"), along(f"{side} shin"))
    if take.rng.random() < STEPPING:
        pose.legs = _stepping(take)
    pose.bend, pose.lean, pose.turn = (along(name)[:, 0] for name in ("bend", "lean", "turn"))
    pose.heading = take.rng.uniform(-np.pi, np.pi) + take.rng.uniform(-0.5, 0.5) * take.time_T
    return pose


def step_about(take: Take) -> Pose:
    """Steps, marches, kicks or swings a leg, upright, with random arms."""
    pose = improvise(take)
    rng = take.rng
    pose.legs = _stepping(take, heels=0.04)
    pose.bend, pose.lean, pose.turn = (rng.normal(0, spread) + 0 * pose.bend for spread in (0.1, 0.08, 0.15))
    return pose


STEPPING = 0.6
"""Share of the takes whose legs step, swing or fold in a rhythm; in the others they move from pose to pose.
"""


def _stepping(take: Take, heels: float = 0.12) -> Limbs:
    """Raised legs: in turn or one alone, thighs forward, back or sideways, knees bent a little or much.

    A foot that rises in the image may do so with the knee in front or with the heel behind. The first is far
    more frequent (`heels` is the share of the second). A network learns this prior from these data.
    """
    rng = take.rng
    phase_T = 2 * np.pi * take.time_T / rng.uniform(0.6, 1.8) + rng.uniform(0, 2 * np.pi)
    sides = SIDES if rng.random() < 0.7 else (SIDES[int(rng.integers(2))],)
    height, fold = rng.uniform(0.15, 1.4), float(np.clip(rng.normal(1.4, 0.5), 0, 2.2))
    back, lag = rng.uniform(0, 0.6) * (rng.random() < 0.5), rng.uniform(-0.2, 1.0)
    aside, behind = abs(rng.normal(0, 0.4)) * (rng.random() < 0.25), rng.random() < heels
    stands = np.array([abs(rng.normal(0.05, 0.1)), 0, 0])
    legs: Limbs = dict.fromkeys(SIDES, (STRAIGHT[0] + stands, STRAIGHT[1] + stands))
    for side, sign in zip(sides, (1.0, -1.0), strict=False):
        lifted_T = np.clip(sign * np.sin(phase_T), 0, 1)
        thigh_T = 0.1 * height * lifted_T if behind else height * lifted_T
        thigh_T = thigh_T - back * np.clip(-sign * np.sin(phase_T), 0, 1)
        bent_T = fold * height * np.clip(sign * np.sin(phase_T - lag), 0, 1)
        outwards_T3 = stands + np.outer(aside * lifted_T, [1.0, 0, 0])
        shin_T = thigh_T - np.clip(bent_T, 0.03, 2.2)
        legs[side] = (step(thigh_T) + outwards_T3, step(shin_T) + outwards_T3)
    return legs


def _drawn(take: Take) -> dict[str, np.ndarray]:
    """Random directions of limbs and angles of the trunk, within the limits of joints."""
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
        ahead = depth if squats else rng.normal(0, 0.08) if stands else rng.choice([0.3, 1.0]) * rng.normal()
        ahead = float(np.clip(ahead, -0.6, 1.7))
        bent = float(np.clip(0.04 if stands and not squats else rng.normal(1.2 * abs(ahead), 0.4), 0, 2.2))
        aside = np.array([abs(rng.normal(0.05, 0.15)), 0, 0])
        drawn[f"{side} thigh"] = step(np.array([ahead]))[0] + aside
        drawn[f"{side} shin"] = step(np.array([ahead - bent]))[0] + aside
    return drawn
