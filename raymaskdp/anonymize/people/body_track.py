"""The body of one person along a track: which observations agree with each other, and the poses between two.

No network runs here. Shape suffixes: T frames, 33 landmarks, H×W pixels.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from raymaskdp.anonymize.people.masks import Patch, body_height, crop_to_content, limbs
from raymaskdp.anonymize.people.networks.mediapipe import BodyDetection
from raymaskdp.bodies.fitting.landmarks import MEDIAPIPE
from raymaskdp.video.mask_film import SmallMask

MASK_THRESHOLD = 0.35
"""Least probability of a pixel to belong to the person. It is below 0.5 because a missed pixel is a leak."""

OUTLINE_THRESHOLD = 0.5
"""Least probability of a pixel of the outline, which should be accurate and has no safety margin."""

HIPS_SEEN = 0.5
"""Visibility below which the positions of the hips are guesses."""

STEADY = (0, 11, 12, 13, 14, 23, 24, 25, 26, 27, 28)
"""Landmarks that distinguish two people. Fingers, toes and details of the face only add noise."""

JUMP, MOST_JUMPS = 0.02, 40.0
"""Distance of two consecutive observations (`distance`) that counts against their naming of left and right as
much as a nose behind the shoulders. The cost grows with the square of the distance, up to the cost of this
many such noses."""

NOSE_MOST, AS_NAMED = 0.5, 0.3
"""The most that a nose before or behind the shoulders counts, in shoulder widths; and the weight of the
network's own naming."""

END_JUMP = 0.03
"""The first or last observation of a track is an error if its distance from its neighbour exceeds this and
three of the neighbour's own steps."""

_OPPOSITE = {"left": "right", "right": "left"}

OTHER_SIDE = np.array(
    [MEDIAPIPE.row(re.sub("left|right", lambda side: _OPPOSITE[side[0]], p)) for p in MEDIAPIPE.points]
)
"""The row of the same landmark on the other side of the body."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyObservation:
    """One body in one frame as a track stores it: small, with compressed masks.

    Attributes:
      score: reliability in [0, 1]: visibility of the torso, times the agreement of the landmarks with the
        mask. A false skeleton inside a body has a low score.
      mask, likely: the person's pixels at the low threshold, and at the threshold of the outline; both begin
        at `corner`.
      body_scale: the body's height scale, pixels.
      area: pixels of the mask.
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
        """The mask at the low threshold."""
        return Patch(self.corner, self.mask.mask_HW)

    @property
    def outline(self) -> Patch:
        """The mask of the pixels that most likely show the person."""
        return Patch(self.corner, self.likely.mask_HW)


