"""Following people by their boxes: which box of a frame continues which person.

Boxes are given to tracks by optimal assignment (SciPy's Hungarian solver), first the certain ones and then
the doubtful ones, as ByteTrack does (Zhang et al. 2022), after the motion of the camera was taken out. All
frames are known before tracks are closed, so a track is also followed backward from where it begins, pieces
of one person are joined, and gaps are filled from both sides.

Shape suffixes: T frames, N boxes of a frame or frames of a track, 4 box coordinates, C colour features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from raymaskdp.anonymize.people import boxes

CERTAIN = 0.35
"""Score from which a box begins a track."""

DOUBTFUL = 0.12
"""Score from which a box continues a track that exists."""

LEAST_IOU = 0.2
"""Overlap with where a person is expected from which a box may be theirs."""

DOUBLE_IOU, DOUBLE_FRAMES = 0.6, 4
"""Overlap, and number of frames, from which two tracks of which only one is seen at a time are one person."""

ON_ANOTHER, YOUNG = 0.4, 4
"""Overlap with a person from which a new track may be a second box of theirs, and number of its boxes up to
which it has to wait until that person has one."""

LOST_S = 1.0
"""Seconds for which a person who is not seen is still expected."""

JOINED_S = 2.0
"""Longest time between two pieces of one track, seconds."""

HELD_S = 0.25
"""Seconds for which a person is taken to be there before the first box and after the last."""

_FORBIDDEN = 1e3


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameBoxes:
    """What detectors saw of people in one frame.

    Attributes:
      boxes_N4: float32, pixels.
      score_N: confidence of both networks together, in [0, 1].
      votes_N: int8, 1 where a network that may begin a track by itself takes the box for a person, -1 where
        it takes it for something else, such as a dog; 0 where it says neither.
      colour_NC: float32, square root of a colour histogram, unit length.
      camera_23: float64, where the pixels of the frame before are in this one; None in the first frame and
        after a cut.
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
      seen_N: bool, a detector saw the person there; else the box was filled in.
      score_N: confidence, 0 where the box was filled in.
      votes, against: frames in which a network that may begin a track saw a person there, and something else.
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
        """The box of a frame, float64 [4]; None where the person is not."""
        return self.boxes_N4[frame - self.start] if self.start <= frame < self.stop else None


@dataclass(kw_only=True, eq=False)
class _Open:
    """A track that may go on."""

    hits: dict[int, int]
    colour_C: np.ndarray
    box_4: np.ndarray
    moved_4: np.ndarray = field(default_factory=lambda: np.zeros(4))
    last: int = 0
    beside: dict[int, int] = field(default_factory=dict)
    """By the identity of another track: frames in which only one of both was seen, at the same place."""
    on_another: bool = False

    @property
    def waits(self) -> bool:
        """Whether others choose first among the boxes of a frame."""
        return self.on_another and len(self.hits) < YOUNG


