"""The second detection: independent detectors search for people in frames that must show none.

They are independent of tracks and masks, so they can find people whom the analysis missed.

Shape suffixes: H×W pixels, h×w a small copy, N boxes, 4 coordinates.
"""

from __future__ import annotations

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.frame_detector import quarters
from raymaskdp.anonymize.people.networks.mediapipe import FOREGROUND_SIDE, PoseNetworks, halved
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.anonymize.verify.faces import confirmed_faces
from raymaskdp.anonymize.verify.hands import HandDetector
from raymaskdp.anonymize.verify.onnx_detector import OnnxPeople
from raymaskdp.anonymize.verify.ssd import SIDE, SsdDetector

FACE_BODY = 1.5
"""Margin of a face's box, as a share of its longer side, for a head with hair and a neck."""

FAINT = 0.3
"""Least score of a person that counts if the segmenter confirms it."""

AGREED = 0.3
"""Least share of the person's box that the segmenter must mark for that."""


def people_detector(config: VerifyConfig) -> OnnxPeople | None:
    """The detector that a configuration names, if any; raises `UserError` if it is unusable."""
    if config.detector is None:
        return None
    return OnnxPeople(config.detector, side=config.detector_side, confidence=config.detector_confidence)


class LookAgain:
    """Detects faces, hands and people in frames that must show none.

    The detections are people by SSD; faces that are confirmed in an enlarged crop; hands that their landmarks
    confirm; people by SSD with a low score that the segmenter confirms; and people by the user's own
    detector, if there is one. With
    `config.look_again=false` nothing is detected.
    """

    def __init__(self, config: VerifyConfig) -> None:
        self._config = config
        self._ssd = SsdDetector()
        self._hands = HandDetector(config.hands)
        self._networks = PoseNetworks(confidence=0.5, limit=1)
        self._own = people_detector(config)

    def __call__(self, frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        """Detections, float64 [N, 4]: boxes in pixels, faces enlarged to heads, hands with forearms.

        Args:
          parts: the quarters of the frame that are processed besides the whole, 0 to 3; None for all four.
        """
        return np.concatenate([self.bodies(frame_HW3, parts), self.hands(frame_HW3)])

    def bodies(self, frame_HW3: np.ndarray, parts: tuple[int, ...] | None = None) -> np.ndarray:
        """The detections without hands."""
        if not self._config.look_again:
            return np.zeros((0, 4))
        found = [np.zeros((0, 4)), self._faces(frame_HW3), self._people(frame_HW3)]
        quarters_N = self._parts(*frame_HW3.shape[:2])
        chosen = range(len(quarters_N)) if parts is None else parts
        for x0, y0, x1, y1 in (quarters_N[part] for part in chosen if part < len(quarters_N)):
            close_N4 = self._people(np.ascontiguousarray(frame_HW3[y0:y1, x0:x1]))
            found.append(close_N4 + np.array([x0, y0, x0, y0]))
        if self._own is not None:
            found.append(self._own(frame_HW3)[:, :4].astype(np.float64))
        return np.concatenate(found)

    def hands(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Hands with forearms, float64 [N, 4]."""
        return self._hands(frame_HW3) if self._config.look_again else np.zeros((0, 4))

    def _parts(self, height: int, width: int) -> list[boxes.BoxXYXY]:
        """Overlapping quarters, in which small and cut-off people are larger; none of a small frame."""
        return quarters(height, width) if max(height, width) >= 1.2 * SIDE else []

    def faces(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Faces [N, 5] with scores, not enlarged."""
        seen_N5 = self._networks.faces(frame_HW3)
        close_N5 = confirmed_faces(self._networks, frame_HW3, seen_N5)
        return close_N5[close_N5[:, 4] >= self._config.faces]

    def _faces(self, frame_HW3: np.ndarray) -> np.ndarray:
        return np.array([boxes.expand(face_5, FACE_BODY / 2) for face_5 in self.faces(frame_HW3)]).reshape(
            -1, 4
        )

    def _people(self, frame_HW3: np.ndarray) -> np.ndarray:
        seen_N5 = self._ssd(frame_HW3)
        sure = seen_N5[:, 4] >= self._config.people
        faint = np.flatnonzero(~sure & (seen_N5[:, 4] >= FAINT))
        if len(faint):
            small_hw3 = halved(frame_HW3, FOREGROUND_SIDE)
            person_hw = self._networks.foreground(small_hw3) >= 0.6
            for index in faint:
                sure[index] = _share_of(seen_N5[index, :4], person_hw, frame_HW3.shape[1]) >= AGREED
        return seen_N5[sure, :4].astype(np.float64)


def _share_of(box_4: np.ndarray, mask_hw: np.ndarray, width: int) -> float:
    """Share of a box of a frame `width` pixels wide that a small mask covers."""
    scale = mask_hw.shape[1] / width
    x0, y0, x1, y1 = boxes.clip_to_frame(box_4 * scale, height=mask_hw.shape[0], width=mask_hw.shape[1])
    return float(mask_hw[y0:y1, x0:x1].mean())
