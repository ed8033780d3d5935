"""Following people from frame to frame: who is who, and what lies between two sightings.

Sightings are given to tracks by optimal assignment (SciPy's Hungarian solver) of a cost from motion
and looks. Nothing here runs a network. Shape suffixes: T frames, 33 landmarks, H×W pixels.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from raymaskdp.anonymize.people.masks import Patch, body_height, crop_to_content, limbs
from raymaskdp.anonymize.people.mediapipe import Sighting
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.video.mask_film import SmallMask

MASK_THRESHOLD = 0.35
"""Least probability of a pixel to belong to the person; below 0.5, as a missed pixel is a leak."""

OUTLINE_THRESHOLD = 0.5
"""Least probability of a pixel of the outline, which is to be right and not safe."""

STEADY = (0, 11, 12, 13, 14, 23, 24, 25, 26, 27, 28)
"""Landmarks that tell two people apart; fingers, toes and the face's details only add noise."""


_OPPOSITE = {"left": "right", "right": "left"}

OTHER_SIDE = np.array(
    [MEDIAPIPE.row(re.sub("left|right", lambda side: _OPPOSITE[side[0]], p)) for p in MEDIAPIPE.points]
)
"""The row of the same landmark on the other side of the body."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """One sighting as a track keeps it: small, with its masks compressed.

    Attributes:
      score: how far to believe it, in [0, 1]: visibility of the torso, times the agreement of the
        landmarks with the mask (a skeleton imagined in a corner of a body has little).
      mask, likely: where the network saw the person, thresholded low, and where within that the person most
        likely is; both begin at `corner`.
      tall: the body's height scale, pixels; area: pixels of the mask.
      looks: float32 [64], square root of the hue–saturation histogram of the body, unit length.
    """

    keypoints_33x3: np.ndarray
    world_33x3: np.ndarray
    score: float
    looks: np.ndarray
    corner: tuple[int, int]
    mask: SmallMask
    likely: SmallMask
    tall: float
    area: int

    @property
    def patch(self) -> Patch:
        """The mask as the network saw it, thresholded low."""
        return Patch(self.corner, self.mask.mask_HW)

    @property
    def outline(self) -> Patch:
        """The mask where the person most likely is."""
        return Patch(self.corner, self.likely.mask_HW)


class Sightings(dict[int, Seen]):
    """Sightings by frame that knows its frames in order: a long track is not searched through every time."""

    def __init__(self, seen: Mapping[int, Seen]) -> None:
        super().__init__(seen)
        self.frames = sorted(seen)

    def __setitem__(self, frame: int, seen: Seen) -> None:
        if frame not in self:
            insort(self.frames, frame)
        super().__setitem__(frame, seen)

    def __delitem__(self, frame: int) -> None:
        super().__delitem__(frame)
        del self.frames[bisect_left(self.frames, frame)]

    def around(self, frame: int, most: int) -> list[int]:
        """The frames nearest to `frame`, at most so many, the nearest first, of two as near the earlier."""
        at = bisect_left(self.frames, frame)
        near = self.frames[max(0, at - most) : at + most]
        return sorted(near, key=lambda known: (abs(known - frame), known))[:most]

    def before(self, frame: int) -> int | None:
        """The last frame before `frame`."""
        at = bisect_left(self.frames, frame)
        return self.frames[at - 1] if at else None

    def after(self, frame: int) -> int | None:
        """The first frame after `frame`."""
        at = bisect_right(self.frames, frame)
        return self.frames[at] if at < len(self.frames) else None


@dataclass(kw_only=True, eq=False)
class Track:
    """One person's sightings by frame."""

    track_id: int
    seen: Sightings = field(default_factory=lambda: Sightings({}))

    @property
    def first(self) -> int:
        """First frame with a sighting."""
        return self.seen.frames[0]

    @property
    def last(self) -> int:
        """Last frame with a sighting."""
        return self.seen.frames[-1]

    @property
    def settled(self) -> bool:
        """Whether the person was seen often enough to be more than a glimpse."""
        return len(self.seen) >= 3

    def near(self, frame: int) -> int:
        """The frame with a sighting that is nearest to `frame`."""
        return self.seen.around(frame, 1)[0]

    def believes(self, seen: Seen, frame: int) -> bool:
        """Whether a body is as tall, and its mask as large, as the person was around that frame.

        Networks now and then draw a small skeleton, or half a mask, inside a person.
        """
        around = self.seen.around(frame, 9)
        others = [self.seen[known] for known in around if self.seen[known] is not seen]
        if not others:
            return True
        stretch = seen.tall / max(float(np.median([other.tall for other in others])), 1.0)
        share = seen.area / max(float(np.median([other.area for other in others])), 1.0)
        return 0.72 < stretch < 1.4 and share > 0.6

    def mend_sides(self) -> None:
        """Swap left and right back where the network took a front for a back for a while.

        Nobody's left and right change places from one sighting to the next; between two such changes,
        the landmarks are named as in the part of the track in which they were seen better.
        """
        frames = self.seen.frames
        swapped = [False]
        for earlier, later in itertools.pairwise(frames):
            first, second = self.seen[earlier].keypoints_33x3, self.seen[later].keypoints_33x3
            apart = distance(first, second)
            jumps = apart > 0.05 and distance(first, second[OTHER_SIDE]) < 0.5 * apart
            swapped.append(swapped[-1] ^ jumps)
        sure = np.array([self.seen[frame].keypoints_33x3[:, 2].mean() ** 2 for frame in frames])
        wrong = np.array(swapped) ^ bool(sure[swapped].sum() > sure.sum() / 2)
        for frame in np.array(frames)[wrong].tolist():
            seen = self.seen[frame]
            self.seen[frame] = replace(
                seen,
                keypoints_33x3=seen.keypoints_33x3[OTHER_SIDE],
                world_33x3=seen.world_33x3[OTHER_SIDE],
            )

    def forget_doubtful(self) -> None:
        """Drop sightings that the others around them contradict; gaps are filled from both sides."""
        doubtful = [frame for frame, seen in self.seen.items() if not self._fits(seen, frame)]
        for frame in doubtful if len(doubtful) < len(self.seen) / 2 else []:
            del self.seen[frame]

    def _fits(self, seen: Seen, frame: int) -> bool:
        if not self.believes(seen, frame):
            return False
        a, b = self.seen.before(frame), self.seen.after(frame)
        if a is None or b is None or a < frame - 3 or b > frame + 3:
            return True
        share = (frame - a) / (b - a)
        points_a, points_b = self.seen[a].keypoints_33x3, self.seen[b].keypoints_33x3
        middle = (1 - share) * points_a + share * points_b
        # A jump there and back again: far from a path on which its neighbours agree with each other.
        return distance(middle, seen.keypoints_33x3) < 0.12 + 0.7 * distance(points_a, points_b)

    def expected(self, frame: int) -> np.ndarray:
        """Landmarks expected in `frame`, [33, 2] pixels: the nearest ones, moved on for a short while."""
        near = self.near(frame)
        points = self.seen[near].keypoints_33x3[:, :2]
        before = near - 2 if frame > near else near + 2
        if before not in self.seen:
            return points
        drift = (_centre(points) - _centre(self.seen[before].keypoints_33x3)) / 2
        return points + drift * min(abs(frame - near), 4)


