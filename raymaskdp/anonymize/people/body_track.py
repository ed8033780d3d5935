"""A person's body along a track: which observations agree with each other, and what lies between two.

Nothing here runs a network. Shape suffixes: T frames, 33 landmarks, H×W pixels.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from raymaskdp.anonymize.people.masks import Patch, body_height, crop_to_content, limbs
from raymaskdp.anonymize.people.networks.mediapipe import Sighting
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.video.mask_film import SmallMask

MASK_THRESHOLD = 0.35
"""Least probability of a pixel to belong to the person; below 0.5, as a missed pixel is a leak."""

OUTLINE_THRESHOLD = 0.5
"""Least probability of a pixel of the outline, which is to be right and not safe."""

HIPS_SEEN = 0.5
"""Visibility of the hips below which they are a guess."""

STEADY = (0, 11, 12, 13, 14, 23, 24, 25, 26, 27, 28)
"""Landmarks that tell two people apart; fingers, toes and the face's details only add noise."""

JUMP, MOST_JUMPS = 0.02, 40.0
"""A distance of two sightings that follow each other (`distance`) that speaks against their names of left and
right as much as a nose behind the shoulders; it counts by its square, up to so many such noses."""

NOSE_MOST, AS_NAMED = 0.5, 0.3
"""Shoulder widths that a nose ahead of the shoulders, or behind them, counts at most; and what the network's
own names count for."""

END_JUMP = 0.03
"""Distance of the first or last sighting from its neighbour, beyond three of the neighbour's own steps, from
which it is a mistake."""

_OPPOSITE = {"left": "right", "right": "left"}

OTHER_SIDE = np.array(
    [MEDIAPIPE.row(re.sub("left|right", lambda side: _OPPOSITE[side[0]], p)) for p in MEDIAPIPE.points]
)
"""The row of the same landmark on the other side of the body."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BodySeen:
    """One sighting as a track keeps it: small, with its masks compressed.

    Attributes:
      score: how far to believe it, in [0, 1]: visibility of the torso, times the agreement of the
        landmarks with the mask (a skeleton imagined in a corner of a body has little).
      mask, likely: where the network saw the person, thresholded low, and where within that the person most
        likely is; both begin at `corner`.
      body_scale: the body's height scale, pixels; area: pixels of the mask.
    """

    keypoints_33x3: np.ndarray
    world_33x3: np.ndarray
    score: float
    corner: tuple[int, int]
    mask: SmallMask
    likely: SmallMask
    body_scale: float
    area: int

    @property
    def patch(self) -> Patch:
        """The mask as the network saw it, thresholded low."""
        return Patch(self.corner, self.mask.mask_HW)

    @property
    def outline(self) -> Patch:
        """The mask where the person most likely is."""
        return Patch(self.corner, self.likely.mask_HW)


class Observations(dict[int, BodySeen]):
    """Observations by frame, with the frames in order: a long track is not searched through every time."""

    def __init__(self, seen: Mapping[int, BodySeen]) -> None:
        super().__init__(seen)
        self.frames = sorted(seen)

    def __setitem__(self, frame: int, seen: BodySeen) -> None:
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
class BodyTrack:
    """One person's sightings by frame."""

    track_id: int
    seen: Observations = field(default_factory=lambda: Observations({}))

    def near(self, frame: int) -> int:
        """The frame with a sighting that is nearest to `frame`."""
        return self.seen.around(frame, 1)[0]

    def sure(self, least: float) -> int:
        """How many sightings have at least this score."""
        return sum(seen.score >= least for seen in self.seen.values())

    def is_consistent(self, seen: BodySeen, frame: int) -> bool:
        """Whether a body is as tall, and its mask as large, as the person was around that frame.

        Networks now and then draw a small skeleton, or half a mask, inside a person.
        """
        around = self.seen.around(frame, 9)
        others = [self.seen[known] for known in around if self.seen[known] is not seen]
        if not others:
            return True
        share = seen.area / max(float(np.median([other.area for other in others])), 1.0)
        if seen.keypoints_33x3[[23, 24], 2].mean() < HIPS_SEEN:
            return share > 0.4  # how tall somebody is whose hips are out of sight is a guess
        stretch = seen.body_scale / max(float(np.median([other.body_scale for other in others])), 1.0)
        return 0.72 < stretch < 1.4 and share > 0.6

    def fix_left_right(self) -> None:
        """Swap left and right where the network took a front for a back, or a back for a front, for a while.

        Nobody's left and right change places from one sighting to the next, and a nose is ahead of the
        shoulders. The names are taken that contradict this least over the whole track (Viterbi).
        """
        frames = self.seen.frames
        points = [self.seen[frame].keypoints_33x3 for frame in frames]
        sure = [float(each[:, 2].mean()) ** 2 for each in points]
        ahead = [nose_ahead(self.seen[frame].world_33x3) for frame in frames]
        cost_2 = np.zeros(2)  # of the names as they are, and of the others
        came_from: list[list[int]] = []
        for index, each in enumerate(points):
            if index:
                before = points[index - 1]
                stay, change = _jump(before, each), _jump(before, each[OTHER_SIDE])
                ways_22 = cost_2[:, None] + np.array([[stay, change], [change, stay]])
                came_from.append(ways_22.argmin(0).tolist())
                cost_2 = ways_22.min(0)
            nose = float(np.clip(ahead[index], -NOSE_MOST, NOSE_MOST))
            cost_2 = cost_2 + sure[index] * np.array([-nose, nose + AS_NAMED])
        names = [int(cost_2.argmin())] if frames else []
        for way in reversed(came_from):
            names.append(way[names[-1]])
        for frame in np.array(frames)[np.array(names[::-1], bool)].tolist():
            seen = self.seen[frame]
            self.seen[frame] = replace(
                seen,
                keypoints_33x3=seen.keypoints_33x3[OTHER_SIDE],
                world_33x3=seen.world_33x3[OTHER_SIDE],
            )

    def drop_outliers(self) -> None:
        """Drop sightings that the others around them contradict; gaps are filled from both sides."""
        doubtful = [frame for frame, seen in self.seen.items() if not self._fits(seen, frame)]
        for frame in doubtful if len(doubtful) < len(self.seen) / 2 else []:
            del self.seen[frame]

    def _fits(self, seen: BodySeen, frame: int) -> bool:
        if not self.is_consistent(seen, frame):
            return False
        a, b = self.seen.before(frame), self.seen.after(frame)
        if a is None or b is None:
            return self._fits_end(frame, b if a is None else a)
        if a < frame - 3 or b > frame + 3:
            return True
        share = (frame - a) / (b - a)
        points_a, points_b = self.seen[a].keypoints_33x3, self.seen[b].keypoints_33x3
        middle = (1 - share) * points_a + share * points_b
        # A jump there and back again: far from a path on which its neighbours agree with each other.
        return distance(middle, seen.keypoints_33x3) < 0.12 + 0.7 * distance(points_a, points_b)

    def _fits_end(self, frame: int, neighbour: int | None) -> bool:
        """Whether the first or last sighting may follow its neighbour, by how the neighbour itself moves."""
        if neighbour is None or abs(neighbour - frame) > 3:
            return True
        others = [near for near in self.seen.around(neighbour, 3) if near not in (frame, neighbour)]
        if not others or abs(others[0] - neighbour) > 3:
            return True
        here, there, beyond = (self.seen[at].keypoints_33x3 for at in (frame, neighbour, others[0]))
        return distance(here, there) < END_JUMP + 3 * distance(there, beyond)


