"""Multi-object tracking of people by their boxes.

Boxes are assigned to tracks by the Hungarian method (SciPy), those with a high score first, as in ByteTrack
(Zhang et al. 2022), after the motion of the camera is compensated. Tracking is offline: a track is also
extended backward from its first box, fragments of one person are joined, and gaps are interpolated.

Shape suffixes: T frames, N boxes of a frame or frames of a track, 4 box coordinates, C colour features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from raymaskdp.anonymize.people import boxes

CERTAIN = 0.35
"""Least score of a box that may begin a track."""

DOUBTFUL = 0.12
"""Least score of a box that may continue a track."""

LEAST_IOU = 0.2
"""Least overlap (IoU) of a box with the predicted box of the track that it continues."""

DUPLICATE_IOU, DUPLICATE_FRAMES = 0.6, 4
"""Two tracks that overlap so much are one person if in so many frames only one of them is detected."""

ON_ANOTHER, YOUNG = 0.4, 4
"""A new track that overlaps another so much may be a second box of one person, and is assigned after the
other until it has so many boxes."""

LOST_S = 1.0
"""Seconds for which a person who is not detected is still expected."""

JOINED_S = 2.0
"""Longest gap between two fragments of one track, seconds."""

HELD_S = 0.25
"""Seconds by which a track is extended before its first box and after its last."""

_FORBIDDEN = 1e3


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameBoxes:
    """Detections of people in one frame.

    Attributes:
      boxes_N4: float32, pixels.
      score_N: combined confidence of both networks, in [0, 1].
      votes_N: int8; 1 for a person and -1 for something else, such as a dog, by a network that may begin a
        track; 0 if it detects neither.
      colour_NC: float32, square root of a colour histogram, unit length.
      camera_23: float64, affine map from the previous frame to this one; None in the first and after a cut.
    """

    boxes_N4: np.ndarray
    score_N: np.ndarray
    votes_N: np.ndarray
    colour_NC: np.ndarray
    camera_23: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxTrack:
    """One person's boxes from the first frame to the last, without a gap.

    Attributes:
      start: the first frame.
      boxes_N4: float64, pixels, one a frame from `start` on.
      seen_N: bool, whether a detector found the person in the frame; elsewhere the box is interpolated.
      score_N: confidence; 0 where the box is interpolated.
      votes, against: numbers of frames in which a network that may begin a track detects a person, or else.
    """

    start: int
    boxes_N4: np.ndarray
    seen_N: np.ndarray
    score_N: np.ndarray
    votes: int
    against: int

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + len(self.boxes_N4)

    def at(self, frame: int) -> np.ndarray | None:
        """The box of a frame, float64 [4]; None outside the track."""
        return self.boxes_N4[frame - self.start] if self.start <= frame < self.stop else None


@dataclass(kw_only=True, eq=False)
class _OpenTrack:
    """A track that later frames may continue."""

    hits: dict[int, int]
    colour_C: np.ndarray
    box_4: np.ndarray
    moved_4: np.ndarray = field(default_factory=lambda: np.zeros(4))
    last: int = 0
    beside: dict[int, int] = field(default_factory=dict)
    """By the identity of another track: number of frames in which only one of both was detected, at one
    place."""
    on_another: bool = False

    @property
    def yields(self) -> bool:
        """Whether the other tracks are assigned to the boxes of a frame first."""
        return self.on_another and len(self.hits) < YOUNG


def track_boxes(frames: Sequence[FrameBoxes], fps: float) -> list[BoxTrack]:
    """The tracks of a video in the order of their first frames, including tracks with a single detection."""
    lost = max(2, round(LOST_S * fps))
    hits = _linked_forward(frames, lost)
    used = {(frame, row) for track in hits for frame, row in track.items()}
    for track in hits:
        used |= _extended_backward(frames, track, used, lost=max(2, lost // 3))
    joined = _join(frames, hits, round(JOINED_S * fps))
    tracks = [_filled(frames, track, max(1, round(HELD_S * fps))) for track in joined]
    return sorted(_deduplicated(tracks), key=lambda track: track.start)


def shots_of(frames: Sequence[FrameBoxes]) -> np.ndarray:
    """Number of the shot that each frame belongs to, int64 [T]."""
    cuts_T = [index > 0 and frame.camera_23 is None for index, frame in enumerate(frames)]
    return np.cumsum(np.array(cuts_T, np.int64)) if cuts_T else np.zeros(0, np.int64)


def _linked_forward(frames: Sequence[FrameBoxes], lost: int) -> list[dict[int, int]]:
    """Boxes linked forward through the frames: for each track, its row in each frame with a detection."""
    alive: list[_OpenTrack] = []
    closed: list[_OpenTrack] = []
    for now, frame in enumerate(frames):
        if frame.camera_23 is None:
            closed, alive = closed + alive, []
        else:
            for track in alive:
                track.box_4 = boxes.moved_by_camera(track.box_4 + track.moved_4, frame.camera_23)
                track.moved_4 = 0.9 * track.moved_4
        free = list(range(len(frame.score_N)))
        waiting = list(alive)
        for certain in (True, False):
            rows = [
                row
                for row in free
                if (frame.score_N[row] >= CERTAIN) == certain and frame.score_N[row] >= DOUBTFUL
            ]
            for yields in (False, True):
                some = [track for track in waiting if track.yields == yields]
                for track, row in _assigned(some, frame, [row for row in rows if row in free], now):
                    _extend(track, frame, row, now)
                    free.remove(row)
                    waiting.remove(track)
        taken_N4 = np.array([track.box_4 for track in alive if track.last == now]).reshape(-1, 4)
        for row in free:
            box_4 = frame.boxes_N4[row].astype(np.float64)
            if frame.score_N[row] < CERTAIN:
                continue
            on_another = bool((boxes.iou(box_4[None], taken_N4) >= ON_ANOTHER).any())
            alive.append(
                _OpenTrack(
                    hits={now: row},
                    colour_C=frame.colour_NC[row],
                    box_4=box_4,
                    last=now,
                    on_another=on_another,
                )
            )
        alive = _without_duplicates(alive, now)
        closed += [track for track in alive if now - track.last > lost]
        alive = [track for track in alive if now - track.last <= lost]
    return [track.hits for track in closed + alive]


def _without_duplicates(tracks: list[_OpenTrack], now: int) -> list[_OpenTrack]:
    """The tracks without the later duplicate of two that share a place and are never detected together.

    Duplicates arise if the two networks detect a person in turns, and if a person reappears from behind
    another. The detections of the duplicate are added to the older track.
    """
    if len(tracks) < 2:
        return tracks
    overlap = boxes.iou(*[np.array([track.box_4 for track in tracks])] * 2)
    gone: set[int] = set()
    for a, b in zip(*np.nonzero(np.triu(overlap > DUPLICATE_IOU, 1)), strict=True):
        first, second = sorted((tracks[a], tracks[b]), key=lambda track: (min(track.hits), -len(track.hits)))
        if id(first) in gone or id(second) in gone:
            continue
        if first.last == now and second.last == now:
            first.beside[id(second)] = 0
        elif now in (first.last, second.last):
            first.beside[id(second)] = first.beside.get(id(second), 0) + 1
        if first.beside.get(id(second), 0) >= DUPLICATE_FRAMES:
            if second.last > first.last:
                first.box_4, first.moved_4, first.last = second.box_4, second.moved_4, second.last
            first.hits = second.hits | first.hits
            gone.add(id(second))
    return [track for track in tracks if id(track) not in gone]


def _assigned(
    tracks: list[_OpenTrack], frame: FrameBoxes, rows: list[int], now: int
) -> list[tuple[_OpenTrack, int]]:
    """The pairs of tracks and rows of a frame that belong together, by least total cost."""
    if not tracks or not rows:
        return []
    expected_N4 = np.array([track.box_4 for track in tracks])
    seen_N4 = frame.boxes_N4[rows].astype(np.float64)
    overlap = boxes.iou(expected_N4, seen_N4)
    away = boxes.centre_distances(expected_N4, seen_N4)
    alike = np.array([track.colour_C for track in tracks]) @ frame.colour_NC[rows].T
    waited = np.array([now - track.last for track in tracks])[:, None]
    # A track that was lost for a while may have moved further, and must match in colour.
    near = (overlap >= LEAST_IOU) | ((waited > 1) & (away < 0.5 + 0.03 * waited) & (alike > 0.8))
    cost = np.where(near, 1 - overlap + 0.6 * (1 - alike), _FORBIDDEN)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(tracks[a], rows[b]) for a, b in pairs if cost[a, b] < _FORBIDDEN]


def _extend(track: _OpenTrack, frame: FrameBoxes, row: int, now: int) -> None:
    """Extend a track by a box. The predicted box already includes the motion of the camera."""
    box_4 = frame.boxes_N4[row].astype(np.float64)
    side = max(float((box_4[2:] - box_4[:2]).max()), 1.0)
    off_4 = np.clip(box_4 - track.box_4, -0.15 * side, 0.15 * side)
    track.moved_4 = track.moved_4 + 0.3 * off_4 / max(1, now - track.last)
    track.box_4, track.last = box_4, now
    track.hits[now] = row
    mixed_C = 0.9 * track.colour_C + 0.1 * frame.colour_NC[row]
    track.colour_C = mixed_C / max(float(np.linalg.norm(mixed_C)), 1e-9)


def _extended_backward(
    frames: Sequence[FrameBoxes], hits: dict[int, int], used: set[tuple[int, int]], *, lost: int
) -> set[tuple[int, int]]:
    """Extend a track backward from its first box, through boxes that no track uses; adds to `hits`."""
    first = min(hits)
    box_4 = frames[first].boxes_N4[hits[first]].astype(np.float64)
    colour_C = frames[first].colour_NC[hits[first]]
    taken: set[tuple[int, int]] = set()
    missed = 0
    for now in range(first - 1, -1, -1):
        camera_23 = frames[now + 1].camera_23
        if camera_23 is None or missed > lost:
            break
        box_4 = boxes.moved_by_camera(box_4, boxes.inverse_affine(camera_23))
        frame = frames[now]
        rows = [
            row
            for row in range(len(frame.score_N))
            if (now, row) not in used and frame.score_N[row] >= DOUBTFUL
        ]
        if not rows:
            missed += 1
            continue
        overlap = boxes.iou(box_4[None], frame.boxes_N4[rows].astype(np.float64))[0]
        fit = np.where(overlap >= 0.3, overlap + 0.4 * frame.colour_NC[rows] @ colour_C, -1)
        best = int(fit.argmax())
        if fit[best] < 0:
            missed += 1
            continue
        missed = 0
        hits[now] = rows[best]
        taken.add((now, rows[best]))
        box_4 = frame.boxes_N4[rows[best]].astype(np.float64)
    return taken


def _join(frames: Sequence[FrameBoxes], fragments: list[dict[int, int]], reach: int) -> list[dict[int, int]]:
    """Fragments of one person joined, the pairs of least cost first."""
    fragments = [dict(sorted(fragment.items())) for fragment in fragments]
    shots_T = shots_of(frames)
    camera = _CameraPath(frames)
    while True:
        best: tuple[float, int, int] | None = None
        for a, earlier in enumerate(fragments):
            end = max(earlier)
            for b, later in enumerate(fragments):
                begin = min(later)
                if a == b or not 0 < begin - end <= reach or shots_T[begin] != shots_T[end]:
                    continue
                if len(earlier) < 2 and len(later) < 2:
                    continue
                there_4 = camera.box_at(frames[end].boxes_N4[earlier[end]].astype(np.float64), end, begin)
                here_4 = frames[begin].boxes_N4[later[begin]].astype(np.float64)
                away = float(boxes.centre_distances(there_4[None], here_4[None])[0, 0])
                alike = float(_colour(frames, earlier, last=True) @ _colour(frames, later, last=False))
                if away < 0.3 + 0.02 * (begin - end) and alike > 0.75:
                    cost = away + (1 - alike) + 0.01 * (begin - end)
                    if best is None or cost < best[0]:
                        best = (cost, a, b)
        if best is None:
            return fragments
        _, a, b = best
        fragments[a] = fragments[a] | fragments[b]
        del fragments[b]


class _CameraPath:
    """The motion of the camera from any frame to a later one."""

    def __init__(self, frames: Sequence[FrameBoxes]) -> None:
        self._frames = frames

    def box_at(self, box_4: np.ndarray, start: int, stop: int) -> np.ndarray:
        """A box of frame `start`, moved by the camera to frame `stop`."""
        for frame in self._frames[start + 1 : stop + 1]:
            if frame.camera_23 is not None:
                box_4 = boxes.moved_by_camera(box_4, frame.camera_23)
        return box_4


def _colour(frames: Sequence[FrameBoxes], hits: dict[int, int], *, last: bool) -> np.ndarray:
    """Mean colour of a fragment near one of its ends, unit length."""
    near = list(hits.items())[-8:] if last else list(hits.items())[:8]
    mean_C = np.mean([frames[frame].colour_NC[row] for frame, row in near], axis=0)
    return np.asarray(mean_C / max(float(np.linalg.norm(mean_C)), 1e-9))


def _filled(frames: Sequence[FrameBoxes], hits: dict[int, int], held: int) -> BoxTrack:
    """A track with interpolated gaps, and extended at both ends within its shot."""
    shots_T = shots_of(frames)
    known = sorted(hits)
    first, last = known[0], known[-1]
    start = max(first - held, int(np.searchsorted(shots_T, shots_T[first], "left")))
    stop = min(last + 1 + held, int(np.searchsorted(shots_T, shots_T[last], "right")))
    boxes_N4 = np.zeros((stop - start, 4))
    seen_N = np.zeros(stop - start, bool)
    score_N = np.zeros(stop - start)
    for frame in known:
        boxes_N4[frame - start] = frames[frame].boxes_N4[hits[frame]]
        seen_N[frame - start] = True
        score_N[frame - start] = frames[frame].score_N[hits[frame]]
    at = np.flatnonzero(seen_N)
    every = np.arange(stop - start)
    for column in range(4):
        boxes_N4[:, column] = np.interp(every, at, boxes_N4[at, column])
    return BoxTrack(
        start=start,
        boxes_N4=boxes_N4,
        seen_N=seen_N,
        score_N=score_N,
        votes=sum(frames[frame].votes_N[row] > 0 for frame, row in hits.items()),
        against=sum(frames[frame].votes_N[row] < 0 for frame, row in hits.items()),
    )


def _deduplicated(tracks: list[BoxTrack]) -> list[BoxTrack]:
    """The tracks without those that move with a longer one: parts of a person, and duplicates."""
    kept: list[BoxTrack] = []
    for track in sorted(tracks, key=lambda one: (-int(one.seen_N.sum()), one.start)):
        if any(_is_duplicate(track, other) for other in kept):
            continue
        on = next((other for other in kept if _is_brief_duplicate(track, other)), None)
        if on is None:
            kept.append(track)
        else:
            kept[kept.index(on)] = _widened(on, track)
    return kept


def _is_brief_duplicate(track: BoxTrack, other: BoxTrack) -> bool:
    """Whether a track is only a few second boxes of another track's person."""
    at = track.start + np.flatnonzero(track.seen_N)
    if len(at) >= YOUNG or at[0] < other.start or at[-1] >= other.stop:
        return False
    mine_N4, theirs_N4 = track.boxes_N4[at - track.start], other.boxes_N4[at - other.start]
    return bool((np.diagonal(boxes.iou(mine_N4, theirs_N4)) >= ON_ANOTHER).all())


