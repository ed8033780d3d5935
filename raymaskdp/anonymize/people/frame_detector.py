"""Detections of people in each frame, for the tracker: boxes of two networks, colours, and the camera's
motion.

The first network is the box network: NanoDet, or one that a setting names. MultiPose is the second. At high
frame rates only some frames are processed, because people move little in a thirtieth of a second. A person in
a single frame is detected later, in the finished frames (`verify`). At intervals the box network also
processes overlapping quarters of the frame, in which small people are twice as large.

Shape suffixes: H×W pixels, h×w a small copy, N boxes, 4 coordinates, C colour features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_tracker import FrameBoxes
from raymaskdp.anonymize.people.networks.multipose import MultiPose
from raymaskdp.anonymize.people.networks.nanodet import PERSON, BoxDetections
from raymaskdp.anonymize.people.networks.roles import BoxNetwork

DETECTIONS_PER_SECOND = 12
"""Least number of processed frames a second, if the video has as many."""

TILES_S = 0.5
"""Seconds between two detections in the quarters of the frame."""

VOTE = 0.3
"""Least score of the box network with which a box may begin a track alone. MultiPose alone takes animals for
people."""

POSE_GAIN = 1.4
"""Factor that makes MultiPose's scores, which are lower, comparable with NanoDet's."""

SAME_IOU = 0.45
"""Least overlap (IoU) of boxes of the two networks that are the same person."""

WHOLE = 0.6
"""Least score of MultiPose, times the gain, of a body of which NanoDet's boxes inside it are parts."""

CUT_LEVELS, CUT_POINTS, CUT_COLOURS = 12.0, 0.3, 0.94
"""There is a cut between two frames if their small copies differ by more than this many levels on average,
less than this share of the points can be tracked, and the similarity of their colours (Bhattacharyya) is
below this."""

EDGE = 0.015
"""Distance from the edge of a quarter, in its longer sides, at which a box counts as cut off."""

CUT_INSIDE = 0.6
"""Share of a cut-off box that must be inside another box for it to be a part of that person."""

_SMALL = 256
_THUMBNAIL = (32, 18)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FramePlan:
    """The work for one frame.

    Attributes:
      index: of the frame in the video.
      camera_23: as in `FrameBoxes`.
      detects: whether the networks process the frame.
      parts: quarters of the frame that the box network also processes.
    """

    index: int
    camera_23: np.ndarray | None
    detects: bool
    parts: tuple[boxes.BoxXYXY, ...]


