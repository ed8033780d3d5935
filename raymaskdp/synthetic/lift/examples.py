"""Training examples for `bodies.fitting.lift`: landmarks of people with known bodies.

There are two kinds. People in rendered videos are tracked by the landmark network, with all of its errors.
Simulated people are not rendered: bodies move before a camera, their landmarks have errors that the network
made in examples of the first kind, and only image points are given. Their number is large, with cameras at
any place and people upright or lying.

Shape suffixes: T frames of a video, N consecutive detections, L = 33 landmarks.
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
"""A detection with a larger mean distance from the truth, as a share of the person's extent, is a false one.
"""

PRESENT = 0.5
"""Least presence of a detection."""

ACTED, STEPPING, LYING = 0.15, 0.5, 0.12
"""Shares of the simulated people who perform the sample data's actions, who step, and who lie or fall."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LiftExample:
    """Landmarks of one person in consecutive frames, and the truth in the network's units.

    Attributes:
      seen: landmarks.
      fps: frames a second.
      image_NL2, space_NL3: the correction of the landmarks in the image, and the points in space.
    """

    seen: Normalized
    fps: float
    image_NL2: np.ndarray
    space_NL3: np.ndarray

    def mirrored(self) -> LiftExample:
        """The mirror image."""
        # The truth is mirrored by the same rule as the landmarks.
        truth = Normalized(
            image_NL2=self.image_NL2,
            space_NL3=self.space_NL3,
            seen_NL=self.seen.seen_NL,
            middle_N2=self.seen.middle_N2,
            spread_N=self.seen.spread_N,
        ).mirrored()
        return replace(self, seen=self.seen.mirrored(), image_NL2=truth.image_NL2, space_NL3=truth.space_NL3)

    def only(self, present_NL: np.ndarray) -> LiftExample:
        """The example with all other landmarks outside the frame."""
        seen = self.seen.only(present_NL)
        truth_NL2 = self.seen.pixels() + self.seen.spread_N[:, None, None] * self.image_NL2
        return replace(self, seen=seen, image_NL2=(truth_NL2 - seen.pixels()) / seen.spread_N[:, None, None])

    def cut(self, rng: np.random.Generator) -> LiftExample:
        """The example with a frame edge across the person: mostly below, else at a side or above."""
        pixels_NL2 = self.seen.pixels()
        axis, sign = ((1, 1), (0, 1), (0, -1), (1, -1))[int(rng.choice(4, p=(0.7, 0.12, 0.12, 0.06)))]
        along_NL = sign * pixels_NL2[..., axis]
        edge = np.quantile(along_NL[int(rng.integers(len(along_NL)))], rng.uniform(0.35, 0.95))
        return self.only(along_NL < edge)


def example_of(
    keypoints_NL3: np.ndarray, world_NL3: np.ndarray, truth_NL3: np.ndarray, camera_33: np.ndarray, fps: float
) -> LiftExample:
    """An example from landmarks and the true points [N, 33, 3] in the camera frame."""
    seen = normalized(keypoints_NL3.astype(np.float64), world_NL3.astype(np.float64))
    image = truth_NL3[..., :2] / truth_NL3[..., 2:] * camera_33[[0, 1], [0, 1]]
    image = image + camera_33[:2, 2] - keypoints_NL3[..., :2]
    hips = truth_NL3[:, LIFTED.rows(["left_hip", "right_hip"])].mean(1)
    space = (truth_NL3 - hips[:, None]) @ np.swapaxes(turned_to_axis(hips), 1, 2)
    size = np.sqrt(np.square(space - space.mean(1, keepdims=True)).mean((1, 2)))
    return LiftExample(
        seen=seen,
        fps=fps,
        image_NL2=image / seen.spread_N[:, None, None],
        space_NL3=space / size[:, None, None],
    )


def rendered_examples(folder: Path, seed: int, fps: float) -> Iterator[LiftExample]:
    """An example for each run of frames of a video's person in which the network detects the person."""
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
        detections: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        window: Window | None = None
        for frame_HW3, truth_L3, image_L2, joints_J2 in zip(
            stream(path), truth_TL3, image_TL2, joints_TJ2, strict=True
        ):
            if window is None:
                (first,) = network(frame_HW3, [_guess(joints_J2, frame_HW3.shape[:2], rng)])
                window = first.window
            # In the window that the network returned, as in a film.
            (result,) = network(frame_HW3, [window])
            seen, extent = result.body, float(np.ptp(joints_J2, axis=0).max())
            apart = float(np.linalg.norm(seen.keypoints_33x3[:, :2] - image_L2, axis=1).mean())
            if result.presence >= PRESENT and apart < FAR * extent:
                detections.append((seen.keypoints_33x3, seen.world_33x3, truth_L3))
                window = result.window
                continue
            if detections:
                yield _example(detections, camera_33, fps)
            detections, window = [], None
        if detections:
            yield _example(detections, camera_33, fps)


def _example(
    detections: list[tuple[np.ndarray, np.ndarray, np.ndarray]], camera_33: np.ndarray, fps: float
) -> LiftExample:
    keypoints, world, truth = (np.array(part) for part in zip(*detections, strict=True))
    return example_of(keypoints, world, truth, camera_33, fps)


def _guess(joints_J2: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """The window of a detector's box for a person with these joints."""
    margin = rng.uniform(0.0, 0.15, 4) * np.ptp(joints_J2, axis=0).max()
    box_4 = np.concatenate([joints_J2.min(0) - margin[:2], joints_J2.max(0) + margin[2:]])
    height, width = size
    return guesses(np.clip(box_4, 0, (width, height, width, height)))[0]


def simulated_examples(
    count: int, errors: Sequence[LiftExample], *, frames: int, fps: float, seed: int
) -> list[LiftExample]:
    """Simulated people before cameras at random places, with errors that the network made elsewhere; 2-D
    only.

    Args:
      count: number of people.
      errors: rendered examples.
    """
    body, rng = load_body(), np.random.default_rng([seed, 8])
    examples = []
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
        # From the distance of a webcam to that of a street camera; level, or from above.
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
        examples.append(_with_errors(truth_TL3, errors[int(rng.integers(len(errors)))], rng, fps))
    return examples


def _with_errors(
    truth_NL3: np.ndarray, error: LiftExample, rng: np.random.Generator, fps: float
) -> LiftExample:
    """True points with the errors of another example, for a camera of focal length 1."""
    image_NL2 = truth_NL3[..., :2] / truth_NL3[..., 2:]
    spread_N = np.sqrt(np.square(image_NL2 - image_NL2.mean(1, keepdims=True)).mean((1, 2)))
    # The whole sequence, forward and backward.
    there = np.arange(len(error.image_NL2))
    rows = np.resize(np.concatenate([there, there[::-1]]), len(truth_NL3) + len(there))
    rows = rows[int(rng.integers(len(there))) :][: len(truth_NL3)]
    keypoints = np.concatenate(
        [image_NL2 - spread_N[:, None, None] * error.image_NL2[rows], error.seen.seen_NL[rows][..., None]], -1
    )
    example = example_of(keypoints, truth_NL3, truth_NL3, np.eye(3), fps)
    return replace(example, seen=example.seen.image_only())