def remember(sighting: Sighting, frame_HW3: np.ndarray) -> Seen:
    """A sighting as a track keeps it."""
    patch = crop_to_content(sighting.mask_hw > MASK_THRESHOLD, sighting.corner)
    left, top = (patch.corner[axis] - sighting.corner[axis] for axis in (0, 1))
    h, w = patch.mask_hw.shape
    outline_hw = sighting.mask_hw[top : top + h, left : left + w] > OUTLINE_THRESHOLD
    agreement = _agreement(patch, sighting.keypoints_33x3, frame_HW3.shape[:2])
    return Seen(
        keypoints_33x3=sighting.keypoints_33x3,
        world_33x3=sighting.world_33x3,
        score=sighting.score * agreement,
        looks=_looks(frame_HW3, patch),
        corner=patch.corner,
        mask=SmallMask.of(patch.mask_hw),
        likely=SmallMask.of(outline_hw),
        tall=body_height(sighting.keypoints_33x3),
        area=int(patch.mask_hw.sum()),
    )


def distance(points_33x2: np.ndarray, others_33x2: np.ndarray) -> float:
    """Typical distance of two bodies' landmarks as a share of the larger body's height."""
    apart = np.linalg.norm(points_33x2[STEADY, :2] - others_33x2[STEADY, :2], axis=1)
    tall = max(body_height(points_33x2), body_height(others_33x2), 1.0)
    return float(np.median(apart) / tall)


