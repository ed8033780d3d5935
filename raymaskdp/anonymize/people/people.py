"""Tracks of people with keypoints and masks, and the regions in which a person may have been missed (doubts).

Shapes: T frames, H×W pixels, L points of a layout, J = 52 joints, B = ceil(H*W/8) bytes of a packed mask.
Everything here is sensitive: it describes real people and stays inside the anonymizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from raymaskdp import check
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE, LandmarkLayout
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.video.mask_film import MaskFilm, union


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A region of one frame in which there may be a person without a track.

    Attributes:
      frame: its number.
      reason: a sentence without personal detail.
      box: x0, y0, x1, y1 in pixels; it may extend outside the frame.
      is_part: the region belongs to a person who has a track and is counted already; it is redacted all the
        same.
    """

    frame: int
    reason: str
    box: tuple[float, float, float, float]
    is_part: bool = False


@dataclass(frozen=True, kw_only=True)
class Person:
    """One tracked person of a video.

    Attributes:
      track_id: unique in its video.
      visible_T: bool [T], whether the person is assumed to be in the frame.
      detected_T: bool [T], whether a network detected the person in the frame; elsewhere the frame is
        interpolated.
      keypoints_TL3: float32 [T, L, 3], (x, y) in pixels and confidence in [0, 1]; NaN where not visible.
      world_TL3: float32 [T, L, 3], metres from the hips, in axes of the camera or of the person's crop (x
        right, y down, z away from the camera); NaN where not visible.
      masks_T: packed masks [T, B], dilated to cover hair, hands and shadow.
      outlines_T: packed [T, B], the pixels that most likely show the person, without a margin; inside
        `masks_T`. They serve matting, previews and figures; nothing is removed by them. None if the source
        has no outline.
      rotations_TJ3: float32 [T, 52, 3] as in `bodies.motion.Motion` if the source has fitted bodies; None if
        the pose is fitted to the points.
      cut_off_N: the frames in which the outline ends at the frame's lower edge.
    """

    track_id: int
    visible_T: np.ndarray
    detected_T: np.ndarray
    keypoints_TL3: np.ndarray
    world_TL3: np.ndarray
    masks_T: np.ndarray | MaskFilm
    outlines_T: np.ndarray | MaskFilm | None = None
    rotations_TJ3: np.ndarray | None = None
    cut_off_N: tuple[int, ...] = ()

    @property
    def cut_off_T(self) -> np.ndarray:
        """Whether the body ends at the frame's lower edge, bool [T]."""
        cut_off_T = np.zeros(len(self.visible_T), bool)
        cut_off_T[list(self.cut_off_N)] = True
        return cut_off_T


@dataclass(frozen=True, kw_only=True)
class People:
    """Every person of one video.

    Attributes:
      width, height: pixels; fps: frames per second; num_frames: T.
      persons: one for each track, in order of appearance; empty for a scene without people.
      doubts: regions in which a person may have been missed; none of them may remain in the finished video.
      things: detections of the box network, people and objects, in the frames that it processed.
      layout: the names of the persons' L points.
      camera_33: float64 [3, 3], intrinsics in pixels if the source has them, else None.
    """

    width: Annotated[int, check.POSITIVE]
    height: Annotated[int, check.POSITIVE]
    fps: float
    num_frames: int
    persons: tuple[Person, ...]
    doubts: tuple[Doubt, ...] = ()
    things: Mapping[int, BoxDetections] = field(default_factory=dict)
    layout: LandmarkLayout = MEDIAPIPE
    camera_33: np.ndarray | None = None

    def __post_init__(self) -> None:
        check.fields(self)
        size = packed_size(self.height, self.width)
        num_points = len(self.layout.points)
        for person in self.persons:
            shapes: dict[str, tuple[np.ndarray | MaskFilm, tuple[int, ...]]] = {
                "visible_T": (person.visible_T, (self.num_frames,)),
                "detected_T": (person.detected_T, (self.num_frames,)),
                "keypoints_TL3": (person.keypoints_TL3, (self.num_frames, num_points, 3)),
                "world_TL3": (person.world_TL3, (self.num_frames, num_points, 3)),
                "masks_T": (person.masks_T, (self.num_frames, size)),
            }
            if person.outlines_T is not None:
                shapes["outlines_T"] = (person.outlines_T, (self.num_frames, size))
            if person.rotations_TJ3 is not None:
                shapes["rotations_TJ3"] = (person.rotations_TJ3, (self.num_frames, NUM_JOINTS, 3))
            for name, (array, shape) in shapes.items():
                if array.shape != shape:
                    raise ValueError(f"{name} of track {person.track_id} is {array.shape}, not {shape}")

    def union_TB(self) -> MaskFilm:
        """The packed union of all persons' masks, [T, B]."""
        return self._union([person.masks_T for person in self.persons])

    def outline_TB(self) -> MaskFilm | None:
        """The packed union of all persons' outlines, [T, B]; None if any outline is unknown."""
        known = [person.outlines_T for person in self.persons if person.outlines_T is not None]
        return self._union(known) if len(known) == len(self.persons) else None

    def _union(self, films: list[np.ndarray | MaskFilm]) -> MaskFilm:
        return union(films, self.num_frames, packed_size(self.height, self.width))


def packed_size(height: int, width: int) -> int:
    """Bytes of one packed mask."""
    return -(-height * width // 8)