class Observations(dict[int, BodyObservation]):
    """Observations by frame. The frames are kept in order, so that a lookup does not search a long track."""

    def __init__(self, seen: Mapping[int, BodyObservation]) -> None:
        super().__init__(seen)
        self.frames = sorted(seen)

    def __setitem__(self, frame: int, seen: BodyObservation) -> None:
        if frame not in self:
            insort(self.frames, frame)
        super().__setitem__(frame, seen)

    def __delitem__(self, frame: int) -> None:
        super().__delitem__(frame)
        del self.frames[bisect_left(self.frames, frame)]

    def nearest(self, frame: int, most: int) -> list[int]:
        """At most `most` frames nearest to `frame`, the nearest first; of two at the same distance, the
        earlier first.
        """
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
    """One person's observations by frame."""

    track_id: int
    observations: Observations = field(default_factory=lambda: Observations({}))

    def nearest_frame(self, frame: int) -> int:
        """The frame with an observation that is nearest to `frame`."""
        return self.observations.nearest(frame, 1)[0]

    def count_confident(self, least: float) -> int:
        """Number of observations with at least this score."""
        return sum(seen.score >= least for seen in self.observations.values())

    def is_consistent(self, seen: BodyObservation, frame: int) -> bool:
        """Whether the body scale and the area of the mask agree with the neighbouring observations.

        Networks sometimes return a small skeleton, or half a mask, inside a person.
        """
        around = self.observations.nearest(frame, 9)
        others = [self.observations[known] for known in around if self.observations[known] is not seen]
        if not others:
            return True
        share = seen.area / max(float(np.median([other.area for other in others])), 1.0)
        if seen.keypoints_33x3[[23, 24], 2].mean() < HIPS_SEEN:
            return share > 0.4  # without visible hips the body scale is a guess
        stretch = seen.body_scale / max(float(np.median([other.body_scale for other in others])), 1.0)
        return 0.72 < stretch < 1.4 and share > 0.6

    def fix_left_right(self) -> None:
        """Swap left and right in the frames in which the network confused a person's front and back.

        Left and right do not change places from one observation to the next, and the nose is in front of the
        shoulders. The naming with the least total cost over the track is chosen (Viterbi).
        """
        frames = self.observations.frames
        points = [self.observations[frame].keypoints_33x3 for frame in frames]
        sure = [float(each[:, 2].mean()) ** 2 for each in points]
        ahead = [nose_ahead(self.observations[frame].world_33x3) for frame in frames]
        cost_2 = np.zeros(2)  # of the naming as it is, and of the swapped one
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
            seen = self.observations[frame]
            self.observations[frame] = replace(
                seen,
                keypoints_33x3=seen.keypoints_33x3[OTHER_SIDE],
                world_33x3=seen.world_33x3[OTHER_SIDE],
            )

    def drop_outliers(self) -> None:
        """Drop observations that contradict their neighbours. The gaps are interpolated later."""
        doubtful = [frame for frame, seen in self.observations.items() if not self._fits(seen, frame)]
        for frame in doubtful if len(doubtful) < len(self.observations) / 2 else []:
            del self.observations[frame]

    def _fits(self, seen: BodyObservation, frame: int) -> bool:
        if not self.is_consistent(seen, frame):
            return False
        a, b = self.observations.before(frame), self.observations.after(frame)
        if a is None or b is None:
            return self._fits_end(frame, b if a is None else a)
        if a < frame - 3 or b > frame + 3:
            return True
        share = (frame - a) / (b - a)
        points_a, points_b = self.observations[a].keypoints_33x3, self.observations[b].keypoints_33x3
        middle = (1 - share) * points_a + share * points_b
        # A jump and a return: far from a path on which both neighbours agree with each other.
        return distance(middle, seen.keypoints_33x3) < 0.12 + 0.7 * distance(points_a, points_b)

    def _fits_end(self, frame: int, neighbour: int | None) -> bool:
        """Whether the first or last observation is consistent with its neighbour, given how the neighbour
        moves.
        """
        if neighbour is None or abs(neighbour - frame) > 3:
            return True
        others = [near for near in self.observations.nearest(neighbour, 3) if near not in (frame, neighbour)]
        if not others or abs(others[0] - neighbour) > 3:
            return True
        here, there, beyond = (self.observations[at].keypoints_33x3 for at in (frame, neighbour, others[0]))
        return distance(here, there) < END_JUMP + 3 * distance(there, beyond)


def to_observation(detection: BodyDetection, *, height: int, width: int) -> BodyObservation:
    """A detection as a track stores it."""
    patch = crop_to_content(detection.mask_hw > MASK_THRESHOLD, detection.corner)
    left, top = (patch.corner[axis] - detection.corner[axis] for axis in (0, 1))
    h, w = patch.mask_hw.shape
    outline_hw = detection.mask_hw[top : top + h, left : left + w] > OUTLINE_THRESHOLD
    agreement = _agreement(patch, detection.keypoints_33x3, (height, width))
    return BodyObservation(
        keypoints_33x3=detection.keypoints_33x3,
        world_33x3=detection.world_33x3,
        score=detection.score * agreement,
        corner=patch.corner,
        mask=SmallMask.of(patch.mask_hw),
        likely=SmallMask.of(outline_hw),
        body_scale=body_height(detection.keypoints_33x3),
        area=int(patch.mask_hw.sum()),
    )