class FrameDetector:
    """Processes the frames of one video, uint8 RGB [H, W, 3], in order."""

    def __init__(self, detector: BoxNetwork, multipose: MultiPose, fps: float) -> None:
        self._detector = detector
        self._multipose = multipose
        self._stride = max(1, int(fps // DETECTIONS_PER_SECOND))
        self._tiles_every = max(1, round(TILES_S * fps))
        self._looked = self._tiled = -self._tiles_every
        self._camera = CameraMotion()
        self._index = 0
        self.things: dict[int, BoxDetections] = {}

    def __call__(self, frames: Sequence[np.ndarray]) -> list[FrameBoxes]:
        """People in each of the next frames, and the camera's motion. The box network processes all of them
        in one call.
        """
        plans = [self._plan(frame_HW3) for frame_HW3 in frames]
        pictures: list[np.ndarray] = []
        for frame_HW3, plan in zip(frames, plans, strict=True):
            if plan.detects:
                parts = (frame_HW3[y0:y1, x0:x1] for x0, y0, x1, y1 in plan.parts)
                pictures += [frame_HW3, *(np.ascontiguousarray(part) for part in parts)]
        seen = iter(self._detector.detect(pictures) if pictures else ())
        found = []
        for frame_HW3, plan in zip(frames, plans, strict=True):
            whole = next(seen) if plan.detects else None
            found.append(self._boxes(frame_HW3, plan, whole, [next(seen) for _ in plan.parts]))
        return found

    def _plan(self, frame_HW3: np.ndarray) -> _FramePlan:
        index, self._index = self._index, self._index + 1
        camera_23 = self._camera(frame_HW3)
        detects = camera_23 is None or index - self._looked >= self._stride
        parts: tuple[boxes.BoxXYXY, ...] = ()
        if detects:
            self._looked = index
            if camera_23 is None or index - self._tiled >= self._tiles_every:
                self._tiled = index
                height, width = frame_HW3.shape[:2]
                if max(height, width) >= 1.2 * self._detector.side:
                    parts = tuple(quarters(height, width))
        return _FramePlan(index=index, camera_23=camera_23, detects=detects, parts=parts)

    def _boxes(
        self,
        frame_HW3: np.ndarray,
        plan: _FramePlan,
        whole: BoxDetections | None,
        close: Sequence[BoxDetections],
    ) -> FrameBoxes:
        """The people of one frame, from the box network's detections in the frame and in its parts."""
        merged_N6 = np.zeros((0, 6))
        if whole is not None:
            self.things[plan.index] = whole
            people_N5 = whole.people()
            poses = self._multipose(frame_HW3)
            if close:
                people_N5 = _with_tiles(frame_HW3, people_N5, plan.parts, close, poses.boxes_N4)
            posed_M5 = np.column_stack([poses.boxes_N4, np.minimum(POSE_GAIN * poses.score_N, 1.0)])
            merged_N6 = merged(people_N5, _votes(people_N5, whole), posed_M5)
        boxes_N4 = merged_N6[:, :4].astype(np.float32)
        hsv = cv2.cvtColor(_shrunk(frame_HW3), cv2.COLOR_RGB2HSV)
        scale = hsv.shape[1] / frame_HW3.shape[1]
        return FrameBoxes(
            boxes_N4=boxes_N4,
            score_N=merged_N6[:, 4],
            votes_N=merged_N6[:, 5].astype(np.int8),
            colour_NC=np.array([_colour(hsv, box_4 * scale) for box_4 in boxes_N4]).reshape(-1, 64),
            camera_23=plan.camera_23,
        )


def _with_tiles(
    frame_HW3: np.ndarray,
    people_N5: np.ndarray,
    parts: Sequence[boxes.BoxXYXY],
    close: Sequence[BoxDetections],
    posed_M4: np.ndarray,
) -> np.ndarray:
    """People of the whole frame, and small ones that are detected in its quarters only, float32 [N, 5]."""
    height, width = frame_HW3.shape[:2]
    found, cut = [people_N5], [np.zeros(len(people_N5), bool)]
    for (x0, y0, x1, y1), things in zip(parts, close, strict=True):
        seen_N5 = things.people()
        # Large boxes are cut off by the quarter, and are detected in the whole frame.
        side_N = (seen_N5[:, 2:4] - seen_N5[:, :2]).max(1)
        seen_N5 = seen_N5[side_N < 0.5 * max(x1 - x0, y1 - y0)]
        seen_N5[:, :4] += np.array([x0, y0, x0, y0], np.float32)
        found.append(seen_N5)
        cut.append(ends_at_edge(seen_N5, (x0, y0, x1, y1), height=height, width=width))
    every_N5, cut_N = np.concatenate(found), np.concatenate(cut)
    # A part of a person that a quarter cuts off is not a person of its own.
    whole_M4 = np.concatenate([every_N5[~cut_N, :4], posed_M4])
    if cut_N.any() and len(whole_M4):
        part_N = (boxes.share_inside(every_N5[:, :4], whole_M4) >= CUT_INSIDE).any(1)
        every_N5 = every_N5[~(cut_N & part_N)]
    kept = boxes.nms(every_N5[:, :4], every_N5[:, 4], 0.5)
    return every_N5[kept]


def ends_at_edge(seen_N5: np.ndarray, part: boxes.BoxXYXY, *, height: int, width: int) -> np.ndarray:
    """Which boxes end at an edge of a part of the frame that is not an edge of the frame, bool [N]."""
    x0, y0, x1, y1 = part
    near = EDGE * max(x1 - x0, y1 - y0)
    edges = ((0, x0, x0 > 0), (1, y0, y0 > 0), (2, x1, x1 < width), (3, y1, y1 < height))
    touching = [np.abs(seen_N5[:, at] - edge) <= near for at, edge, inner in edges if inner]
    return np.logical_or.reduce(touching) if touching else np.zeros(len(seen_N5), bool)


def quarters(height: int, width: int) -> list[boxes.BoxXYXY]:
    """Four overlapping parts of a frame, each 0.6 of its height and width."""
    h, w = round(0.6 * height), round(0.6 * width)
    return [(x, y, x + w, y + h) for y in (0, height - h) for x in (0, width - w)]


def _votes(people_N5: np.ndarray, things: BoxDetections) -> np.ndarray:
    """1 for boxes that are certainly people, -1 for those that are more likely something else, 0 for others;
    [N].
    """
    votes_N = (people_N5[:, 4] >= VOTE).astype(np.float64)
    others = things.class_N != PERSON
    if others.any() and len(people_N5):
        overlap = boxes.iou(people_N5[:, :4], things.boxes_N4[others])
        likelier = (overlap > SAME_IOU) & (things.score_N[others] > np.maximum(people_N5[:, 4:5], VOTE))
        votes_N[likelier.any(1)] = -1
    return votes_N


def merged(people_N5: np.ndarray, votes_N: np.ndarray, posed_M5: np.ndarray) -> np.ndarray:
    """Boxes of both networks as one list, float64 [K, 6]: box, score and vote.

    Args:
      people_N5, votes_N: the box network's boxes with scores, and its votes.
      posed_M5: MultiPose's boxes with scores.

    A person that both networks detect has one box, with a higher score than either. If MultiPose detects a
    whole body and NanoDet only parts of it, as for people who lie down, the parts are votes for the body.
    """
    mine = np.column_stack([people_N5, votes_N]).astype(np.float64)
    theirs = np.column_stack([posed_M5, np.zeros(len(posed_M5))]).astype(np.float64)
    if not len(mine) or not len(theirs):
        return np.concatenate([mine, theirs])
    overlap, part = boxes.iou(mine[:, :4], theirs[:, :4]), boxes.share_inside(mine[:, :4], theirs[:, :4])
    kept, alone = np.ones(len(mine), bool), np.ones(len(theirs), bool)
    paired = np.zeros(len(mine), bool)
    for column in np.argsort(-theirs[:, 4]).tolist():
        row = int(np.where(paired, -1, overlap[:, column]).argmax())
        if overlap[row, column] >= SAME_IOU and not paired[row]:
            share = theirs[column, 4] / (theirs[column, 4] + 2 * mine[row, 4])
            mine[row, :4] += share * (theirs[column, :4] - mine[row, :4])
            mine[row, 4] = 1 - (1 - mine[row, 4]) * (1 - 0.6 * theirs[column, 4])
            paired[row], alone[column] = True, False
    for column in np.flatnonzero(alone & (theirs[:, 4] >= WHOLE)):
        parts = ~paired & kept & (part[:, column] >= 0.8) & (mine[:, 4] < theirs[column, 4])
        theirs[column, 5] = mine[parts, 5].max(initial=0) if parts.any() else 0
        kept &= ~parts
    return np.concatenate([mine[kept], theirs[alone]])


def _shrunk(frame_HW3: np.ndarray) -> np.ndarray:
    """A frame with a width of 256, by nearest-neighbour sampling, for the colours."""
    height, width = frame_HW3.shape[:2]
    size = (min(_SMALL, width), max(1, round(height * min(_SMALL, width) / width)))
    return cv2.resize(frame_HW3, size, interpolation=cv2.INTER_NEAREST)


def _colour(hsv_hw3: np.ndarray, box_4: np.ndarray) -> np.ndarray:
    """Histogram of the middle of a box, float32 [64], square root, unit length.

    It consists of hue and saturation, and of saturation and brightness, which distinguish grey objects.
    """
    x0, y0, x1, y1 = box_4
    inner_4 = (x0 + 0.2 * (x1 - x0), y0 + 0.05 * (y1 - y0), x1 - 0.2 * (x1 - x0), y0 + 0.8 * (y1 - y0))
    left, top, right, bottom = boxes.clip_to_frame(inner_4, height=hsv_hw3.shape[0], width=hsv_hw3.shape[1])
    part = np.ascontiguousarray(hsv_hw3[top:bottom, left:right])
    hue = cv2.calcHist([part], [0, 1], None, [4, 4], [0, 180, 0, 256]).ravel()
    grey = cv2.calcHist([part], [1, 2], None, [4, 12], [0, 256, 0, 256]).ravel()
    both = np.sqrt(np.concatenate([hue, grey]))
    return np.asarray(both / max(float(np.linalg.norm(both)), 1e-6), np.float32)


class CameraMotion:
    """Estimates the similarity transform from each frame to the next, and detects cuts."""

    def __init__(self) -> None:
        self._gray_hw: np.ndarray | None = None
        self._thumbnail: np.ndarray | None = None
        self._colours: np.ndarray | None = None

    def __call__(self, frame_HW3: np.ndarray) -> np.ndarray | None:
        """The motion [2, 3] from the previous frame, in pixels; None for the first frame and after a cut."""
        height, width = frame_HW3.shape[:2]
        size = (min(_SMALL, width), max(16, round(height * min(_SMALL, width) / width)))
        small_hw3 = cv2.resize(frame_HW3, size, interpolation=cv2.INTER_AREA)
        gray_hw = cv2.cvtColor(small_hw3, cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(gray_hw, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        before_hw, self._gray_hw = self._gray_hw, gray_hw
        before, self._thumbnail = self._thumbnail, thumbnail
        colours_before, self._colours = self._colours, _shares(small_hw3)
        if before_hw is None or before is None or colours_before is None:
            return None
        changed = float(np.abs(thumbnail - before).mean())
        motion_23, agreeing = _similarity(before_hw, gray_hw)
        alike = float(colours_before @ self._colours)
        if changed > CUT_LEVELS and agreeing < CUT_POINTS and alike < CUT_COLOURS:
            return None
        scale = width / size[0]
        motion_23[:, 2] *= scale
        return motion_23


def _shares(small_hw3: np.ndarray) -> np.ndarray:
    """Square roots of the shares of hues and brightnesses in an image, float32 [128]."""
    hsv = cv2.cvtColor(small_hw3, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 2], None, [8, 16], [0, 180, 0, 256]).ravel()
    return np.asarray(np.sqrt(counts / counts.sum()), np.float32)


def _similarity(before_hw: np.ndarray, after_hw: np.ndarray) -> tuple[np.ndarray, float]:
    """Similarity transform [2, 3] between two small frames, and the share of points that agree with it."""
    none = np.array([[1.0, 0, 0], [0, 1, 0]])
    points = cv2.goodFeaturesToTrack(before_hw, 120, qualityLevel=0.01, minDistance=8)
    if points is None or len(points) < 8:
        return none, 0.0
    there, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # no initial flow
        before_hw,
        after_hw,
        points,
        None,
        winSize=(15, 15),
        maxLevel=3,
    )
    sure = found[:, 0] > 0
    if np.count_nonzero(sure) < 8:
        return none, 0.0
    fitted, agreeing = cv2.estimateAffinePartial2D(points[sure], there[sure], ransacReprojThreshold=1.0)
    if fitted is None:
        return none, 0.0
    share = float(np.count_nonzero(agreeing) / len(points))
    turn = np.linalg.det(fitted[:, :2]) ** 0.5
    return (fitted, share) if share > 0.2 and 0.7 < turn < 1.4 else (none, share)
