"""Detect and track the people of a video by boxes, then compute landmarks and a mask for each of them.

    people = FindPeople(PoseConfig())(VideoFrames("video.mp4"), probe("video.mp4"))

There are two passes over the frames. In the first, detectors process each frame (`frame_detector`), and the
boxes are linked to tracks (`box_tracker`). In the second, the landmark network processes each person
(`networks.landmark_tracker`). A person with landmarks gets a pose and a mask. A person without is masked by a
box. A track that is too brief to be a person for certain is a doubt: a region that later stages redact, or
for which they refuse the frame.

Shape suffixes: T frames, H×W pixels, 33 landmarks, N boxes, 4 coordinates, B bytes of a packed mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.body_track import (
    BodyTrack,
    interpolate,
    interpolate_outline,
)
from raymaskdp.anonymize.people.box_search import BoxSearch, frame_batches
from raymaskdp.anonymize.people.box_tracker import HELD_S, BoxTrack
from raymaskdp.anonymize.people.certainty import BODIES, BOX_MARGIN, PART, doubts_of, is_certain, is_doubtful
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.masks import (
    Patch,
    body_height,
    box_patch,
    dilate_patch,
    is_cut_off,
    limbs,
    union,
)
from raymaskdp.anonymize.people.networks.blazepose import BlazePose
from raymaskdp.anonymize.people.networks.from_settings import configured_networks
from raymaskdp.anonymize.people.networks.hub.evidence import Evidence, corrected, evidence_of
from raymaskdp.anonymize.people.networks.landmark_tracker import SURE_SCORE, LandmarkTracker
from raymaskdp.anonymize.people.networks.mediapipe import FOREGROUND_SIDE, PoseNetworks, halved
from raymaskdp.anonymize.people.people import Doubt, People, Person, packed_size
from raymaskdp.anonymize.people.uncovered import uncovered_parts
from raymaskdp.video.mask_film import MaskFilm, SmallMask
from raymaskdp.video.masks import pack
from raymaskdp.video.reader import VideoInfo

POINT_SEEN = 0.3
"""Least visibility of a landmark that is observed and not guessed."""

LEAST_SIDE = 24
"""Least longer side, in pixels, of a box in which landmarks are computed."""


class FindPeople:
    """The pose stage: frames of one video in, `People` out. It can be called for several videos.

    Args:
      config: settings.
      gpus: share of a GPU for the networks that settings name; 0 for the CPU.
    """

    def __init__(self, config: PoseConfig, gpus: float = 0.0) -> None:
        self.config = config
        self._given = configured_networks(config, gpus)
        self._search = BoxSearch(self._given.detector)
        self._landmarks = BlazePose(config.landmarks)
        self._networks = PoseNetworks(confidence=config.confidence, limit=1)

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo) -> People:
        """The people of a video.

        Args:
          frames: uint8 RGB [H, W, 3] each; an iterable that can be iterated twice, so not an iterator.
          info: size and rate.
        """
        looked = self._search(frames, info)
        bodies = LandmarkTracker(self._landmarks, presence=self.config.confidence, fps=float(info.fps))
        close = _BodySearch(self.config, bodies, self._networks, looked.tracks, info)
        for some in frame_batches(frames if looked.tracks else (), self._given.batch):
            at = [close.boxes_at(close.next + ahead) for ahead in range(len(some))]
            given = evidence_of(self._given.points, self._given.masks, some, at)
            for frame_HW3, evidence in zip(some, given, strict=True):
                close(frame_HW3, evidence)
        persons, doubts = close.persons(len(looked.frames))
        parts = uncovered_parts(
            persons, looked.things, num_frames=len(looked.frames), height=info.height, width=info.width
        )
        return People(
            width=info.width,
            height=info.height,
            fps=float(info.fps),
            num_frames=len(looked.frames),
            persons=persons,
            doubts=(*doubts, *parts),
            things=looked.things,
        )


class _BodySearch:
    """The second pass: landmarks and masks of the people of one video, frame by frame."""

    def __init__(
        self,
        config: PoseConfig,
        bodies: LandmarkTracker,
        networks: PoseNetworks,
        tracks: Sequence[BoxTrack],
        info: VideoInfo,
    ) -> None:
        self._config = config
        self._bodies = bodies
        self._networks = networks
        self._tracks = tracks
        self._info = info
        self._fps = float(info.fps)
        self._body_tracks = [BodyTrack(track_id=index) for index in range(len(tracks))]
        self._given: list[dict[int, Evidence]] = [{} for _ in tracks]
        self._foreground: list[SmallMask] = []

    @property
    def next(self) -> int:
        """Number of the next frame."""
        return len(self._foreground)

    def boxes_at(self, frame: int) -> dict[int, np.ndarray]:
        """The boxes of a frame by track, float64 [4] each."""
        every = ((index, track.at(frame)) for index, track in enumerate(self._tracks))
        return {index: box_4 for index, box_4 in every if box_4 is not None}

    def __call__(self, frame_HW3: np.ndarray, given: Mapping[int, Evidence]) -> None:
        """Process the next frame. `given` holds the output of the networks that settings name, by track."""
        now = self.next
        for index, evidence in given.items():
            self._given[index][now] = evidence
        boxes_by_track = self.boxes_at(now)
        # The segmenter processes every second frame, because a person's outline moves little in between.
        if now % 2 == 0:
            small_HW3 = halved(frame_HW3, FOREGROUND_SIDE)
            foreground_hw = self._networks.foreground(small_HW3) >= self._config.foreground
            self._foreground.append(SmallMask.of(foreground_hw))
        else:
            self._foreground.append(self._foreground[-1])
        largest = sorted(boxes_by_track, key=lambda index: -_side(boxes_by_track[index]))
        looked_at = {
            index: boxes_by_track[index]
            for index in largest[: self._config.max_people]
            if _side(boxes_by_track[index]) >= LEAST_SIDE
        }
        for index, seen in self._bodies(frame_HW3, looked_at).items():
            self._body_tracks[index].observations[now] = seen

    def persons(self, num_frames: int) -> tuple[tuple[Person, ...], tuple[Doubt, ...]]:
        """The people, with interpolated gaps and dilated masks; and the doubts."""
        persons: list[Person] = []
        doubts: list[Doubt] = []
        certain = [
            index
            for index, (track, body) in enumerate(zip(self._tracks, self._body_tracks, strict=True))
            if is_certain(track, body.count_confident(SURE_SCORE), num_frames)
        ]
        known = [self._tracks[index] for index in certain]
        for index, track in enumerate(self._tracks):
            if index not in certain and is_doubtful(track):
                reason = "a person was seen too briefly or faintly to be followed"
                doubts += doubts_of(track, reason, people=known)
        for index in certain:
            track, body = self._tracks[index], self._body_tracks[index]
            if self._is_part(index, [other for other in certain if other != index]):
                doubts += doubts_of(track, "part of a person, or somebody close to one", is_part=True)
                continue
            if body.observations:
                body.fix_left_right()
                body.drop_outliers()
            persons.append(self._person(track, body, num_frames))
        return tuple(persons), tuple(doubts)

    def _is_part(self, index: int, others: Sequence[int]) -> bool:
        """Whether a track has hardly a body and is inside a person who has one, or who is larger."""
        track, body = self._tracks[index], self._body_tracks[index]
        if len(body.observations) >= BODIES * len(track.seen_N):
            return False
        within = np.zeros(len(track.boxes_N4), bool)
        for other in others:
            outer, theirs = self._tracks[other], self._body_tracks[other]
            stronger = outer.votes >= track.votes
            for at, box_4 in enumerate(track.boxes_N4):
                frame = track.start + at
                outer_4 = outer.at(frame)
                if outer_4 is None:
                    continue
                known = self._is_known(theirs, frame)
                if known and frame in theirs.observations:
                    outer_4 = _with_points(outer_4, theirs.observations[frame].keypoints_33x3)
                if known or (stronger and _side(outer_4) > 1.2 * _side(box_4)):
                    within[at] |= boxes.share_inside(box_4[None], outer_4[None])[0, 0] >= PART
        return bool(within.mean() >= 0.6)

    def _person(self, track: BoxTrack, body_track: BodyTrack, num_frames: int) -> Person:
        height, width = self._info.height, self._info.width
        visible_T, detected_T = np.zeros(num_frames, bool), np.zeros(num_frames, bool)
        keypoints_T33x3 = np.full((num_frames, 33, 3), np.nan, np.float32)
        world_T33x3 = np.full((num_frames, 33, 3), np.nan, np.float32)
        masks_T, outlines_T = (MaskFilm(num_frames, packed_size(height, width)) for _ in range(2))
        cut_off: list[int] = []
        for frame in range(track.start, track.stop):
            box_4 = track.boxes_N4[frame - track.start]
            if (box_4[2:] <= 0).any() or (box_4[:2] >= (width, height)).any():
                continue
            visible_T[frame] = True
            detected_T[frame] = track.seen_N[frame - track.start]
            patches = [
                body_track.observations[near].patch
                for near in (frame - 1, frame, frame + 1)
                if near in body_track.observations
            ]
            if self._is_known(body_track, frame):
                if frame in body_track.observations:
                    now = body_track.observations[frame]
                    keypoints_T33x3[frame], world_T33x3[frame] = now.keypoints_33x3, now.world_33x3
                else:
                    keypoints_T33x3[frame], world_T33x3[frame], moved = interpolate(body_track, frame)
                    patches += moved
                body = self._body(patches, keypoints_T33x3[frame], frame)
                outline_HW = self._outline(body_track, frame) & body
                outlines_T[frame] = pack(outline_HW)
                if is_cut_off(outline_HW):
                    cut_off.append(frame)
                if not _is_covered(body, box_4):
                    _paint_box(body, box_4)
            else:
                body = np.zeros((height, width), bool)
                for patch in patches:
                    patch.paint(body)
                _paint_box(body, box_4)
                outlines_T[frame] = pack(body)
            evidence = self._given[body_track.track_id].get(frame)
            if evidence is not None:  # last, so that it can only add to the mask
                for patch in evidence.patches():
                    dilate_patch(patch, max(2.0, self._config.dilation * _side(box_4))).paint(body)
                if frame in body_track.observations:
                    keypoints_T33x3[frame] = corrected(keypoints_T33x3[frame], evidence)
            masks_T[frame] = pack(body)
        return Person(
            track_id=body_track.track_id,
            visible_T=visible_T,
            detected_T=detected_T,
            keypoints_TL3=keypoints_T33x3,
            world_TL3=world_T33x3,
            masks_T=masks_T,
            outlines_T=outlines_T,
            cut_off_N=tuple(cut_off),
        )

    def _is_known(self, body_track: BodyTrack, frame: int) -> bool:
        """Whether a pose is known in a frame: observed there, or close enough in time to an observation."""
        if frame in body_track.observations:
            return True
        earlier, later = body_track.observations.before(frame), body_track.observations.after(frame)
        gap, held = round(self._config.max_gap * self._fps), round(HELD_S * self._fps)
        if earlier is None or later is None:
            known = later if earlier is None else earlier
            return known is not None and abs(frame - known) <= held
        return later - earlier - 1 <= gap

    def _outline(self, track: BodyTrack, frame: int) -> np.ndarray:
        """The pixels that most likely show a person, bool [H, W]."""
        outline_HW = np.zeros((self._info.height, self._info.width), bool)
        if frame not in track.observations:
            interpolate_outline(track, frame).paint(outline_HW)
            return outline_HW
        seen = track.observations[frame]
        seen.outline.paint(outline_HW)
        # Masks flicker. A pixel that is likely in both neighbouring frames and possible in this one is not a
        # hole.
        sure = [track.observations[n].outline for n in (frame - 1, frame + 1) if n in track.observations]
        if len(sure) == 2:
            steady = Patch(seen.corner, seen.patch.mask_hw.copy())
            for patch in sure:
                there = Patch(seen.corner, np.zeros(seen.mask.shape, bool))
                patch.paint_into(there)
                steady.mask_hw[~there.mask_hw] = False
            steady.paint(outline_HW)
        return outline_HW

    def _body(self, patches: list[Patch], keypoints_33x3: np.ndarray, frame: int) -> np.ndarray:
        """The frame's mask of one person with landmarks, bool [H, W]."""
        height, width = self._info.height, self._info.width
        body_scale = body_height(keypoints_33x3)
        body = union([*patches, limbs(keypoints_33x3, frame_size=(height, width))])
        # Pixels of the segmenter's foreground next to this body belong to it: hair, bags, skirts.
        near = dilate_patch(body, 0.05 * body_scale)
        theirs = foreground_at(self._foreground[frame], near.box(), height, width)
        mask_HW = np.zeros((height, width), bool)
        whole = union([body, Patch(near.corner, near.mask_hw & theirs)])
        dilate_patch(whole, max(2.0, self._config.dilation * body_scale)).paint(mask_HW)
        return mask_HW