def observed(sighting: Sighting, *, height: int, width: int) -> BodySeen:
    """A sighting as a track keeps it."""
    patch = crop_to_content(sighting.mask_hw > MASK_THRESHOLD, sighting.corner)
    left, top = (patch.corner[axis] - sighting.corner[axis] for axis in (0, 1))
    h, w = patch.mask_hw.shape
    outline_hw = sighting.mask_hw[top : top + h, left : left + w] > OUTLINE_THRESHOLD
    agreement = _agreement(patch, sighting.keypoints_33x3, (height, width))
    return BodySeen(
        keypoints_33x3=sighting.keypoints_33x3,
        world_33x3=sighting.world_33x3,
        score=sighting.score * agreement,
        corner=patch.corner,
        mask=SmallMask.of(patch.mask_hw),
        likely=SmallMask.of(outline_hw),
        body_scale=body_height(sighting.keypoints_33x3),
        area=int(patch.mask_hw.sum()),
    )


def nose_ahead(world_33x3: np.ndarray) -> float:
    """How far the nose is ahead of the shoulders by the way that the chest faces, in shoulder widths.

    0 where the landmarks in space have no chest. On real and rendered people it is below -0.1 in 2 % and 1 %
    of the frames.
    """
    left, right, hips = world_33x3[11], world_33x3[12], world_33x3[[23, 24]].mean(0)
    middle, across = (left + right) / 2, left - right
    faced = np.cross(across, middle - hips)
    size = float(np.linalg.norm(faced) * np.linalg.norm(across))
    return float((world_33x3[0] - middle) @ faced) / size if size > 1e-9 else 0.0


def _jump(before_33x3: np.ndarray, after_33x3: np.ndarray) -> float:
    return min((distance(before_33x3, after_33x3) / JUMP) ** 2, MOST_JUMPS)


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


def same_body(seen: BodySeen, other: BodySeen) -> bool:
    """Whether two sightings in one frame show one person."""
    apart = distance(seen.keypoints_33x3, other.keypoints_33x3)
    return apart < 0.1 or (apart < 0.4 and overlap(seen.patch, other.patch) > 0.6)


def interpolated(track: BodyTrack, frame: int) -> tuple[np.ndarray, np.ndarray, list[Patch]]:
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


def interpolated_outline(track: BodyTrack, frame: int) -> Patch:
    """The likely outline of a person at a frame without a sighting: the nearest one, moved along."""
    near = track.seen[track.near(frame)]
    keypoints_33x3, _, _ = interpolated(track, frame)
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
