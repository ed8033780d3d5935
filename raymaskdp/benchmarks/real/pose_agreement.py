"""Agreement of an avatar's pose with its person's, as a pose network sees both in the frames.

The measure is PCK (Yang and Ramanan 2013): the share of keypoints that are close to those of the person.
MoveNet MultiPose computes them in the source and in the output. It takes part in finding boxes, and in no
avatar's pose.

Shape suffixes: N people, 17 keypoints, 3 for x, y and score, 4 coordinates of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.multipose import MultiPose, Poses
from raymaskdp.video import masks, reader

LEAST_SCORE, LEAST_POINT = 0.3, 0.3
"""Least scores of a person and of a keypoint in the source that are compared."""

SAME_IOU = 0.3
"""Least overlap (IoU) of a person in the output with the one in the source."""

AVATAR_SHARE = 0.12
"""Least share of a person's box that an avatar fills."""

CLOSE = 0.1
"""Largest distance of a keypoint that is kept, in longer sides of the person's box."""

APART_S = 0.5
"""Least time between a pose and the one that it is compared with as a control, seconds."""


@dataclass(frozen=True, kw_only=True)
class PoseAgreement:
    """The agreement over some people in some frames.

    Attributes:
      people: people with an avatar whose pose was compared.
      keypoints: their keypoints in the source.
      kept: those that are close in the output.
      control: those that are close in a pose of the same clip at another time, moved into the same box.
      controls: keypoints for which there is such a pose.
    """

    people: int = 0
    keypoints: int = 0
    kept: int = 0
    control: int = 0
    controls: int = 0

    def __add__(self, other: PoseAgreement) -> PoseAgreement:
        return PoseAgreement(
            people=self.people + other.people,
            keypoints=self.keypoints + other.keypoints,
            kept=self.kept + other.kept,
            control=self.control + other.control,
            controls=self.controls + other.controls,
        )

    def __str__(self) -> str:
        if not self.keypoints:
            return "pose agreement: nobody to compare"
        control = f"{self.control / self.controls:.1%}" if self.controls else "no"
        return (
            f"pose agreement: {self.kept / self.keypoints:.1%} of {self.keypoints} keypoints of "
            f"{self.people} people with an avatar; control, the same clip at another time: {control}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _SeenPerson:
    """A person in a frame of the source: `box_4`, `points_17x3`, and the same of the output if detected."""

    frame: int
    box_4: np.ndarray
    points_17x3: np.ndarray
    avatar_17x3: np.ndarray | None


def pose_agreement(
    source: Path, output: Path, arrays: Path, *, every: int, network: MultiPose
) -> PoseAgreement:
    """The agreement of one clip.

    Args:
      source, output: videos of the same length and size.
      arrays: the `.npz` beside the output.
      every: interval of the frames that are compared.

    Raises `UserError` for a video that cannot be read, and `ValueError` for one of another length.
    """
    fps = float(reader.probe(source).fps)
    with np.load(arrays, allow_pickle=False) as stored:
        height, width = int(stored["height"]), int(stored["width"])
        avatars_TB = stored["avatar_masks"]
    people: list[_SeenPerson] = []
    for index, (before_HW3, after_HW3) in enumerate(
        zip(reader.stream(source), reader.stream(output), strict=True)
    ):
        if index % every == 0:
            avatar_HW = masks.unpack(avatars_TB[index], height, width)
            people += _people(index, network(before_HW3), network(after_HW3), avatar_HW)
    return sum((_compared(person, people, APART_S * fps) for person in people), PoseAgreement())


def _people(frame: int, before: Poses, after: Poses, avatar_HW: np.ndarray) -> list[_SeenPerson]:
    """The people of a frame with an avatar."""
    height, width = avatar_HW.shape
    found = []
    for box_4, score, points_17x3 in zip(
        before.boxes_N4, before.score_N, before.keypoints_N17x3, strict=True
    ):
        x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=height, width=width)
        filled = avatar_HW[y0:y1, x0:x1]
        if score < LEAST_SCORE or not filled.size or filled.mean() < AVATAR_SHARE:
            continue
        overlap_N = boxes.iou(box_4[None].astype(float), after.boxes_N4.astype(float))[0]
        same = int(overlap_N.argmax()) if len(overlap_N) and overlap_N.max() >= SAME_IOU else None
        found.append(
            _SeenPerson(
                frame=frame,
                box_4=box_4,
                points_17x3=points_17x3,
                avatar_17x3=None if same is None else after.keypoints_N17x3[same],
            )
        )
    return found


def _compared(person: _SeenPerson, people: Sequence[_SeenPerson], apart: float) -> PoseAgreement:
    """One person; without a person in the output no keypoint is kept."""
    certain = person.points_17x3[:, 2] >= LEAST_POINT
    keypoints = int(certain.sum())
    others = [one for one in people if abs(one.frame - person.frame) >= apart]
    control = min(others, key=lambda one: abs(one.frame - person.frame), default=None)
    return PoseAgreement(
        people=int(keypoints > 0),
        keypoints=keypoints,
        kept=0 if person.avatar_17x3 is None else _close(person, person.avatar_17x3[:, :2], certain),
        control=0 if control is None else _close(person, _moved(control, person.box_4), certain),
        controls=0 if control is None else keypoints,
    )


def _close(person: _SeenPerson, other_17x2: np.ndarray, certain: np.ndarray) -> int:
    """Number of certain keypoints that are close to those of the person."""
    side = float((person.box_4[2:] - person.box_4[:2]).max())
    away_17 = np.linalg.norm(person.points_17x3[:, :2] - other_17x2, axis=1)
    return int(np.count_nonzero(certain & (away_17 <= CLOSE * side)))


def _moved(person: _SeenPerson, box_4: np.ndarray) -> np.ndarray:
    """The keypoints of a person, moved and scaled from its box into another, [17, 2]."""
    size_2 = np.maximum(person.box_4[2:] - person.box_4[:2], 1)
    share_17x2 = (person.points_17x3[:, :2] - person.box_4[:2]) / size_2
    return np.asarray(box_4[:2] + share_17x2 * (box_4[2:] - box_4[:2]))
