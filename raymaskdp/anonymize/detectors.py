"""Independent detectors: is anybody in a picture that must show nobody?

They know nothing of tracks and masks, so they also find what the analysis missed. What they find must
be found again by a closer look: single networks see faces in curtains.
"""

from __future__ import annotations

import cv2
import numpy as np

from raymaskdp.anonymize.pose import BIRTH_SCORE, LEAST_FACE, PoseConfig
from raymaskdp.anonymize.pose_networks import PoseNetworks, View
from raymaskdp.anonymize.track import Seen, remember, same_body
from raymaskdp.anonymize.upright import UprightPeople

# Shape suffixes: H rows, W columns, N faces.

Box = tuple[int, int, int, int]
CLOSE_PX = 256
"""Longer side, in pixels, of the enlarged picture of a face."""


class Detectors:
    """Looks for faces and bodies in one frame, uint8 RGB [H, W, 3]; says what it found, () for nobody.

    Where poses are read from files, OpenCV's detector of upright people looks for bodies instead of the
    network, which is a pose network; without `config.veto` nothing is looked for there.
    """

    def __init__(self, config: PoseConfig) -> None:
        self._least_face = config.veto_faces
        self._networks_for_bodies = config.source == "mediapipe"
        self._looks = config.veto or self._networks_for_bodies
        self._upright = UprightPeople()
        self._networks = PoseNetworks(
            pose_model=config.pose_model, confidence=config.confidence, limit=config.max_people
        )

    def __call__(self, frame_HW3: np.ndarray) -> tuple[str, ...]:
        found = []
        if self._looks and self._face(frame_HW3):
            found.append("a face")
        if self._looks and self._body(frame_HW3):
            found.append("a body")
        return tuple(found)

    def _face(self, frame_HW3: np.ndarray) -> bool:
        return bool((close_faces(self._networks, frame_HW3)[:, 4] >= self._least_face).any())

    def _body(self, frame_HW3: np.ndarray) -> bool:
        if not self._networks_for_bodies:
            return len(self._upright(frame_HW3)) > 0
        height, width = frame_HW3.shape[:2]
        for seen in self._bodies(frame_HW3, (0, 0, width, height)):
            close = self._bodies(frame_HW3, _around(seen.patch.box(), width, height))
            if any(same_body(seen, again) for again in close):
                return True
        return False

    def _bodies(self, frame_HW3: np.ndarray, box: Box) -> list[Seen]:
        sightings = self._networks.bodies(View.of(frame_HW3, box))
        return [
            seen
            for seen in (remember(sighting, frame_HW3) for sighting in sightings)
            if seen.score >= BIRTH_SCORE and seen.area > 0
        ]


def close_faces(networks: PoseNetworks, frame_HW3: np.ndarray) -> np.ndarray:
    """Faces as closer looks show them, float32 [N, 5]: x0, y0, x1, y1 in pixels of the frame, score.

    Where a look at the whole frame sees a face of at least `LEAST_FACE` pixels, an enlarged part around it
    is looked at, and what is seen there counts.
    """
    height, width = frame_HW3.shape[:2]
    seen = [np.zeros((0, 5), np.float32)]
    for face_5 in networks.faces(frame_HW3):
        x0, y0, x1, y1 = (int(v) for v in np.clip(face_5[:4], 0, (width, height, width, height)))
        if min(x1 - x0, y1 - y0) < LEAST_FACE:
            continue
        left, top, right, bottom = _around((x0, y0, x1, y1), width, height)
        image = frame_HW3[top:bottom, left:right]
        enlarge = CLOSE_PX / max(image.shape[:2])
        close = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        close_N5 = networks.faces(close)
        close_N5[:, :4] = close_N5[:, :4] / enlarge + (left, top, left, top)
        seen.append(close_N5)
    return np.concatenate(seen)


def _around(box: Box, width: int, height: int) -> Box:
    """A box with half its size more on every side, inside the frame."""
    x0, y0, x1, y1 = box
    dx, dy = (x1 - x0) // 2 + 1, (y1 - y0) // 2 + 1
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)
