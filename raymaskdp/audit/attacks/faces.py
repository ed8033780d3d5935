"""Faces and bodies that the detectors of `anonymize` find before, after, and beside the avatars.

What is beside the avatars is the output without avatars and without the regions of the people that were
found: the room is put there. Those regions have a measure of their own (`audit.leaks`), so what is detected
here is a person whom `anonymize` missed.

Shape suffixes: T frames, H rows, W columns, N detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.networks.mediapipe import PoseNetworks
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.look_again import LookAgain
from raymaskdp.audit.video_pairs import Pair
from raymaskdp.train.data.positive_controls import without_people
from raymaskdp.video import masks

AROUND = 0.02
"""Margin around removed avatars, as a share of the frame's height, because their outline is blended."""

OWN = 0.5
"""Least share of a detection that must be pixels of the output. The room that is put in an avatar's place can
have the avatar's outline, and be detected as a person."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Numbers of frames with a detection.

    Attributes:
      frames: processed.
      faces_before, faces_after: with a face, in the source and in the output; avatars have faces, too.
      beside: of the output without its people, with a face or a body: a person who was left in.
      hands: of the output without its people, with a hand. It is not proof of a person: in rendered rooms,
        the detector takes books and curtains for hands.
    """

    frames: int
    faces_before: int
    faces_after: int
    beside: int
    hands: int

    def __add__(self, other: Detections) -> Detections:
        return Detections(
            frames=self.frames + other.frames,
            faces_before=self.faces_before + other.faces_before,
            faces_after=self.faces_after + other.faces_after,
            beside=self.beside + other.beside,
            hands=self.hands + other.hands,
        )


class FrameDetectors:
    """The networks, loaded once."""

    def __init__(self, config: PoseConfig) -> None:
        self.networks = PoseNetworks(confidence=config.confidence, limit=1)
        self._look = LookAgain(VerifyConfig())

    def detect(self, pair: Pair, *, frames: int) -> Detections:
        """Detections in up to `frames` evenly spaced frames of a pair."""
        at = np.unique(np.linspace(0, len(pair.output_THW3) - 1, frames).round().astype(int))
        removed_THW = _removed(pair)
        empty_THW3 = without_people(pair.output_THW3, removed_THW)
        return Detections(
            frames=len(at),
            faces_before=sum(self._face(pair.source_THW3[index]) for index in at),
            faces_after=sum(self._face(pair.output_THW3[index]) for index in at),
            beside=sum(_shown(self._look.bodies(empty_THW3[index]), removed_THW[index]) for index in at),
            hands=sum(_shown(self._look.hands(empty_THW3[index]), removed_THW[index]) for index in at),
        )

    def face(self, frame_HW3: np.ndarray) -> np.ndarray | None:
        """The clearest face of a frame, uint8 RGB, cropped to a square; None without a face."""
        close_N5 = self._look.faces(frame_HW3)
        if not len(close_N5):
            return None
        x0, y0, x1, y1 = close_N5[close_N5[:, 4].argmax(), :4]
        half, column, row = max(x1 - x0, y1 - y0, 2) / 2, (x0 + x1) / 2, (y0 + y1) / 2
        height, width = frame_HW3.shape[:2]
        top, bottom = np.clip((row - half, row + half), 0, height).astype(int)
        left, right = np.clip((column - half, column + half), 0, width).astype(int)
        return frame_HW3[top : max(bottom, top + 1), left : max(right, left + 1)]

    def _face(self, frame_HW3: np.ndarray) -> bool:
        return self.face(frame_HW3) is not None


def _removed(pair: Pair) -> np.ndarray:
    """Bool [T, H, W], avatars and regions of people, with a margin."""
    grown = AROUND * pair.output_THW3.shape[1]
    return np.stack([masks.dilate(mask_HW, grown) for mask_HW in pair.avatar_THW | pair.person_THW])


def _shown(found_N4: np.ndarray, removed_HW: np.ndarray) -> bool:
    """Whether a detection consists mostly of pixels of the output."""
    height, width = removed_HW.shape
    for box_4 in found_N4:
        x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=height, width=width)
        if 1 - removed_HW[y0:y1, x0:x1].mean() >= OWN:
            return True
    return False