def _side(box_4: np.ndarray) -> float:
    """The longer side of a box, pixels."""
    return float((box_4[2:] - box_4[:2]).max())


def _with_points(box_4: np.ndarray, keypoints_33x3: np.ndarray) -> np.ndarray:
    """The bounding box of a person's box and of the person's observed landmarks."""
    seen = keypoints_33x3[keypoints_33x3[:, 2] >= POINT_SEEN, :2]
    if not len(seen):
        return box_4
    low_2, high_2 = np.split(boxes.bounding_box(seen), 2)
    return np.concatenate([np.minimum(box_4[:2], low_2), np.maximum(box_4[2:], high_2)])


def _is_covered(mask_HW: np.ndarray, box_4: np.ndarray) -> bool:
    """Whether a mask extends over most of a box, as that of a person who fills the box."""
    height, width = mask_HW.shape
    x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=height, width=width)
    inside = mask_HW[y0:y1, x0:x1]
    rows, columns = inside.any(1).mean(), inside.any(0).mean()
    return bool(rows >= 0.8 and columns >= 0.7)


def _paint_box(mask_HW: np.ndarray, box_4: np.ndarray) -> None:
    box_patch(boxes.expand(box_4, BOX_MARGIN)).paint(mask_HW)


def box_person(track: BoxTrack, track_id: int, info: VideoInfo, num_points: int) -> Person:
    """A person of whom only the boxes are known."""
    height, width, num_frames = info.height, info.width, info.num_frames
    visible_T, detected_T = np.zeros(num_frames, bool), np.zeros(num_frames, bool)
    masks_T = MaskFilm(num_frames, packed_size(height, width))
    for frame in range(track.start, track.stop):
        mask_HW = np.zeros((height, width), bool)
        _paint_box(mask_HW, track.boxes_N4[frame - track.start])
        masks_T[frame] = pack(mask_HW)
        visible_T[frame] = mask_HW.any()
        detected_T[frame] = track.seen_N[frame - track.start]
    nowhere = np.full((num_frames, num_points, 3), np.nan, np.float32)
    return Person(
        track_id=track_id,
        visible_T=visible_T,
        detected_T=detected_T,
        keypoints_TL3=nowhere,
        world_TL3=nowhere,
        masks_T=masks_T,
        outlines_T=masks_T,
    )


def foreground_at(foreground: SmallMask, box: boxes.BoxXYXY, height: int, width: int) -> np.ndarray:
    """The segmenter's foreground inside a box of the frame, bool; false outside the frame."""
    small_hw = foreground.mask_HW
    x0, y0, x1, y1 = box
    rows, columns = np.arange(y0, y1), np.arange(x0, x1)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    rows = rows.clip(0, height - 1) * small_hw.shape[0] // height
    columns = columns.clip(0, width - 1) * small_hw.shape[1] // width
    return np.asarray(small_hw[np.ix_(rows, columns)] & inside)
