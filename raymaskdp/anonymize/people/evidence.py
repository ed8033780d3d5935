"""A second opinion: do independent networks see a person where no track covers one?

Shape suffixes: H×W pixels, h×w the segmenter's resolution, N faces or people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.people.hog_detector import covered
from raymaskdp.anonymize.people.mediapipe import PoseNetworks
from raymaskdp.anonymize.people.people import People, Suspicion
from raymaskdp.video.mask_film import SmallMask
from raymaskdp.video.masks import unpack

Box = tuple[int, int, int, int]

NO_BOXES = np.zeros((0, 5), np.float32)

LEAST_FACE = 16
"""Smallest side, in pixels, of a face that can raise an alarm; smaller ones are blobs to the network."""

CLOSE_PX = 256
"""Longer side, in pixels, of the enlarged picture of a face."""

LEAST_REGION = 0.03
"""Uncovered foreground of this share of the frame is suspicious even if no body is found in it.

Smaller regions were looked at closely by the body network. The segmenter takes pictures on a wall
beside a person for part of the person, up to 2 % of the frame in rendered rooms.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What the independent networks saw in one frame.

    Attributes:
      crowded: the body network reported as many people as it can.
      faces: float32 [N, 5], boxes x0, y0, x1, y1 in pixels and score.
      people: float32 [N, 5], boxes and score of whom the detector of `pose.veto_detector` sees.
      upright: float32 [N, 5], boxes and score of whom OpenCV's detector of upright people sees.
      foreground: pixels of any person at the segmenter's resolution, [h, w].
    """

    crowded: bool
    faces: np.ndarray
    people: np.ndarray
    upright: np.ndarray
    foreground: SmallMask

    def foreground_at(self, box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
        """Pixels of any person inside a box of the frame, bool; false outside the frame."""
        small_hw = self.foreground.mask_HW
        x0, y0, x1, y1 = box
        rows, columns = np.arange(y0, y1), np.arange(x0, x1)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        rows = rows.clip(0, height - 1) * small_hw.shape[0] // height
        columns = columns.clip(0, width - 1) * small_hw.shape[1] // width
        return np.asarray(small_hw[np.ix_(rows, columns)] & inside)


def suspicions(people: People, evidence: Sequence[Evidence], least_face: float) -> list[Suspicion]:
    """Frames in which a network of `evidence` sees somebody outside all masks of `people`."""
    union_TB = people.union_TB()
    found = []
    for frame, seen in enumerate(evidence):
        union_HW = unpack(union_TB[frame], people.height, people.width)
        if seen.crowded:
            found.append(Suspicion(frame=frame, reason="more people than can be told apart"))
        if any(face[4] >= least_face and not covers_face(union_HW, face) for face in seen.faces):
            found.append(Suspicion(frame=frame, reason="a face outside all people found"))
        if not all(covered(union_HW, person) for person in seen.people):
            found.append(Suspicion(frame=frame, reason="a person outside all people found"))
        if not all(covered(union_HW, person) for person in seen.upright):
            found.append(Suspicion(frame=frame, reason="somebody upright outside all people found"))
        foreground_hw = seen.foreground.mask_HW
        if foreground_hw.mean() >= LEAST_REGION and uncovered_regions(
            union_HW, foreground_hw, LEAST_REGION, width=people.width
        ):
            found.append(Suspicion(frame=frame, reason="somebody outside all people found"))
    return found


def close_faces(networks: PoseNetworks, frame_HW3: np.ndarray, seen_N5: np.ndarray) -> np.ndarray:
    """Faces as closer looks show them, float32 [N, 5]: x0, y0, x1, y1 in pixels of the frame, score.

    Around each of the faces `seen_N5`, boxes and scores alike, that has at least `LEAST_FACE` pixels, an
    enlarged part of the frame is looked at, and what is seen there counts.
    """
    height, width = frame_HW3.shape[:2]
    found = [NO_BOXES]
    for face_5 in seen_N5:
        x0, y0, x1, y1 = (int(v) for v in np.clip(face_5[:4], 0, (width, height, width, height)))
        if min(x1 - x0, y1 - y0) < LEAST_FACE:
            continue
        left, top, right, bottom = around((x0, y0, x1, y1), width, height)
        image = frame_HW3[top:bottom, left:right]
        enlarge = CLOSE_PX / max(image.shape[:2])
        close = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        close_N5 = networks.faces(close)
        close_N5[:, :4] = close_N5[:, :4] / enlarge + (left, top, left, top)
        found.append(close_N5)
    return np.concatenate(found)


def around(box: Box, width: int, height: int) -> Box:
    """A box with half its size more on every side, inside the frame."""
    x0, y0, x1, y1 = box
    dx, dy = (x1 - x0) // 2 + 1, (y1 - y0) // 2 + 1
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)


def covers_face(mask_HW: np.ndarray, face_5: np.ndarray) -> bool:
    """Whether a mask covers the middle of a face's box (its corners show background beside any head)."""
    height, width = mask_HW.shape
    x0, y0, x1, y1 = face_5[:4]
    left, right = (int(np.clip(x0 + share * (x1 - x0), 0, width)) for share in (0.25, 0.75))
    top, bottom = (int(np.clip(y0 + share * (y1 - y0), 0, height)) for share in (0.25, 0.75))
    inside = mask_HW[top : bottom + 1, left : right + 1]
    return not inside.size or bool(inside.mean() >= 0.7)


def uncovered_regions(
    mask_HW: np.ndarray, foreground_hw: np.ndarray, least: float, *, width: int
) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1), in pixels of a frame `width` wide, of foreground outside a mask.

    Args:
      mask_HW: what is covered, at any resolution.
      least: smallest region to report, as a share of the frame.
    """
    h, w = foreground_hw.shape
    covered = cv2.resize(mask_HW.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    open_hw = (foreground_hw & (cv2.dilate(covered, np.ones((5, 5), np.uint8)) == 0)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(open_hw, connectivity=8)
    scale = width / w
    return [
        (int(x * scale), int(y * scale), int((x + wide) * scale) + 1, int((y + high) * scale) + 1)
        for x, y, wide, high, area in stats[1:count]
        if area >= least * h * w
    ]
