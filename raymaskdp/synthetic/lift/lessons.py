"""Lessons for `bodies.fitting.lift`: what a network sees of people whose bodies are known.

Two kinds. People of rendered films are followed by the body network, with all that it gets wrong. Others are
only imagined: bodies that move before a camera, whose landmarks are shifted as the network shifted some of
the first kind, and of which nothing but the image is given. There are many of these, by cameras anywhere,
upright or lying.

Shape suffixes: T frames of a film, N sightings in a row, L = 33 landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from raymaskdp.anonymize.people.networks.blazepose import BlazePose
from raymaskdp.anonymize.people.networks.windows import Window, guesses
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting.landmarks import landmarks_of
from raymaskdp.bodies.fitting.lift import LIFTED, Normalized, normalized, turned_to_axis
from raymaskdp.bodies.skinning import joint_transforms
from raymaskdp.synthetic.actions import ACTIONS
from raymaskdp.synthetic.perform import perform
from raymaskdp.synthetic.poses import draw_manner
from raymaskdp.synthetic.rooms import look_at
from raymaskdp.video.reader import stream

FAR = 0.15
"""A sighting this far from the truth on average, as a share of the person's extent, is of nobody."""

PRESENT = 0.5
"""Least presence of somebody."""

ACTED, STEPPING, LYING = 0.15, 0.5, 0.12
"""Shares of the imagined who do what the sample data's people do, who step about, and who lie or fall."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What the network saw of somebody in frames that follow each other, and the truth in its terms.

    Attributes:
      seen: landmarks.
      fps: frames a second.
      image_NL2, space_NL3: what must be added to the landmarks in the image, and the points in space.
    """

    seen: Normalized
    fps: float
    image_NL2: np.ndarray
    space_NL3: np.ndarray

    def mirrored(self) -> Lesson:
        """As a mirror shows it."""
        # Truths are mirrored by the same rule as landmarks.
        truth = Normalized(
            image_NL2=self.image_NL2,
            space_NL3=self.space_NL3,
            seen_NL=self.seen.seen_NL,
            middle_N2=self.seen.middle_N2,
            spread_N=self.seen.spread_N,
        ).mirrored()
        return replace(self, seen=self.seen.mirrored(), image_NL2=truth.image_NL2, space_NL3=truth.space_NL3)

    def only(self, present_NL: np.ndarray) -> Lesson:
        """As if the other landmarks were outside the frame."""
        seen = self.seen.only(present_NL)
        truth_NL2 = self.seen.pixels() + self.seen.spread_N[:, None, None] * self.image_NL2
        return replace(self, seen=seen, image_NL2=(truth_NL2 - seen.pixels()) / seen.spread_N[:, None, None])

    def cut(self, rng: np.random.Generator) -> Lesson:
        """As if the frame ended somewhere across the person: mostly below, else at a side or above."""
        pixels_NL2 = self.seen.pixels()
        axis, sign = ((1, 1), (0, 1), (0, -1), (1, -1))[int(rng.choice(4, p=(0.7, 0.12, 0.12, 0.06)))]
        along_NL = sign * pixels_NL2[..., axis]
        edge = np.quantile(along_NL[int(rng.integers(len(along_NL)))], rng.uniform(0.35, 0.95))
        return self.only(along_NL < edge)


def lesson_of(
    keypoints_NL3: np.ndarray, world_NL3: np.ndarray, truth_NL3: np.ndarray, camera_33: np.ndarray, fps: float
) -> Lesson:
    """Landmarks and the true points [N, 33, 3] in the camera frame, in the network's terms."""
    seen = normalized(keypoints_NL3.astype(np.float64), world_NL3.astype(np.float64))
    image = truth_NL3[..., :2] / truth_NL3[..., 2:] * camera_33[[0, 1], [0, 1]]
    image = image + camera_33[:2, 2] - keypoints_NL3[..., :2]
    hips = truth_NL3[:, LIFTED.rows(["left_hip", "right_hip"])].mean(1)
    space = (truth_NL3 - hips[:, None]) @ np.swapaxes(turned_to_axis(hips), 1, 2)
    size = np.sqrt(np.square(space - space.mean(1, keepdims=True)).mean((1, 2)))
    return Lesson(
        seen=seen,
        fps=fps,
        image_NL2=image / seen.spread_N[:, None, None],
        space_NL3=space / size[:, None, None],
    )