def _widened(track: BoxTrack, brief: BoxTrack) -> BoxTrack:
    """A track whose boxes also contain the boxes of its brief duplicate, in the frames in which that was
    detected.
    """
    boxes_N4 = track.boxes_N4.copy()
    for index in np.flatnonzero(brief.seen_N):
        here = brief.start + index - track.start
        boxes_N4[here, :2] = np.minimum(boxes_N4[here, :2], brief.boxes_N4[index, :2])
        boxes_N4[here, 2:] = np.maximum(boxes_N4[here, 2:], brief.boxes_N4[index, 2:])
    return replace(track, boxes_N4=boxes_N4)


def _is_duplicate(track: BoxTrack, other: BoxTrack) -> bool:
    """Whether a track moves with another: the same box, or a part of the same person."""
    start, stop = max(track.start, other.start), min(track.stop, other.stop)
    if stop - start < 0.8 * len(track.boxes_N4):
        return False
    mine_N4 = track.boxes_N4[start - track.start : stop - track.start]
    theirs_N4 = other.boxes_N4[start - other.start : stop - other.start]
    pairs = zip(mine_N4[:, None], theirs_N4[:, None], strict=True)
    measured = np.array([(boxes.iou(a, b)[0, 0], boxes.share_inside(a, b)[0, 0]) for a, b in pairs])
    same = measured[:, 0] > 0.6
    # A box well inside another, with few votes, is an arm, a head or a pair of legs.
    part = (measured[:, 1] > 0.85) & (track.votes < 0.3 * track.seen_N.sum())
    return bool((same | part).mean() > 0.7)
