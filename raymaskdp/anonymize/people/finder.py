"""Find and follow every person of a video, or say in which frames that cannot be vouched for.

    people = FindPeople(PoseConfig())(stream("video.mp4"), probe("video.mp4"))
    assert not people.suspicious

Every frame is looked at one image at a time (MediaPipe's video mode loses and swaps people): first
around each known person, then, with everyone found painted over, at the whole frame for others, and
now and then in tiles for small ones. A new or regained person is followed back through the last
half second. Independent networks (faces, foreground people) then check that nobody is left
uncovered. What cannot be shown to be covered is reported as suspicious; this stage never guesses
in favour of publishing.

Shape suffixes: T frames, H×W pixels, h×w low resolution, 33 landmarks, B bytes of a packed mask.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from raymaskdp import check
from raymaskdp.anonymize.people.evidence import (
    NO_BOXES,
    Box,
    Evidence,
    close_faces,
    covers_face,
    suspicions,
    uncovered_regions,
)
from raymaskdp.anonymize.people.hog_detector import UprightPeople
from raymaskdp.anonymize.people.masks import Patch, body_height, grow, limbs, union
from raymaskdp.anonymize.people.mediapipe import FOREGROUND_SIDE, PoseNetworks, View, halved
from raymaskdp.anonymize.people.onnx_detector import OnnxPeople
from raymaskdp.anonymize.people.people import People, Person, Suspicion, packed_size
from raymaskdp.anonymize.people.tracker import (
    Seen,
    Sightings,
    Track,
    assign,
    between,
    distance,
    distinct,
    outline_between,
    remember,
    same_body,
)
from raymaskdp.errors import UserError
from raymaskdp.video.mask_film import MaskFilm, SmallMask
from raymaskdp.video.masks import pack, unpack
from raymaskdp.video.reader import VideoInfo


@dataclass(frozen=True, kw_only=True)
class PoseConfig:
    """How people are found.

    Attributes:
      source: where poses come from, a name in `sources.SOURCES`: "mediapipe" looks for people in the
        video; the others ("ntu", "smarthome", "smpl" and those of entry points) read files.
      skeletons: the folder of those files, one a video.
      veto: independent detectors look for people whom the files do not know; "mediapipe" always asks some.
      pose_model: a PoseLandmarker bundle; None takes the one of `raymaskdp models pull`.
      confidence: least confidence of the body networks, in (0, 1).
      max_people: most people a frame may hold; a frame that reaches it is suspicious (a crowd).
      look_every: frames between two looks at the whole frame with the known people painted over.
      tiles_every: frames between two looks in tiles, for small people; 0 for never.
      max_gap: longest time a person may go unseen between two sightings and be filled in, seconds.
      dilation: growth of the masks, as a share of the body's height.
      veto_faces: confidence from which an uncovered face, looked at closely, makes a frame suspicious.
      veto_foreground: confidence from which a pixel counts as somebody's for the segmenter.
      veto_detector: an ONNX file with one more detector of people (`onnx_detector`) that looks wherever the
        others do; None for none.
      veto_side: side of that detector's picture, pixels.
      veto_confidence: confidence from which an uncovered person of that detector is suspicious.
    """

    source: str = "mediapipe"
    skeletons: Path | None = None
    veto: bool = True
    pose_model: Path | None = None
    confidence: float = 0.35
    max_people: int = 6
    look_every: int = 3
    tiles_every: int = 15
    max_gap: float = 0.5
    dilation: float = 0.02
    veto_faces: float = 0.65
    veto_foreground: float = 0.6
    veto_detector: Path | None = None
    veto_side: int = 640
    veto_confidence: float = 0.5

    def __post_init__(self) -> None:
        check.in_range("confidence", self.confidence, low=0, high=1, open_low=True, open_high=True)
        check.in_range("max_people", self.max_people, low=1, high=50)
        check.in_range("look_every", self.look_every, low=1)
        check.in_range("tiles_every", self.tiles_every, low=0)
        check.in_range("max_gap", self.max_gap, low=0)
        check.in_range("dilation", self.dilation, low=0, high=0.5)
        check.in_range("veto_faces", self.veto_faces, low=0, high=1, open_low=True)
        check.in_range("veto_foreground", self.veto_foreground, low=0, high=1, open_low=True)
        check.in_range("veto_confidence", self.veto_confidence, low=0, high=1, open_low=True, open_high=True)
        check.in_range("veto_side", self.veto_side, low=32, high=4096)
        if self.veto_side % 32:
            raise UserError(f"veto_side must be a multiple of 32, not {self.veto_side}.")
        if self.veto_detector is not None and not self.veto:
            raise UserError(
                "veto_detector names a detector that veto=false does not ask; leave one of them out."
            )


LEAST_SCORE = 0.3
"""Sightings below this score (`tracker.Seen`) are imagined; they do not continue a track either."""

BIRTH_SCORE = 0.5
"""Least score with which an unknown body starts a track of its own; good sightings have 0.7 to 0.9."""

SURE_SCORE = 0.8
"""Score from which an unknown body need not be seen beside others as well as without them."""

STRANGER_SCORE = 0.7
"""Least score with which a body that starts no track makes its frame suspicious."""

LEAST_STRANGER = 0.005
"""Least share of the frame of an uncovered region of people that is looked at closely, or of a stranger."""

REACH = 2.4
"""Fastest believable motion, body heights a second (a sprinter covers about five metres)."""


def people_detector(config: PoseConfig) -> OnnxPeople | None:
    """The detector that a configuration names, if any; raises `UserError` if it is unfit."""
    if config.veto_detector is None:
        return None
    return OnnxPeople(config.veto_detector, side=config.veto_side, confidence=config.veto_confidence)


class FindPeople:
    """The pose stage: frames of one video in, `People` out. Call it as often as you like."""

    def __init__(self, config: PoseConfig) -> None:
        self.config = config
        self._networks = PoseNetworks(
            pose_model=config.pose_model, confidence=config.confidence, limit=config.max_people
        )
        self._people = people_detector(config)

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo) -> People:
        """Look for everybody in `frames`, uint8 RGB [H, W, 3] each.

        Frames are read once and only the last half second of them is kept.
        """
        search = _Search(self.config, self._networks, self._people, info)
        for frame_HW3 in frames:
            search.look(frame_HW3)
        return search.finish()


@dataclass(eq=False)
class _Search:
    """What is known of one video while its frames pass by."""

    config: PoseConfig
    networks: PoseNetworks
    people: OnnxPeople | None
    info: VideoInfo
    tracks: list[Track] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)

    strangers: list[tuple[int, Seen]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fps = float(self.info.fps)
        self.reach = REACH / self.fps
        self.gap = max(1, round(self.config.max_gap * self.fps))
        # Regions in which a close look found nobody, so that it is not repeated in every frame.
        self.barren: deque[Box] = deque(maxlen=8)
        self.upright = UprightPeople()
        self.recent: deque[tuple[int, np.ndarray]] = deque(maxlen=self.gap + 1)

    @property
    def frame(self) -> int:
        """Number of frames seen so far, which is the index of the next one."""
        return len(self.evidence)

    def look(self, frame_HW3: np.ndarray) -> None:
        """Take in the next frame."""
        now = self.frame
        size = frame_HW3.shape[:2]
        active = [track for track in self.tracks if now - track.last <= (self.gap if track.settled else 3)]
        found: list[Seen] = []
        for track in active:
            if any(self._where_expected(track, seen, now) for seen in found):
                continue
            found = distinct([*found, *self._bodies(frame_HW3, _roi(track, now, size), [])])
        matched, spare = assign(active, found, now, reach=self.reach)
        followed = [track for track, _ in matched]
        missing = [t for t in active if t not in followed and now - t.last <= self.gap // 3 + 1]
        for track in missing:
            found = distinct([*found, *self._bodies(frame_HW3, _roi(track, now, size, 1.5), found)])
        looks_around = now % self.config.look_every == 0
        if missing or looks_around:
            found = self._look_everywhere(frame_HW3, found, tiles=self._tiles_due(now))
        small_HW3 = halved(frame_HW3, FOREGROUND_SIDE)
        # The two second opinions take turns: nobody comes and goes within two frames.
        if now % 2 == 0:
            self.foreground_hw = self.networks.foreground(small_HW3) >= self.config.veto_foreground
            found = self._look_at_strangers(frame_HW3, found, self.foreground_hw)
        matched, spare = assign(active, found, now, reach=self.reach)
        self.recent.append((now, frame_HW3))
        for track, seen in matched:
            gap = now - track.last
            track.seen[now] = seen
            if gap > 1:
                self._look_back(track, now)
        for seen in spare:
            others = [other for other in found if other is not seen]
            again = self._seen_again(frame_HW3, seen, others)
            # With people painted over, the network finds some in pictures on the wall, too.
            apart = not others or seen.score >= SURE_SCORE or self._seen_again(frame_HW3, seen, [])
            if not (again and apart):
                if seen.score >= STRANGER_SCORE and seen.area >= LEAST_STRANGER * size[0] * size[1]:
                    self.strangers.append((now, seen))
                continue
            track = Track(track_id=len(self.tracks), seen=Sightings({now: seen}))
            self.tracks.append(track)
            self._look_back(track, now)
        self.evidence.append(
            Evidence(
                crowded=len(found) >= self.config.max_people,
                faces=self._faces(frame_HW3, small_HW3, found) if now % 2 or now == 0 else NO_BOXES,
                people=self.people(frame_HW3) if self.people and looks_around else NO_BOXES,
                upright=self.upright(frame_HW3) if now % self.gap == 0 else NO_BOXES,
                foreground=SmallMask.of(self.foreground_hw),
            )
        )

    def _faces(self, frame_HW3: np.ndarray, small_HW3: np.ndarray, found: list[Seen]) -> np.ndarray:
        """Faces [N, 5] outside the bodies found that are still faces when looked at closely."""
        width = frame_HW3.shape[1]
        covered_hw = _cover(found, small_HW3.shape[:2], width)
        seen_N5 = self.networks.faces(small_HW3)
        strange_N = np.array([not covers_face(covered_hw, face_5) for face_5 in seen_N5], bool)
        seen_N5[:, :4] *= width / small_HW3.shape[1]
        return close_faces(self.networks, frame_HW3, seen_N5[strange_N])

    def _look_at_strangers(
        self, frame_HW3: np.ndarray, found: list[Seen], foreground_hw: np.ndarray
    ) -> list[Seen]:
        """Look closely where the segmenter sees a person and no body was found."""
        size = frame_HW3.shape[:2]
        covered_hw = _cover(found, foreground_hw.shape, size[1])
        for box in uncovered_regions(covered_hw, foreground_hw, LEAST_STRANGER, width=size[1]):
            if any(_alike(box, known) for known in self.barren):
                continue
            new = [
                seen
                for seen in self._bodies(frame_HW3, _around(box, size), found)
                if not any(_covered(seen, other) for other in found)
            ]
            if not new:
                self.barren.append(box)
            found = distinct([*found, *new])
        return found

    def _where_expected(self, track: Track, seen: Seen, now: int) -> bool:
        """Whether `seen` is where `track` is expected, so that it need not be looked for again."""
        return distance(track.expected(now), seen.keypoints_33x3) < 0.1

    def _tiles_due(self, now: int) -> bool:
        every = self.config.tiles_every
        return every > 0 and now % every == 0

    def _bodies(self, frame_HW3: np.ndarray, box: Box, hidden: list[Seen]) -> list[Seen]:
        """Bodies in a part of the frame with those in `hidden` painted over."""
        view = _paint_over(View.of(frame_HW3, box), hidden)
        found = [remember(sighting, frame_HW3) for sighting in self.networks.bodies(view)]
        return [seen for seen in found if seen.score >= LEAST_SCORE]

    def _look_everywhere(self, frame_HW3: np.ndarray, found: list[Seen], *, tiles: bool) -> list[Seen]:
        """Paint over who was found and look again, until nobody new turns up."""
        height, width = frame_HW3.shape[:2]
        boxes: list[Box] = [(0, 0, width, height)]
        if tiles:
            boxes += _tiles(height, width)
        for box in boxes:
            for _ in range(self.config.max_people):
                new = [
                    seen
                    for seen in self._bodies(frame_HW3, box, found)
                    if not any(_covered(seen, other) for other in found)
                ]
                if not new:
                    break
                before = len(found)
                found = distinct([*found, *new])
                if len(found) == before:
                    break
        return found

    def _seen_again(self, frame_HW3: np.ndarray, seen: Seen, hidden: list[Seen]) -> bool:
        """Whether an unknown body is found again by a closer look with others painted over."""
        if seen.score < BIRTH_SCORE:
            return False
        track = Track(track_id=-1, seen=Sightings({0: seen}))
        for zoom in (1.0, 1.8, 3.0):  # the network may miss in one crop what it sees in another
            box = _roi(track, 0, frame_HW3.shape[:2], zoom)
            if any(same_body(seen, other) for other in self._bodies(frame_HW3, box, hidden)):
                return True
        return False

    def _look_back(self, track: Track, now: int) -> None:
        """Follow a person who was just found, or found again, back through the kept frames."""
        missed = 0
        for index, frame_HW3 in reversed(self.recent):
            if index >= now:
                continue
            if index in track.seen or missed > 2:
                return
            others = [
                other.seen[index] for other in self.tracks if other is not track and index in other.seen
            ]
            box = _roi(track, index, frame_HW3.shape[:2])
            found = [
                seen
                for seen in self._bodies(frame_HW3, box, others)
                if not any(_covered(seen, other) for other in others)
            ]
            matched, _ = assign([track], found, index, reach=self.reach)
            if matched:
                track.seen[index] = matched[0][1]
                missed = 0
            else:
                missed += 1

    def finish(self) -> People:
        """The people of all frames, with gaps filled and masks made generous."""
        num_frames = self.frame
        for track in self.tracks:
            track.mend_sides()
            track.forget_doubtful()
        tracks = [track for track in self.tracks if not self._is_glimpse(track)]
        glimpses = [track for track in self.tracks if self._is_glimpse(track)]
        persons = [self._person(track, num_frames) for track in tracks]
        doubts = self._doubts(tracks, num_frames)
        people = People(
            width=self.info.width,
            height=self.info.height,
            fps=self.fps,
            num_frames=num_frames,
            persons=tuple(persons),
            suspicious=(),
        )
        doubts += suspicions(people, self.evidence, self.config.veto_faces)
        union_TB = people.union_TB()
        brief = [(frame, seen) for track in glimpses for frame, seen in track.seen.items()]
        for frame, seen in brief + self.strangers:
            if not _inside(seen.patch, unpack(union_TB[frame], people.height, people.width)):
                doubts.append(Suspicion(frame=frame, reason="somebody was seen too briefly to be followed"))
        return People(
            width=people.width,
            height=people.height,
            fps=people.fps,
            num_frames=num_frames,
            persons=people.persons,
            suspicious=tuple(sorted(set(doubts), key=lambda doubt: (doubt.frame, doubt.reason))),
        )

    def _is_glimpse(self, track: Track) -> bool:
        return not track.settled and self.frame >= 3

    def _doubts(self, tracks: list[Track], num_frames: int) -> list[Suspicion]:
        doubts: list[Suspicion] = []
        for track in tracks:
            known = track.seen.frames
            for earlier, later in itertools.pairwise(known):
                if later - earlier - 1 > self.gap:
                    doubts += [
                        Suspicion(frame=frame, reason="a person was lost for too long to be filled in")
                        for frame in range(earlier + 1, later)
                    ]
            if known[0] > 0 and not self._at_border(track.seen[known[0]]):
                doubts.append(Suspicion(frame=known[0] - 1, reason="a person appeared inside the frame"))
            if known[-1] < num_frames - 1 and not self._at_border(track.seen[known[-1]]):
                doubts.append(Suspicion(frame=known[-1] + 1, reason="a person was lost inside the frame"))
        return doubts

    def _at_border(self, seen: Seen) -> bool:
        """Whether a person is so near the frame's edge that the next step may lead out of it."""
        points = seen.keypoints_33x3[:, :2]
        reach = 1.5 * self.reach * body_height(points)
        low, high = points.min(0), points.max(0)
        return bool(
            low[0] < reach
            or high[0] > self.info.width - reach
            or low[1] < 0
            or high[1] > self.info.height + 0.1 * body_height(points)
        )

    def _person(self, track: Track, num_frames: int) -> Person:
        height, width = self.info.height, self.info.width
        visible_T = np.zeros(num_frames, bool)
        detected_T = np.zeros(num_frames, bool)
        keypoints_T33x3 = np.full((num_frames, 33, 3), np.nan, np.float32)
        world_T33x3 = np.full((num_frames, 33, 3), np.nan, np.float32)
        masks_T, outlines_T = (MaskFilm(num_frames, packed_size(height, width)) for _ in range(2))
        # A person comes and goes a little before and after being recognised.
        fringe = max(1, round(0.1 * self.fps))
        span = range(max(0, track.first - fringe), min(num_frames, track.last + 1 + fringe))
        for frame in span:
            patches: list[Patch]
            if frame in track.seen:
                seen = track.seen[frame]
                keypoints_T33x3[frame], world_T33x3[frame] = seen.keypoints_33x3, seen.world_33x3
                patches = [seen.patch]
                detected_T[frame] = True
            else:
                keypoints_T33x3[frame], world_T33x3[frame], patches = between(track, frame)
            # Masks flicker and shadows lag behind, so each takes in its neighbours' too.
            patches += [track.seen[n].patch for n in (frame - 1, frame + 1) if n in track.seen]
            visible_T[frame] = True
            mask_HW = self._generous(patches, keypoints_T33x3[frame], frame)
            masks_T[frame] = pack(mask_HW)
            outlines_T[frame] = pack(self._outline(track, frame) & mask_HW)
        return Person(
            track_id=track.track_id,
            visible_T=visible_T,
            detected_T=detected_T,
            keypoints_TL3=keypoints_T33x3,
            world_TL3=world_T33x3,
            masks_T=masks_T,
            outlines_T=outlines_T,
        )

    def _outline(self, track: Track, frame: int) -> np.ndarray:
        """The pixels that most likely show a person, bool [H, W]."""
        outline_HW = np.zeros((self.info.height, self.info.width), bool)
        if frame not in track.seen:
            outline_between(track, frame).paint(outline_HW)
            return outline_HW
        seen = track.seen[frame]
        seen.outline.paint(outline_HW)
        # What both neighbours are sure of and this frame thinks possible is no hole: masks flicker.
        sure = [track.seen[n].outline for n in (frame - 1, frame + 1) if n in track.seen]
        if len(sure) == 2:
            steady = Patch(seen.corner, seen.patch.mask_hw.copy())
            for patch in sure:
                there = Patch(seen.corner, np.zeros(seen.mask.shape, bool))
                patch.paint_into(there)
                steady.mask_hw[~there.mask_hw] = False
            steady.paint(outline_HW)
        return outline_HW

    def _generous(self, patches: list[Patch], keypoints_33x3: np.ndarray, frame: int) -> np.ndarray:
        """The frame's mask of one person, bool [H, W]."""
        height, width = self.info.height, self.info.width
        tall = body_height(keypoints_33x3)
        body = union([*patches, limbs(keypoints_33x3, frame_size=(height, width))])
        # What the other network calls a person next to this body belongs to it: hair, bags, skirts.
        near = grow(body, 0.05 * tall)
        theirs = self.evidence[frame].foreground_at(near.box(), height, width)
        mask_HW = np.zeros((height, width), bool)
        whole = union([body, Patch(near.corner, near.mask_hw & theirs)])
        grow(whole, max(2.0, self.config.dilation * tall)).paint(mask_HW)
        return mask_HW


