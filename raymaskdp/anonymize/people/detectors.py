"""Independent detectors: is anybody in a picture that must show nobody?

They know nothing of tracks and masks, so they also find what the analysis missed. What they find must
be found again by a closer look: single networks see faces in curtains.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.people.evidence import Box, around, close_faces
from raymaskdp.anonymize.people.finder import BIRTH_SCORE, PoseConfig, people_detector
from raymaskdp.anonymize.people.hog_detector import UprightPeople
from raymaskdp.anonymize.people.mediapipe import PoseNetworks, View
from raymaskdp.anonymize.people.tracker import Seen, remember, same_body

# Shape suffixes: H rows, W columns.


class Detectors:
    """Looks for faces and bodies in one frame, uint8 RGB [H, W, 3]; says what it found, () for nobody.

    Where poses are read from files, OpenCV's detector of upright people looks for bodies instead of the
    network, which is a pose network; without `config.veto` nothing is looked for there. The detector of
    `config.veto_detector` looks wherever there is one.
    """

    def __init__(self, config: PoseConfig) -> None:
        self._least_face = config.veto_faces
        self._networks_for_bodies = config.source == "mediapipe"
        self._looks = config.veto or self._networks_for_bodies
        self._upright = UprightPeople()
        self._people = people_detector(config)
        self._networks = PoseNetworks(
            pose_model=config.pose_model, confidence=config.confidence, limit=config.max_people
        )

    def __call__(self, frame_HW3: np.ndarray) -> tuple[str, ...]:
        found = []
        if self._looks and self._face(frame_HW3):
            found.append("a face")
        if self._looks and self._body(frame_HW3):
            found.append("a body")
        if self._people is not None and len(self._people(frame_HW3)):
            found.append("a person")
        return tuple(found)

    def _face(self, frame_HW3: np.ndarray) -> bool:
        close_N5 = close_faces(self._networks, frame_HW3, self._networks.faces(frame_HW3))
        return bool((close_N5[:, 4] >= self._least_face).any())

    def _body(self, frame_HW3: np.ndarray) -> bool:
        if not self._networks_for_bodies:
            return len(self._upright(frame_HW3)) > 0
        height, width = frame_HW3.shape[:2]
        for seen in self._bodies(frame_HW3, (0, 0, width, height)):
            close = self._bodies(frame_HW3, around(seen.patch.box(), width, height))
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
