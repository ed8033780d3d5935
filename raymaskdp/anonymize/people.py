"""Who is in a video: tracks of people with keypoints and masks, and the frames nobody can vouch for.

Shapes: T frames, H×W pixels, 33 MediaPipe landmarks, B = ceil(H*W/8) bytes of a packed mask.
Everything here is sensitive: it describes real people and stays inside the anonymizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path

NUM_LANDMARKS = 33


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A frame that cannot be shown to be complete, and why (no personal detail in the reason)."""

    frame: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person followed through the video.

    Attributes:
      track_id: unique in its video.
      visible_T: bool [T], the person is believed to be in the frame.
      detected_T: bool [T], the network saw the person there; else the frame was filled in.
      keypoints_T33x3: float32 [T, 33, 3], (x, y) in pixels and confidence in [0, 1]; NaN where
        not visible.
      world_T33x3: float32 [T, 33, 3], landmarks in metres about the hips, axes of the person's
        crop (x right, y down, z away from the camera); NaN where not visible.
      masks_T: uint8 [T, B], packed masks, dilated to cover hair, hands and shadow.
    """

    track_id: int
    visible_T: np.ndarray
    detected_T: np.ndarray
    keypoints_T33x3: np.ndarray
    world_T33x3: np.ndarray
    masks_T: np.ndarray


@dataclass(frozen=True, kw_only=True)
class People:
    """Every person of one video.

    Attributes:
      width, height: pixels; fps: frames per second; num_frames: T.
      persons: one a track, in order of appearance; empty for a scene without people.
      suspicious: frames in which somebody may be missing; a video with any must not be published.
    """

    width: int
    height: int
    fps: float
    num_frames: int
    persons: tuple[Person, ...]
    suspicious: tuple[Suspicion, ...]

    def __post_init__(self) -> None:
        check.positive("width", self.width)
        check.positive("height", self.height)
        size = packed_size(self.height, self.width)
        for person in self.persons:
            shapes = {
                "visible_T": (person.visible_T, (self.num_frames,)),
                "detected_T": (person.detected_T, (self.num_frames,)),
                "keypoints_T33x3": (person.keypoints_T33x3, (self.num_frames, NUM_LANDMARKS, 3)),
                "world_T33x3": (person.world_T33x3, (self.num_frames, NUM_LANDMARKS, 3)),
                "masks_T": (person.masks_T, (self.num_frames, size)),
            }
            for name, (array, shape) in shapes.items():
                if array.shape != shape:
                    raise ValueError(f"{name} of track {person.track_id} is {array.shape}, not {shape}")

    def union_TB(self) -> np.ndarray:
        """The packed union of all persons' masks, uint8 [T, B]."""
        union_TB = np.zeros((self.num_frames, packed_size(self.height, self.width)), np.uint8)
        for person in self.persons:
            union_TB |= person.masks_T
        return union_TB


def packed_size(height: int, width: int) -> int:
    """Bytes of one packed mask."""
    return -(-height * width // 8)


def save_people(path: str | Path, people: People) -> None:
    """Write `people` to an npz file, atomically."""
    persons = people.persons
    arrays: dict[str, Any] = {
        "width": np.int64(people.width),
        "height": np.int64(people.height),
        "fps": np.float64(people.fps),
        "num_frames": np.int64(people.num_frames),
        "track_ids": np.array([person.track_id for person in persons], np.int64),
        "suspicious_frames": np.array([s.frame for s in people.suspicious], np.int64),
        "suspicious_reasons": np.array([s.reason for s in people.suspicious], np.str_),
    }
    for index, person in enumerate(persons):
        arrays[f"visible_{index}"] = person.visible_T
        arrays[f"detected_{index}"] = person.detected_T
        arrays[f"keypoints_{index}"] = person.keypoints_T33x3
        arrays[f"world_{index}"] = person.world_T33x3
        arrays[f"masks_{index}"] = person.masks_T
    with atomic_path(path) as temporary, open(temporary, "wb") as opened:
        np.savez_compressed(opened, **arrays)


def load_people(path: str | Path) -> People:
    """Read what `save_people` wrote; raises `UserError` if the file is missing or something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            persons = tuple(
                Person(
                    track_id=int(track_id),
                    visible_T=stored[f"visible_{index}"],
                    detected_T=stored[f"detected_{index}"],
                    keypoints_T33x3=stored[f"keypoints_{index}"],
                    world_T33x3=stored[f"world_{index}"],
                    masks_T=stored[f"masks_{index}"],
                )
                for index, track_id in enumerate(stored["track_ids"])
            )
            return People(
                width=int(stored["width"]),
                height=int(stored["height"]),
                fps=float(stored["fps"]),
                num_frames=int(stored["num_frames"]),
                persons=persons,
                suspicious=tuple(
                    Suspicion(frame=int(frame), reason=str(reason))
                    for frame, reason in zip(
                        stored["suspicious_frames"], stored["suspicious_reasons"], strict=True
                    )
                ),
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a file of people: {' '.join(str(error).split())}.") from error