def nose_ahead(world_33x3: np.ndarray) -> float:
    """Distance of the nose in front of the shoulders, along the direction that the chest faces, in shoulder
    widths.

    0 if the 3-D landmarks have no chest. On real and on rendered people it is below -0.1 in 2 % and in 1 % of
    the frames.
    """
    left, right, hips = world_33x3[11], world_33x3[12], world_33x3[[23, 24]].mean(0)
    middle, across = (left + right) / 2, left - right
    faced = np.cross(across, middle - hips)
    size = float(np.linalg.norm(faced) * np.linalg.norm(across))
    return float((world_33x3[0] - middle) @ faced) / size if size > 1e-9 else 0.0


def _jump(before_33x3: np.ndarray, after_33x3: np.ndarray) -> float:
    return min((distance(before_33x3, after_33x3) / JUMP) ** 2, MOST_JUMPS)


def distance(points_33x2: np.ndarray, others_33x2: np.ndarray) -> float:
    """Median distance of two bodies' landmarks, as a share of the larger body scale."""
    apart = np.linalg.norm(points_33x2[STEADY, :2] - others_33x2[STEADY, :2], axis=1)
    body_scale = max(body_height(points_33x2), body_height(others_33x2), 1.0)
    return float(np.median(apart) / body_scale)


def overlap(patch: Patch, other: Patch) -> float:
    """Intersection of two patches as a share of the smaller one; 0 if either is empty."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = patch.box(), other.box()
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    if x0 >= x1 or y0 >= y1:
        return 0.0
    first = patch.mask_hw[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
    second = other.mask_hw[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
    smaller = min(int(patch.mask_hw.sum()), int(other.mask_hw.sum()))
    return int((first & second).sum()) / smaller if smaller else 0.0


def same_body(seen: BodyObservation, other: BodyObservation) -> bool:
    """Whether two observations in one frame show the same person."""
    apart = distance(seen.keypoints_33x3, other.keypoints_33x3)
    return apart < 0.1 or (apart < 0.4 and overlap(seen.patch, other.patch) > 0.6)


def interpolate(track: BodyTrack, frame: int) -> tuple[np.ndarray, np.ndarray, list[Patch]]:
    """A person at a frame without an observation: landmarks [33, 3], world [33, 3], likely masks.

    Inside the track, both neighbours are blended linearly and their masks are moved accordingly. Outside it,
    the nearest observation is repeated. The confidence is lowered, so that a fit gives the frame less weight.
    """
    earlier, later = track.observations.before(frame), track.observations.after(frame)
    if earlier is None or later is None:
        known = later if earlier is None else earlier
        assert known is not None
        only = track.observations[known]
        keypoints = only.keypoints_33x3.copy()
        keypoints[:, 2] *= 0.2
        return keypoints, only.world_33x3.copy(), [only.patch]
    a, b = track.observations[earlier], track.observations[later]
    share = (frame - earlier) / (later - earlier)
    keypoints = (1 - share) * a.keypoints_33x3 + share * b.keypoints_33x3
    keypoints[:, 2] *= 0.5
    world = (1 - share) * a.world_33x3 + share * b.world_33x3
    centre = _centre(keypoints)
    moved = [seen.patch.moved(*(centre - _centre(seen.keypoints_33x3))) for seen in (a, b)]
    return keypoints.astype(np.float32), world.astype(np.float32), moved


def interpolate_outline(track: BodyTrack, frame: int) -> Patch:
    """The likely outline of a person at a frame without an observation: the nearest outline, moved with the
    body.
    """
    near = track.observations[track.nearest_frame(frame)]
    keypoints_33x3, _, _ = interpolate(track, frame)
    return near.outline.moved(*(_centre(keypoints_33x3) - _centre(near.keypoints_33x3)))


def _agreement(patch: Patch, keypoints_33x3: np.ndarray, size: tuple[int, int]) -> float:
    """Overlap (Dice) of a mask with the limbs drawn from the landmarks; about 0.8 for good ones."""
    drawn = limbs(keypoints_33x3, frame_size=size)
    mask = Patch(drawn.corner, np.zeros_like(drawn.mask_hw))
    patch.paint_into(mask)
    both = int((mask.mask_hw & drawn.mask_hw).sum())
    return 2 * both / max(1, int(drawn.mask_hw.sum()) + int(patch.mask_hw.sum()))


def _centre(points_33xD: np.ndarray) -> np.ndarray:
    return np.asarray(points_33xD[[11, 12, 23, 24], :2].mean(0))
