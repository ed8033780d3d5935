"""Limb directions over time, and the variation between people and between takes.

Each person has a manner of moving: a tempo, a reach, a posture, a preferred side. Speeds and ranges also vary
from take to take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

# Shape suffixes: T frames.
# Directions are in the person's own frame: x left, y up, z forward; arms relative to the chest.

Direction = np.ndarray
"""[T, 3], of any length; or [3], the same in every frame."""
Limbs = dict[str, tuple[Direction, Direction]]
"""Upper and lower part of the arms or legs, by side."""


@dataclass(kw_only=True, eq=False)
class Pose:
    """A body in T frames, before it is converted to rotations. The defaults are those of standing still.

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


SIDES = ("left", "right")

OUT = np.array([0.13, 0.0, 0.0])
AHEAD = np.array([0.0, 0.0, 0.12])

HANGING = (np.array([0.20, -1.0, 0.0]), np.array([0.12, -1.0, 0.22]))
STRAIGHT = (np.array([0.07, -1.0, 0.02]), np.array([0.05, -1.0, -0.03]))


OWN = 0.75
"""Share of tempo and reach that depends on the person; the rest depends on the take."""
CARRIAGE, POSTURE = 0.11, 0.09
"""Standard deviations between people: of directions of limbs of length 1, and of the trunk in radians."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Manner:
    """A person's manner of moving in all actions, the subject of gait recognition.

    Attributes:
      side: "left" or "right", the preferred side.
      tempo, reach: this person's place in an action's ranges of periods and of sizes, 0 to 1.
      stoop, tilt, twist: constant forward bend, leftward lean and leftward turn of the trunk, radians.
      arms, legs: added to the directions of (upper arm, forearm) and (thigh, shin), for each side.
      sway: amplitude of the hips' sway, radians.
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
        carried_43[:, 0] = np.abs(carried_43[:, 0])  # outwards: no limb intersects the body
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
    """The variables of one take, the argument of an action.

    Attributes:
      time_T: seconds.
      rng: the take's own random numbers.
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


def swell(phase_T: np.ndarray) -> np.ndarray:
    """From 0 to 1 and back, smoothly."""
    return (1 - np.cos(phase_T)) / 2


def mix(share_T: np.ndarray, start: Direction, end: Direction) -> Direction:
    """Blend from `start` (share 0) to `end` (share 1)."""
    return (1 - share_T[:, None]) * start + share_T[:, None] * end


def fan(angle_T: np.ndarray, forward: float = 0.1) -> Direction:
    """Down at 0, outwards at π/2, up at π."""
    return np.stack([np.sin(angle_T), -np.cos(angle_T), np.full_like(angle_T, forward)], axis=1)


def step(angle_T: np.ndarray) -> Direction:
    """Down at 0, forwards at π/2."""
    return np.stack([np.full_like(angle_T, 0.06), -np.cos(angle_T), np.sin(angle_T)], axis=1)


def standing(take: Take) -> Pose:
    """Stands still with lowered arms."""
    still = np.zeros_like(take.time_T)
    return Pose(
        arms={"left": HANGING, "right": HANGING},
        legs={"left": STRAIGHT, "right": STRAIGHT},
        bend=still,
        lean=still,
        turn=still,
        lift=still,
    )