def _covered(seen: Seen, other: Seen) -> bool:
    """Whether a body seen with others painted over is but the paint over `other`."""
    if same_body(seen, other):
        return True
    patch, known = seen.patch, other.patch
    if not patch.mask_hw.any():
        return True
    inside = Patch(patch.corner, np.zeros_like(patch.mask_hw))
    known.paint_into(inside)
    return bool((inside.mask_hw & patch.mask_hw).sum() > 0.6 * patch.mask_hw.sum())


def _inside(patch: Patch, mask_HW: np.ndarray) -> bool:
    """Whether most of a patch is covered by a frame's mask."""
    height, width = mask_HW.shape
    whole = np.zeros((height, width), bool)
    patch.paint(whole)
    return bool((whole & mask_HW).sum() >= 0.75 * whole.sum())


def _roi(track: Track, frame: int, size: tuple[int, int], zoom: float = 1.0) -> Box:
    """Where to look for a track: its last mask and landmarks, moved on, with a margin."""
    height, width = size
    near = track.near(frame)
    points = track.expected(frame)
    shift = (points - track.seen[near].keypoints_33x3[:, :2])[0]
    x0, y0, x1, y1 = track.seen[near].patch.box()
    inside = np.clip(points, (-0.2 * width, -0.2 * height), (1.2 * width, 1.2 * height))
    low = np.minimum(inside.min(0), (x0 + shift[0], y0 + shift[1]))
    high = np.maximum(inside.max(0), (x1 + shift[0], y1 + shift[1]))
    margin = zoom * (0.25 + 0.02 * min(abs(frame - near), 10)) * max(body_height(points), 16.0)
    left, top = np.floor(np.clip(low - margin, 0, (width - 2, height - 2))).astype(int)
    right, bottom = np.ceil(np.clip(high + margin, (2, 2), (width, height))).astype(int)
    return int(left), int(top), int(max(right, left + 2)), int(max(bottom, top + 2))


