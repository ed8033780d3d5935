"""Teach `bodies.fit_lift` what MediaPipe's landmarks get wrong, on rendered people.

`raymaskdp models train-lift` films people who move anyhow and some who act, shows every frame to the body
network, and fits the corrections. The films share no person, room or camera with sample data of another seed.

Shape suffixes: P people, T frames, N sightings, L = 33 landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tqdm import tqdm

from raymaskdp import check
from raymaskdp.anonymize.people.networks.blazepose import BlazePose
from raymaskdp.anonymize.people.networks.windows import guesses
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.fitting import lift
from raymaskdp.bodies.fitting.landmarks import landmarks_of
from raymaskdp.bodies.fitting.lift import LIFTED, Lift, Normalized, normalized, turned_to_axis
from raymaskdp.bodies.skinning import joint_transforms
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path, require_ours
from raymaskdp.synthetic.actions import ACTIONS
from raymaskdp.synthetic.synthesize import SynthesizeConfig, synthesize
from raymaskdp.video.reader import stream

FAR = 0.15
"""A sighting this far from the truth on average, as a share of the person's extent, is of nobody."""

PRESENT = 0.5
"""Least presence of somebody."""


@dataclass(frozen=True, kw_only=True)
class LiftTrainingConfig:
    """What to film and how long to learn.

    Attributes:
      seeds: of films of random motion, 192 × 144 pixels.
      large_seeds: of such films of twice that size.
      acted_seeds: of films of the sample data's actions; give none to measure on actions never seen.
      videos: in a film, of one person each.
      frames: in a video.
      epochs: passes over all sightings and their mirror images.
      batch, learning_rate, weight_decay, dropout: of AdamW and the network.
      noise: standard deviation added to the landmarks, as a share of a person's spread.
    """

    seeds: tuple[int, ...] = (1001, 1002, 1003)
    large_seeds: tuple[int, ...] = (1006,)
    acted_seeds: tuple[int, ...] = (1101,)
    videos: Annotated[int, check.Range(1)] = 95
    frames: Annotated[int, check.Range(1)] = 16
    epochs: Annotated[int, check.Range(1)] = 20
    batch: Annotated[int, check.Range(1)] = 256
    learning_rate: Annotated[float, check.POSITIVE] = 1e-3
    weight_decay: Annotated[float, check.POSITIVE] = 1e-2
    dropout: Annotated[float, check.Range(0, 1, open_high=True)] = 0.4
    noise: Annotated[float, check.FRACTION] = 0.05

    def __post_init__(self) -> None:
        check.fields(self)