def overlap(patch: Patch, other: Patch) -> float:
    """Intersection of two patches as a share of the smaller one, 0 if either is empty."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = patch.box(), other.box()
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    if x0 >= x1 or y0 >= y1:
        return 0.0
    first = patch.mask_hw[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
    second = other.mask_hw[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
    smaller = min(int(patch.mask_hw.sum()), int(other.mask_hw.sum()))
    return int((first & second).sum()) / smaller if smaller else 0.0


def distinct(sightings: list[Seen]) -> list[Seen]:
    """One sighting a person: of those that show the same body, the one with the highest score."""
    kept: list[Seen] = []
    for candidate in sorted(sightings, key=lambda seen: -seen.score):
        if not any(same_body(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def same_body(seen: Seen, other: Seen) -> bool:
    """Whether two sightings in one frame show one person."""
    apart = distance(seen.keypoints_33x3, other.keypoints_33x3)
    return apart < 0.1 or (apart < 0.4 and overlap(seen.patch, other.patch) > 0.6)


def assign(
    tracks: list[Track], sightings: list[Seen], frame: int, *, reach: float
) -> tuple[list[tuple[Track, Seen]], list[Seen]]:
    """The cheapest pairing of tracks and sightings in `frame`, and the sightings left over.

    Args:
      reach: farthest a person moves in one frame, as a share of the body's height.
    """
    if not tracks or not sightings:
        return [], list(sightings)
    forbidden = 1e3
    cost = np.full((len(tracks), len(sightings)), forbidden)
    for row, track in enumerate(tracks):
        near = track.near(frame)
        expected = track.expected(frame)
        allowed = 0.2 + reach * abs(frame - near)
        for column, seen in enumerate(sightings):
            apart = distance(expected, seen.keypoints_33x3)
            if apart < allowed and track.believes(seen, frame):
                alike = float(track.seen[near].looks @ seen.looks)
                cost[row, column] = 0.6 * apart / allowed + 0.4 * (1.0 - alike)
    pairs = [(r, c) for r, c in zip(*linear_sum_assignment(cost), strict=True) if cost[r, c] < forbidden]
    taken = {column for _, column in pairs}
    matched = [(tracks[row], sightings[column]) for row, column in pairs]
    return matched, [seen for column, seen in enumerate(sightings) if column not in taken]


def between(track: Track, frame: int) -> tuple[np.ndarray, np.ndarray, list[Patch]]:
    """A person at a frame without a sighting: landmarks [33, 3], world [33, 3], likely masks.

    Inside the track both neighbours are blended linearly, and their masks moved along; outside,
    the nearest sighting is repeated. The confidence is lowered, so that a fit gives it less weight.
    """
    earlier, later = track.seen.before(frame), track.seen.after(frame)
    if earlier is None or later is None:
        known = later if earlier is None else earlier
        assert known is not None
        only = track.seen[known]
        keypoints = only.keypoints_33x3.copy()
        keypoints[:, 2] *= 0.2
        return keypoints, only.world_33x3.copy(), [only.patch]
    a, b = track.seen[earlier], track.seen[later]
    share = (frame - earlier) / (later - earlier)
    keypoints = (1 - share) * a.keypoints_33x3 + share * b.keypoints_33x3
    keypoints[:, 2] *= 0.5
    world = (1 - share) * a.world_33x3 + share * b.world_33x3
    centre = _centre(keypoints)
    moved = [seen.patch.moved(*(centre - _centre(seen.keypoints_33x3))) for seen in (a, b)]
    return keypoints.astype(np.float32), world.astype(np.float32), moved


def outline_between(track: Track, frame: int) -> Patch:
    """The likely outline of a person at a frame without a sighting: the nearest one, moved along."""
    near = track.seen[track.near(frame)]
    keypoints_33x3, _, _ = between(track, frame)
    return near.outline.moved(*(_centre(keypoints_33x3) - _centre(near.keypoints_33x3)))


def _agreement(patch: Patch, keypoints_33x3: np.ndarray, size: tuple[int, int]) -> float:
    """Overlap (Dice) of a mask with the body drawn from the landmarks; about 0.8 for good ones."""
    drawn = limbs(keypoints_33x3, frame_size=size)
    mask = Patch(drawn.corner, np.zeros_like(drawn.mask_hw))
    patch.paint_into(mask)
    both = int((mask.mask_hw & drawn.mask_hw).sum())
    return 2 * both / max(1, int(drawn.mask_hw.sum()) + int(patch.mask_hw.sum()))


def _centre(points_33xD: np.ndarray) -> np.ndarray:
    return np.asarray(points_33xD[[11, 12, 23, 24], :2].mean(0))


def _looks(frame_HW3: np.ndarray, patch: Patch) -> np.ndarray:
    x0, y0, x1, y1 = patch.box()
    if x0 == x1 or not patch.mask_hw.any():
        return np.full(64, 1 / 8, np.float32)
    step = max(1, (y1 - y0) // 96)
    region = np.ascontiguousarray(frame_HW3[y0:y1:step, x0:x1:step])
    hsv = cv2.cvtColor(region, cv2.COLOR_RGB2HSV)
    inside = patch.mask_hw[::step, ::step].astype(np.uint8)
    # Hue of dark or grey pixels is noise; saturation–value tell those apart.
    histogram = cv2.calcHist([hsv], [0, 1], inside, [4, 4], [0, 180, 0, 256]).ravel()
    brightness = cv2.calcHist([hsv], [1, 2], inside, [4, 12], [0, 256, 0, 256]).ravel()
    both = np.sqrt(np.concatenate([histogram, brightness]))
    return np.asarray(both / max(float(np.linalg.norm(both)), 1e-6), np.float32)