def _around(box: Box, size: tuple[int, int]) -> Box:
    """A box twice as large about the same centre, inside the frame."""
    x0, y0, x1, y1 = box
    margin = max(x1 - x0, y1 - y0) // 2
    return max(0, x0 - margin), max(0, y0 - margin), min(size[1], x1 + margin), min(size[0], y1 + margin)


def _cover(found: list[Seen], size: tuple[int, int], width: int) -> np.ndarray:
    """Bool mask of bodies at the low resolution `size` of a frame that is `width` pixels wide."""
    covered_hw = np.zeros(size, np.uint8)
    for seen in found:
        _draw(covered_hw, seen.patch, (0, 0), size[1] / width, 0.06 * body_height(seen.keypoints_33x3))
    return covered_hw > 0


def _alike(box: Box, other: Box) -> bool:
    """Whether two boxes overlap by more than half of their union."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    high = min(box[3], other[3]) - max(box[1], other[1])
    both = max(wide, 0) * max(high, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return 2 * both > sum(areas) - both


def _tiles(height: int, width: int) -> list[Box]:
    """Overlapping squares that together show the frame larger; none for small frames."""
    side = round(0.62 * min(height, width))
    if side < 120:
        return []
    rows = np.linspace(0, height - side, -(-(height - side) * 3 // (2 * side)) + 1).round().astype(int)
    columns = np.linspace(0, width - side, -(-(width - side) * 3 // (2 * side)) + 1).round().astype(int)
    return [(int(x), int(y), int(x + side), int(y + side)) for y in rows for x in columns]


def _paint_over(view: View, found: list[Seen]) -> View:
    """The view with people replaced by what surrounds them, smoothly, so that no outline is left."""
    x0, y0, x1, _ = view.box
    h, w = view.image_hw3.shape[:2]
    scale = w / (x1 - x0)
    mask_hw = np.zeros((h, w), np.uint8)
    for seen in found:
        _draw(mask_hw, seen.patch, (x0, y0), scale, 0.03 * body_height(seen.keypoints_33x3))
    if not mask_hw.any():
        return view
    size = (max(1, w // 8), max(1, h // 8))
    keep = (mask_hw == 0).astype(np.float32)
    weight = cv2.resize(keep, size, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(view.image_hw3 * keep[..., None], size, interpolation=cv2.INTER_AREA)
    spread = max(size) / 8
    weight = cv2.GaussianBlur(weight, (0, 0), spread)
    colour = cv2.GaussianBlur(colour, (0, 0), spread)
    fill = cv2.resize(colour / np.maximum(weight, 1e-3)[..., None], (w, h))
    painted = view.image_hw3.copy()
    hidden = mask_hw > 0
    painted[hidden] = np.clip(fill[hidden], 0, 255).astype(np.uint8)
    return View(box=view.box, image_hw3=painted)


def _draw(mask_hw: np.ndarray, patch: Patch, origin: tuple[int, int], scale: float, margin: float) -> None:
    """Draw a patch of the frame, dilated by `margin` pixels, into the mask of a scaled view."""
    if not patch.mask_hw.any():
        return
    x, y = (scale * (patch.corner[axis] - origin[axis]) for axis in (0, 1))
    shift = np.array([[scale, 0, x], [0, scale, y]])
    h, w = mask_hw.shape
    drawn = cv2.warpAffine(patch.mask_hw.astype(np.uint8), shift, (w, h), flags=cv2.INTER_NEAREST)
    size = 2 * max(2, round(scale * margin)) + 1
    mask_hw |= cv2.dilate(drawn, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