@dataclass(frozen=True, kw_only=True)
class LiftTrainingResult:
    """What was learned.

    Attributes:
      path: the file.
      sightings: it was learned from.
      loss: of the last epoch, in units of a person's spread.
    """

    path: str
    sightings: int
    loss: float

    def __str__(self) -> str:
        return f"{self.path}: learned from {self.sightings} sightings, loss {self.loss:.3f}."


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What the network saw, and the truth in its terms.

    Attributes:
      seen: landmarks.
      image_NL2, space_NL3: what must be added to the landmarks in the image, and the points in space.
    """

    seen: Normalized
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
        return Lesson(seen=self.seen.mirrored(), image_NL2=truth.image_NL2, space_NL3=truth.space_NL3)


def train_lift(out: str | Path, work: str | Path, settings: LiftTrainingConfig) -> LiftTrainingResult:
    """Film into the folder `work` (kept, and taken up again), learn, and write the network to `out`."""
    require_ours(Path(out))  # before the work
    anyhow = ("improvise",)
    films: list[tuple[int, tuple[str, ...], int]] = [(seed, anyhow, 1) for seed in settings.seeds]
    films += [(seed, anyhow, 2) for seed in settings.large_seeds]
    films += [(seed, tuple(ACTIONS), 1) for seed in settings.acted_seeds]
    lessons = [_lesson(Path(work), settings, *film) for film in films]
    network, loss = learn(lessons, settings)
    with atomic_path(Path(out)) as temporary:
        lift.save(network, temporary)
    return LiftTrainingResult(
        path=str(out), sightings=sum(len(lesson.image_NL2) for lesson in lessons), loss=loss
    )


def _lesson(
    work: Path, settings: LiftTrainingConfig, seed: int, actions: tuple[str, ...], larger: int
) -> Lesson:
    folder = work / f"film-{seed}"
    synthesize(
        folder,
        SynthesizeConfig(
            seed=seed, actions=actions, people=max(1, settings.videos // len(actions)), rooms=24,
            frames=settings.frames, fps=6.0, width=192 * larger, height=144 * larger, test_share=0.0,
        ),
    )  # fmt: skip
    pairs = list(_sightings(folder, seed))
    if not pairs:
        raise UserError(f"The body network saw nobody in {folder}; film more (videos=, frames=).")
    keypoints, world, truth, camera = (np.array(part) for part in zip(*pairs, strict=True))
    return lesson_of(keypoints, world, truth, camera)


def lesson_of(
    keypoints_NL3: np.ndarray, world_NL3: np.ndarray, truth_NL3: np.ndarray, camera_N33: np.ndarray
) -> Lesson:
    """Landmarks and the true points [N, 33, 3] in the camera frame, in the network's terms."""
    seen = normalized(keypoints_NL3.astype(np.float64), world_NL3.astype(np.float64))
    image = truth_NL3[..., :2] / truth_NL3[..., 2:] * camera_N33[:, None, [0, 1], [0, 1]]
    image = image + camera_N33[:, None, :2, 2] - keypoints_NL3[..., :2]
    hips = truth_NL3[:, LIFTED.rows(["left_hip", "right_hip"])].mean(1)
    space = (truth_NL3 - hips[:, None]) @ np.swapaxes(turned_to_axis(hips), 1, 2)
    size = np.sqrt(np.square(space - space.mean(1, keepdims=True)).mean((1, 2)))
    return Lesson(
        seen=seen,
        image_NL2=image / seen.spread_N[:, None, None],
        space_NL3=space / size[:, None, None],
    )


def _sightings(folder: Path, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Landmarks in the image and in space, true points and camera of every person that the network sees."""
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
        for frame_HW3, truth_L3, joints_J2 in zip(stream(path), truth_TL3, joints_TJ2, strict=True):
            height, width = frame_HW3.shape[:2]
            extent = float(np.ptp(joints_J2, axis=0).max())
            margin = rng.uniform(0.0, 0.15, 4) * extent
            box_4 = np.concatenate([joints_J2.min(0) - margin[:2], joints_J2.max(0) + margin[2:]])
            box_4 = np.clip(box_4, 0, (width, height, width, height))
            image_L2 = truth_L3[:, :2] / truth_L3[:, 2:] * camera_33[[0, 1], [0, 1]] + camera_33[:2, 2]
            # Looked at as in a film: where the network itself says that the person is.
            (first,) = network(frame_HW3, guesses(box_4)[:1])
            (again,) = network(frame_HW3, [first.window])
            seen = again.body
            apart = float(np.linalg.norm(seen.keypoints_33x3[:, :2] - image_L2, axis=1).mean())
            if again.presence >= PRESENT and apart < FAR * extent:
                yield seen.keypoints_33x3, seen.world_33x3, truth_L3, camera_33


def learn(lessons: list[Lesson], settings: LiftTrainingConfig) -> tuple[Lift, float]:
    """A network taught on the lessons and their mirror images, and its last epoch's mean loss."""
    torch.manual_seed(0)
    both = [lesson for one in lessons for lesson in (one, one.mirrored())]
    given = torch.cat([lesson.seen.features() for lesson in both])
    start = torch.cat([_tensor(lesson.seen.space_NL3) for lesson in both])
    space = torch.cat([_tensor(lesson.space_NL3) for lesson in both])
    image = torch.cat([_tensor(lesson.image_NL2) for lesson in both])
    network = Lift(settings.dropout)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = -(-len(given) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps, pct_start=0.1
    )
    losses: list[float] = []
    for _ in tqdm(range(settings.epochs), "learn", unit="epoch"):
        losses = []
        for rows in torch.randperm(len(given)).chunk(steps):
            noisy = given[rows] + settings.noise * torch.randn(len(rows), given.shape[1])
            corrections = network(noisy)
            off = (start[rows] + corrections[..., :3] - space[rows]).norm(dim=-1).mean()
            loss = off + (corrections[..., 3:] - image[rows]).norm(dim=-1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return network.eval(), float(np.mean(losses))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()