def follow(frames: Sequence[FrameBoxes], fps: float) -> list[BoxTrack]:
    """The people of a video, by first frame. Tracks of a single glimpse are among them."""
    lost = max(2, round(LOST_S * fps))
    hits = _linked(frames, lost)
    used = {(frame, row) for track in hits for frame, row in track.items()}
    for track in hits:
        used |= _followed_back(frames, track, used, lost=max(2, lost // 3))
    joined = _joined(frames, hits, round(JOINED_S * fps))
    tracks = [_filled(frames, track, max(1, round(HELD_S * fps))) for track in joined]
    return sorted(_distinct(tracks), key=lambda track: track.start)


def shots_of(frames: Sequence[FrameBoxes]) -> np.ndarray:
    """Number of the shot that each frame belongs to, int64 [T]."""
    cuts_T = [index > 0 and frame.camera_23 is None for index, frame in enumerate(frames)]
    return np.cumsum(np.array(cuts_T, np.int64)) if cuts_T else np.zeros(0, np.int64)


def _linked(frames: Sequence[FrameBoxes], lost: int) -> list[dict[int, int]]:
    """Boxes linked forward through the frames: of each track, its row in each frame that shows it."""
    alive: list[_Open] = []
    closed: list[_Open] = []
    for now, frame in enumerate(frames):
        if frame.camera_23 is None:
            closed, alive = closed + alive, []
        else:
            for track in alive:
                track.box_4 = boxes.carried(track.box_4 + track.moved_4, frame.camera_23)
                track.moved_4 = 0.9 * track.moved_4
        free = list(range(len(frame.score_N)))
        waiting = list(alive)
        for certain in (True, False):
            rows = [
                row
                for row in free
                if (frame.score_N[row] >= CERTAIN) == certain and frame.score_N[row] >= DOUBTFUL
            ]
            for waits in (False, True):
                some = [track for track in waiting if track.waits == waits]
                for track, row in _assigned(some, frame, [row for row in rows if row in free], now):
                    _take(track, frame, row, now)
                    free.remove(row)
                    waiting.remove(track)
        taken_N4 = np.array([track.box_4 for track in alive if track.last == now]).reshape(-1, 4)
        for row in free:
            box_4 = frame.boxes_N4[row].astype(np.float64)
            if frame.score_N[row] < CERTAIN:
                continue
            on_another = bool((boxes.iou(box_4[None], taken_N4) >= ON_ANOTHER).any())
            alive.append(
                _Open(
                    hits={now: row},
                    colour_C=frame.colour_NC[row],
                    box_4=box_4,
                    last=now,
                    on_another=on_another,
                )
            )
        alive = _without_doubles(alive, now)
        closed += [track for track in alive if now - track.last > lost]
        alive = [track for track in alive if now - track.last <= lost]
    return [track.hits for track in closed + alive]


def _without_doubles(tracks: list[_Open], now: int) -> list[_Open]:
    """The tracks without those that share a place with an older one and are never seen beside it.

    Two networks that take turns, or a person who comes from behind another, would otherwise leave one person
    with two tracks. What the younger one was seen by is given to the older.
    """
    if len(tracks) < 2:
        return tracks
    overlap = boxes.iou(*[np.array([track.box_4 for track in tracks])] * 2)
    gone: set[int] = set()
    for a, b in zip(*np.nonzero(np.triu(overlap > DOUBLE_IOU, 1)), strict=True):
        first, second = sorted((tracks[a], tracks[b]), key=lambda track: (min(track.hits), -len(track.hits)))
        if id(first) in gone or id(second) in gone:
            continue
        if first.last == now and second.last == now:
            first.beside[id(second)] = 0
        elif now in (first.last, second.last):
            first.beside[id(second)] = first.beside.get(id(second), 0) + 1
        if first.beside.get(id(second), 0) >= DOUBLE_FRAMES:
            if second.last > first.last:
                first.box_4, first.moved_4, first.last = second.box_4, second.moved_4, second.last
            first.hits = second.hits | first.hits
            gone.add(id(second))
    return [track for track in tracks if id(track) not in gone]


def _assigned(tracks: list[_Open], frame: FrameBoxes, rows: list[int], now: int) -> list[tuple[_Open, int]]:
    """The cheapest pairs of tracks and rows of a frame that may belong together."""
    if not tracks or not rows:
        return []
    expected_N4 = np.array([track.box_4 for track in tracks])
    seen_N4 = frame.boxes_N4[rows].astype(np.float64)
    overlap = boxes.iou(expected_N4, seen_N4)
    away = boxes.apart(expected_N4, seen_N4)
    alike = np.array([track.colour_C for track in tracks]) @ frame.colour_NC[rows].T
    waited = np.array([now - track.last for track in tracks])[:, None]
    # Who was lost for a while may be some way off, and must look the same.
    near = (overlap >= LEAST_IOU) | ((waited > 1) & (away < 0.5 + 0.03 * waited) & (alike > 0.8))
    cost = np.where(near, 1 - overlap + 0.6 * (1 - alike), _FORBIDDEN)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(tracks[a], rows[b]) for a, b in pairs if cost[a, b] < _FORBIDDEN]


def _take(track: _Open, frame: FrameBoxes, row: int, now: int) -> None:
    """Let a track go on with a box; what the camera moved is in its expectation already."""
    box_4 = frame.boxes_N4[row].astype(np.float64)
    side = max(float((box_4[2:] - box_4[:2]).max()), 1.0)
    off_4 = np.clip(box_4 - track.box_4, -0.15 * side, 0.15 * side)
    track.moved_4 = track.moved_4 + 0.3 * off_4 / max(1, now - track.last)
    track.box_4, track.last = box_4, now
    track.hits[now] = row
    mixed_C = 0.9 * track.colour_C + 0.1 * frame.colour_NC[row]
    track.colour_C = mixed_C / max(float(np.linalg.norm(mixed_C)), 1e-9)


def _followed_back(
    frames: Sequence[FrameBoxes], hits: dict[int, int], used: set[tuple[int, int]], *, lost: int
) -> set[tuple[int, int]]:
    """Follow a track backward from its first box through boxes that begin no track; adds to `hits`."""
    first = min(hits)
    box_4 = frames[first].boxes_N4[hits[first]].astype(np.float64)
    colour_C = frames[first].colour_NC[hits[first]]
    taken: set[tuple[int, int]] = set()
    missed = 0
    for now in range(first - 1, -1, -1):
        camera_23 = frames[now + 1].camera_23
        if camera_23 is None or missed > lost:
            break
        box_4 = boxes.carried(box_4, boxes.inverse(camera_23))
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


def _joined(frames: Sequence[FrameBoxes], pieces: list[dict[int, int]], reach: int) -> list[dict[int, int]]:
    """Pieces that show one person put together, the likeliest pairs first."""
    pieces = [dict(sorted(piece.items())) for piece in pieces]
    shots_T = shots_of(frames)
    camera = _Camera(frames)
    while True:
        best: tuple[float, int, int] | None = None
        for a, earlier in enumerate(pieces):
            end = max(earlier)
            for b, later in enumerate(pieces):
                begin = min(later)
                if a == b or not 0 < begin - end <= reach or shots_T[begin] != shots_T[end]:
                    continue
                if len(earlier) < 2 and len(later) < 2:
                    continue
                there_4 = camera.carried(frames[end].boxes_N4[earlier[end]].astype(np.float64), end, begin)
                here_4 = frames[begin].boxes_N4[later[begin]].astype(np.float64)
                away = float(boxes.apart(there_4[None], here_4[None])[0, 0])
                alike = float(_colour(frames, earlier, last=True) @ _colour(frames, later, last=False))
                if away < 0.3 + 0.02 * (begin - end) and alike > 0.75:
                    cost = away + (1 - alike) + 0.01 * (begin - end)
                    if best is None or cost < best[0]:
                        best = (cost, a, b)
        if best is None:
            return pieces
        _, a, b = best
        pieces[a] = pieces[a] | pieces[b]
        del pieces[b]


class _Camera:
    """The camera's motion from any frame to a later one."""

    def __init__(self, frames: Sequence[FrameBoxes]) -> None:
        self._frames = frames

    def carried(self, box_4: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Where a box of frame `start` is in frame `stop`."""
        for frame in self._frames[start + 1 : stop + 1]:
            if frame.camera_23 is not None:
                box_4 = boxes.carried(box_4, frame.camera_23)
        return box_4


def _colour(frames: Sequence[FrameBoxes], hits: dict[int, int], *, last: bool) -> np.ndarray:
    """Mean colour of a piece near one of its ends, unit length."""
    near = list(hits.items())[-8:] if last else list(hits.items())[:8]
    mean_C = np.mean([frames[frame].colour_NC[row] for frame, row in near], axis=0)
    return np.asarray(mean_C / max(float(np.linalg.norm(mean_C)), 1e-9))


def _filled(frames: Sequence[FrameBoxes], hits: dict[int, int], held: int) -> BoxTrack:
    """A track with its gaps filled in, and held at both ends as long as the shot goes on."""
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


def _distinct(tracks: list[BoxTrack]) -> list[BoxTrack]:
    """The tracks without those that go along with a longer one: parts of a person, or the same box twice."""
    kept: list[BoxTrack] = []
    for track in sorted(tracks, key=lambda one: (-int(one.seen_N.sum()), one.start)):
        if any(_goes_along(track, other) for other in kept):
            continue
        on = next((other for other in kept if _glimpse_of(track, other)), None)
        if on is None:
            kept.append(track)
        else:
            kept[kept.index(on)] = _widened(on, track)
    return kept


def _glimpse_of(track: BoxTrack, other: BoxTrack) -> bool:
    """Whether a track is but a few second boxes of the person of another one."""
    at = track.start + np.flatnonzero(track.seen_N)
    if len(at) >= YOUNG or at[0] < other.start or at[-1] >= other.stop:
        return False
    mine_N4, theirs_N4 = track.boxes_N4[at - track.start], other.boxes_N4[at - other.start]
    return bool((np.diagonal(boxes.iou(mine_N4, theirs_N4)) >= ON_ANOTHER).all())


def _widened(track: BoxTrack, glimpse: BoxTrack) -> BoxTrack:
    """A track whose boxes hold those of a glimpse, too, in the frames in which that was seen."""
    boxes_N4 = track.boxes_N4.copy()
    for index in np.flatnonzero(glimpse.seen_N):
        here = glimpse.start + index - track.start
        boxes_N4[here, :2] = np.minimum(boxes_N4[here, :2], glimpse.boxes_N4[index, :2])
        boxes_N4[here, 2:] = np.maximum(boxes_N4[here, 2:], glimpse.boxes_N4[index, 2:])
    return replace(track, boxes_N4=boxes_N4)


def _goes_along(track: BoxTrack, other: BoxTrack) -> bool:
    start, stop = max(track.start, other.start), min(track.stop, other.stop)
    if stop - start < 0.8 * len(track.boxes_N4):
        return False
    mine_N4 = track.boxes_N4[start - track.start : stop - track.start]
    theirs_N4 = other.boxes_N4[start - other.start : stop - other.start]
    pairs = zip(mine_N4[:, None], theirs_N4[:, None], strict=True)
    measured = np.array([(boxes.iou(a, b)[0, 0], boxes.inside(a, b)[0, 0]) for a, b in pairs])
    same = measured[:, 0] > 0.6
    # A box well inside another that few votes speak for is an arm, a head or a pair of legs.
    part = (measured[:, 1] > 0.85) & (track.votes < 0.3 * track.seen_N.sum())
    return bool((same | part).mean() > 0.7)