def followed(folder: Path, seed: int, fps: float) -> Iterator[Lesson]:
    """Every person of a film, in the frames in which the network sees them."""
    body, rng = load_body(), np.random.default_rng([seed, 7])
    network = BlazePose()
    for path in tqdm(sorted((folder / "videos").glob("*.mp4")), "look", unit="video"):
        with np.load(folder / "truth" / f"{path.stem}.npz") as stored:
            betas_S, turns, place = stored["betas"][0], stored["rotations"][0], stored["translation"][0]
            camera_33, joints_TJ2 = stored["camera"], stored["joints2d"][0, :, :22]
        landmarks = landmarks_of(body, betas_S, LIFTED)
        joints, transforms = joint_transforms(body.rest_joints(betas_S), turns)
        turned = transforms[:, landmarks.joint_L, :3, :3] @ landmarks.offset_L3[..., None]
        truth_TL3 = joints[:, landmarks.joint_L] + turned[..., 0] + place[:, None]
        image_TL2 = truth_TL3[..., :2] / truth_TL3[..., 2:] * camera_33[[0, 1], [0, 1]] + camera_33[:2, 2]
        sightings: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        window: Window | None = None
        for frame_HW3, truth_L3, image_L2, joints_J2 in zip(
            stream(path), truth_TL3, image_TL2, joints_TJ2, strict=True
        ):
            if window is None:
                (first,) = network(frame_HW3, [_guess(joints_J2, frame_HW3.shape[:2], rng)])
                window = first.window
            # Looked at as in a film: where the network itself said that the person is.
            (glimpse,) = network(frame_HW3, [window])
            seen, extent = glimpse.body, float(np.ptp(joints_J2, axis=0).max())
            apart = float(np.linalg.norm(seen.keypoints_33x3[:, :2] - image_L2, axis=1).mean())
            if glimpse.presence >= PRESENT and apart < FAR * extent:
                sightings.append((seen.keypoints_33x3, seen.world_33x3, truth_L3))
                window = glimpse.window
                continue
            if sightings:
                yield _lesson(sightings, camera_33, fps)
            sightings, window = [], None
        if sightings:
            yield _lesson(sightings, camera_33, fps)


def _lesson(
    sightings: list[tuple[np.ndarray, np.ndarray, np.ndarray]], camera_33: np.ndarray, fps: float
) -> Lesson:
    keypoints, world, truth = (np.array(part) for part in zip(*sightings, strict=True))
    return lesson_of(keypoints, world, truth, camera_33, fps)


def _guess(joints_J2: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """Where a detector might have seen somebody whose joints are there."""
    margin = rng.uniform(0.0, 0.15, 4) * np.ptp(joints_J2, axis=0).max()
    box_4 = np.concatenate([joints_J2.min(0) - margin[:2], joints_J2.max(0) + margin[2:]])
    height, width = size
    return guesses(np.clip(box_4, 0, (width, height, width, height)))[0]


def imagined(count: int, errors: Sequence[Lesson], *, frames: int, fps: float, seed: int) -> list[Lesson]:
    """People before cameras anywhere, seen with errors that the network made elsewhere; nothing in space.

    Args:
      count: of people.
      errors: lessons of followed people.
    """
    body, rng = load_body(), np.random.default_rng([seed, 8])
    lessons = []
    for person in range(count):
        betas_S = draw_avatar(b"imagined", f"{seed} {person}").betas_S
        kind = rng.random()
        acts = kind < ACTED
        action = (
            str(rng.choice(list(ACTIONS)))
            if acts
            else "improvise"
            if kind > ACTED + STEPPING
            else "step_about"
        )
        done = perform(action, num_frames=frames, fps=fps, manner=draw_manner(rng), rng=rng)
        landmarks = landmarks_of(body, betas_S, LIFTED)
        joints, transforms = joint_transforms(body.rest_joints(betas_S), done.rotations_TJ3)
        turned = transforms[:, landmarks.joint_L, :3, :3] @ landmarks.offset_L3[..., None]
        points_TL3 = joints[:, landmarks.joint_L] + turned[..., 0] - joints[:, :1]
        if rng.random() < LYING:
            points_TL3 = (
                Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * (1.6, 3.1, 1.6))
                .apply(points_TL3.reshape(-1, 3))
                .reshape(points_TL3.shape)
            )
        points_TL3[..., 1] += (done.lift_T - points_TL3[..., 1].min(1))[:, None]
        # As close as a desk's camera, as far as a street's; level, or from above.
        away, height = float(np.exp(rng.uniform(np.log(1.4), np.log(8)))), rng.uniform(0.5, 2.2)
        side = rng.uniform(-0.6, 0.6) if acts else 0.0
        height += rng.uniform(0, 0.8) * away * (rng.random() < 0.35)
        camera = look_at(
            np.array([away * np.sin(side), height, away * np.cos(side)]),
            np.array([rng.normal(0, 0.3), 1.0 + rng.normal(0, 0.2), 0.0]),
            focal=1.0, width=0, height=0,
        )  # fmt: skip
        truth_TL3 = points_TL3 @ camera.rotation_33.T + camera.translation_3
        if truth_TL3[..., 2].min() < 0.3:
            continue
        lessons.append(_mistaken(truth_TL3, errors[int(rng.integers(len(errors)))], rng, fps))
    return lessons


def _mistaken(truth_NL3: np.ndarray, error: Lesson, rng: np.random.Generator, fps: float) -> Lesson:
    """What would be seen of true points, by a camera of focal length 1, if the network erred as there."""
    image_NL2 = truth_NL3[..., :2] / truth_NL3[..., 2:]
    spread_N = np.sqrt(np.square(image_NL2 - image_NL2.mean(1, keepdims=True)).mean((1, 2)))
    # As long a part as there is, there and back.
    there = np.arange(len(error.image_NL2))
    rows = np.resize(np.concatenate([there, there[::-1]]), len(truth_NL3) + len(there))
    rows = rows[int(rng.integers(len(there))) :][: len(truth_NL3)]
    keypoints = np.concatenate(
        [image_NL2 - spread_N[:, None, None] * error.image_NL2[rows], error.seen.seen_NL[rows][..., None]], -1
    )
    lesson = lesson_of(keypoints, truth_NL3, truth_NL3, np.eye(3), fps)
    return replace(lesson, seen=lesson.seen.image_only())
