"""Hands, which no detector of people finds by themselves: a palm detector, confirmed by hand landmarks.

Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking" (Apache-2.0). In 255 frames of 51 real
clips the detector reported 379 palms, most of them mistaken. The landmark network confirmed 76: four of these
were a mixer, a kitten, a face and a chair.

Shape suffixes: H×W pixels, A anchors, N boxes, 21 landmarks, 7 points of a palm, 4 coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.special import expit

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.networks.onnx_session import bundled, letterboxed
from raymaskdp.anonymize.people.networks.windows import Window

SIDE, CROP = 256, 224
"""Sides of the inputs of the palm detector and of the landmark network, pixels."""

GRIDS = ((32, 2), (16, 2), (8, 6))
"""Cells along each side, and anchors of a cell."""

LEAST_SCORE = 0.5
"""Least score of a palm whose landmarks are computed."""

LEAST_PALM = 16.0
"""Least side of a palm in pixels; smaller ones cannot be distinguished from grids and stripes."""

OVERLAP, MOST = 0.3, 8
"""Overlap (IoU) from which two palms are one, and how many of a frame are processed."""

AROUND, AHEAD = 2.6, 0.5
"""Side of a hand's window, and how far it is moved to the fingers, in sides of the palm (MediaPipe's)."""

FOREARM, HALF_WIDTH = 2.8, (0.7, 1.3)
"""Length of a forearm, and half of the width of its region at wrist and elbow, in lengths of a palm. A wrist
bends, so the region widens."""

_WRIST, _KNUCKLE = 0, 9


@dataclass(frozen=True, kw_only=True, eq=False)
class Palm:
    """A detected palm.

    Attributes:
      box_4: in pixels of the frame.
      points_72: the wrist and six knuckles; the first is the wrist, the third that of the middle finger.
    """

    box_4: np.ndarray
    points_72: np.ndarray

    @property
    def side(self) -> float:
        """Its longer side, pixels."""
        return float((self.box_4[2:] - self.box_4[:2]).max())

    @property
    def window(self) -> Window:
        """The square that contains the hand, its fingers up."""
        across, up = (self.points_72[2] - self.points_72[0]).tolist()
        turn = math.atan2(across, -up)
        x, y = ((self.box_4[:2] + self.box_4[2:]) / 2).tolist()
        ahead = AHEAD * self.side
        return Window(
            x=x + ahead * math.sin(turn),
            y=y - ahead * math.cos(turn),
            side=AROUND * self.side,
            turn=turn,
        )


class HandDetector:
    """Detects hands in one frame, uint8 RGB [H, W, 3]. The networks are opened at the first call.

    Args:
      confidence: least probability of a hand by the landmark network.
    """

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        self._palms: Any = None
        self._hand: Any = None
        self._anchors_A2 = _anchors()

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray:
        """Boxes of hands and of their forearms, float64 [N, 4], in pixels of the frame."""
        found = [np.zeros((0, 4))]
        for palm in self.palms(frame_HW3):
            points_21x2 = self._confirmed(frame_HW3, palm.window)
            if points_21x2 is not None:
                found.append(arm_boxes(points_21x2))
        return np.concatenate(found)

    def palms(self, frame_HW3: np.ndarray) -> list[Palm]:
        """Palms that need to be confirmed, the likeliest first."""
        if self._palms is None:
            self._palms = bundled("palms.onnx")
        picture_HW3, scale = letterboxed(frame_HW3, SIDE)
        (codes,) = self._palms.run(["Identity"], {"input": picture_HW3[None].astype(np.float32) / 127.5 - 1})
        score_A = expit(codes[0, :, 0].astype(np.float64))
        likely = score_A >= LEAST_SCORE
        code_N9x2 = codes[0, likely, 1:].reshape(-1, 9, 2).astype(np.float64)
        centre_N2 = (code_N9x2[:, 0] + SIDE * self._anchors_A2[likely]) / scale
        half_N2 = np.abs(code_N9x2[:, 1]) / (2 * scale)
        points_N72 = (code_N9x2[:, 2:] + SIDE * self._anchors_A2[likely][:, None]) / scale
        boxes_N4 = np.concatenate([centre_N2 - half_N2, centre_N2 + half_N2], axis=1)
        kept = boxes.nms(boxes_N4, score_A[likely], OVERLAP)
        palms = [Palm(box_4=boxes_N4[index], points_72=points_N72[index]) for index in kept]
        return [palm for palm in palms if palm.side >= LEAST_PALM][:MOST]

    def _confirmed(self, frame_HW3: np.ndarray, window: Window) -> np.ndarray | None:
        """The landmarks of a hand in a window, float64 [21, 2], in pixels of the frame; None for no hand."""
        if self._hand is None:
            self._hand = bundled("hand.onnx")
        to_frame_23 = window.to_frame(CROP)
        picture_HW3 = cv2.warpAffine(
            frame_HW3, to_frame_23, (CROP, CROP), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        points, presence = self._hand.run(
            ["Identity", "Identity_1"], {"input_1": picture_HW3[None].astype(np.float32) / 255}
        )
        if float(presence.ravel()[0]) < self._confidence:
            return None
        return np.asarray(points.reshape(21, 3)[:, :2] @ to_frame_23[:, :2].T + to_frame_23[:, 2])


def arm_boxes(points_21x2: np.ndarray) -> np.ndarray:
    """Boxes that cover a hand and its forearm, float64 [N, 4], given its landmarks.

    >>> points = np.zeros((21, 2)); points[9] = (0, -10)
    >>> arm_boxes(points)[-1].round().tolist()  # the elbow is below
    [-13.0, 15.0, 13.0, 41.0]
    """
    wrist_2 = points_21x2[_WRIST]
    along_2 = wrist_2 - points_21x2[_KNUCKLE]
    palm = float(np.hypot(*along_2))
    grown = 0.3 * palm
    hand_4 = np.concatenate([points_21x2.min(0) - grown, points_21x2.max(0) + grown])
    centres, halves = np.linspace(0, FOREARM, 4), np.linspace(*HALF_WIDTH, 4) * palm
    arm = [
        np.concatenate([wrist_2 + far * along_2 - half, wrist_2 + far * along_2 + half])
        for far, half in zip(centres, halves, strict=True)
    ]
    return np.stack([hand_4, *arm])


def _anchors() -> np.ndarray:
    """Centres of the anchors, float64 [A, 2], in shares of the input."""
    centres = []
    for cells, anchors in GRIDS:
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        centres.append(np.repeat((np.column_stack([x, y]) + 0.5) / cells, anchors, axis=0))
    return np.concatenate(centres)
