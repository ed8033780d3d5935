"""Make people with masks from the points of a data set's skeletons, without a pose network.

A mask consists of the limbs, drawn with a margin, and of the foreground of an independent segmenter beside
them. Detectors find people who are missing in the skeletons. These are tracked by their boxes and become
silhouettes.

Shape suffixes: T frames, L points of a layout, J = 52 joints, H×W pixels, B bytes of a packed mask.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from raymaskdp.anonymize.people import boxes
from raymaskdp.anonymize.people.box_search import BoxSearch, BoxSearchResult
from raymaskdp.anonymize.people.box_tracker import HELD_S, BoxTrack
from raymaskdp.anonymize.people.certainty import doubts_of, is_certain, is_doubtful
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.anonymize.people.finder import box_person, foreground_at
from raymaskdp.anonymize.people.masks import body_height, limbs
from raymaskdp.anonymize.people.networks.from_settings import configured_networks
from raymaskdp.anonymize.people.networks.mediapipe import FOREGROUND_SIDE, PoseNetworks, halved
from raymaskdp.anonymize.people.people import Doubt, People, Person, packed_size
from raymaskdp.anonymize.people.sources.outline import extremities, outline_of
from raymaskdp.bodies.fitting.landmarks import LandmarkLayout
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.errors import UserError
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm, SmallMask
from raymaskdp.video.reader import VideoInfo

REACH = 2.4
"""Fastest plausible motion, body heights a second (that of a sprinter is about five metres a second)."""

KNOWN = 0.5
"""Share of a box, or of a body in it, from which they are the same person."""

GHOST_SHARE = 0.3
"""A ghost is a doubt if the segmenter marks at least this share of its limbs as a person."""

THICKNESS = 0.05
"""Radius of a drawn limb, as a share of the body's height."""

NEAR = 0.08
"""Foreground pixels within this distance from a limb, as a share of the body's height, belong to the body."""

FRINGE = 0.1
"""Seconds by which a person is extended before the first and after the last skeleton."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """One body of a file.

    Attributes:
      keypoints_TL3: float [T, L, 3], (x, y) in pixels of the video and confidence in [0, 1]; NaN in frames
        without this body.
      world_TL3: float [T, L, 3], metres, axes of the camera (x right, y down, z away), any origin.
      rotations_TJ3: float [T, 52, 3] as in `bodies.motion.Motion` if the file has fitted bodies.
    """

    keypoints_TL3: np.ndarray
    world_TL3: np.ndarray
    rotations_TJ3: np.ndarray | None = None

    @property
    def seen_T(self) -> np.ndarray:
        """The frames with this body, bool [T]."""
        return np.asarray(np.isfinite(self.keypoints_TL3).all((1, 2)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeletons:
    """The bodies of one file.

    Attributes:
      layout: the names of the L points.
      bodies: people.
      ghosts: bodies that are false detections by the rules of the source.
      camera_33: float64 [3, 3], intrinsics in pixels of the video, if known.
    """

    layout: LandmarkLayout
    bodies: tuple[Skeleton, ...]
    ghosts: tuple[Skeleton, ...] = ()
    camera_33: np.ndarray | None = None


Read = Callable[[Path, VideoInfo, VideoRecord], Skeletons]
"""Reads the skeletons of a video from a folder; raises `UserError` if they are missing or damaged."""


class FromFiles:
    """A pose source that reads files.

    Args:
      config: `skeletons` is the folder; `veto` enables the independent detectors.
      read: reads the format.
      gpus: share of a GPU for a detector that settings name; 0 for the CPU.
    """

    def __init__(self, config: PoseConfig, read: Read, gpus: float = 0.0) -> None:
        self._config = config
        self._read = read
        self._networks = PoseNetworks(confidence=config.confidence, limit=1)
        self._search = BoxSearch(configured_networks(config, gpus).detector) if config.veto else None

    def __call__(self, frames: Iterable[np.ndarray], info: VideoInfo, record: VideoRecord) -> People:
        """The people of one video."""
        if self._config.skeletons is None:
            raise UserError("A source of skeletons needs a folder; give it as pose.skeletons=DIR.")
        skeletons = self._read(self._config.skeletons, info, record)
        if self._search is None:
            return people_of(skeletons, info, self._config)
        looked = self._search(frames, info)
        return people_of(skeletons, info, self._config, looked, self._foreground(frames))

    def _foreground(self, frames: Iterable[np.ndarray]) -> Iterator[SmallMask]:
        """The segmenter's foreground of each frame, computed every second frame, because outlines move
        little.
        """
        kept = SmallMask.of(np.zeros((1, 1), bool))
        for index, frame_HW3 in enumerate(frames):
            if index % 2 == 0:
                small_HW3 = halved(frame_HW3, FOREGROUND_SIDE)
                kept = SmallMask.of(self._networks.foreground(small_HW3) >= self._config.foreground)
            yield kept


def people_of(
    skeletons: Skeletons,
    info: VideoInfo,
    config: PoseConfig,
    looked: BoxSearchResult | None = None,
    foreground: Iterable[SmallMask] | None = None,
) -> People:
    """People with masks, and doubts.

    Args:
      looked: people found by detectors; None without detectors.
      foreground: the segmenter's foreground of each frame; None without detectors.
    """
    layout, fps = skeletons.layout, float(info.fps)
    gap = max(1, round(config.max_gap * fps))
    fringe = round(FRINGE * fps)
    filled = [_filled(body, gap, fringe) for body in skeletons.bodies]
    doubts = [doubt for body in skeletons.bodies for doubt in _doubts(body, info, gap)]
    away = [_away_T(body.seen_T) for body in skeletons.bodies]
    ghosts = skeletons.ghosts
    thin, wide, gone = (
        [MaskFilm(info.num_frames, packed_size(info.height, info.width)) for _ in some]
        for some in (filled, filled, ghosts)
    )
    for frame, look in enumerate(foreground if foreground is not None else [None] * info.num_frames):
        for person, body in enumerate(filled):
            outline = _outline_at(layout, body, frame)
            if np.isfinite(outline).all():
                age = int(away[person][frame])
                drawn = _outlined(outline, info, look)
                thin[person][frame] = masks.pack(drawn)
                wide[person][frame] = masks.pack(_dilated(drawn, outline, layout, info, config, age))
        for ghost, body in enumerate(ghosts):
            outline = _outline_at(layout, body, frame)
            if not np.isfinite(outline).all():
                continue
            if look is None:  # without detectors, no other check covers a false ghost
                drawn = _outlined(outline, info, None)
                gone[ghost][frame] = masks.pack(_dilated(drawn, outline, layout, info, config, 0))
            elif _shows_a_person(outline, look, [mask_TB[frame] for mask_TB in wide], info):
                box_4 = boxes.expand(boxes.bounding_box(outline[:, :2]), 0.1)
                doubts.append(_doubt(frame, "a ghost among the skeletons looks human", box_4))
    persons = _persons(skeletons, filled, wide, thin, gone)
    for track in looked.tracks if looked is not None else ():
        if _is_known(track, wide, info):
            continue
        if is_certain(track, 0, info.num_frames):
            persons.append(box_person(track, len(persons), info, len(layout.points)))
        elif is_doubtful(track):
            doubts += doubts_of(track, "a person was seen too briefly or faintly to be followed")
    return People(
        width=info.width,
        height=info.height,
        fps=fps,
        num_frames=info.num_frames,
        persons=tuple(persons),
        doubts=tuple(sorted(doubts, key=lambda doubt: (doubt.frame, doubt.reason))),
        things=looked.things if looked is not None else {},
        layout=layout,
        camera_33=skeletons.camera_33,
    )


def _persons(
    skeletons: Skeletons,
    filled: Sequence[Skeleton],
    wide: Sequence[MaskFilm],
    thin: Sequence[MaskFilm],
    gone: Sequence[MaskFilm],
) -> list[Person]:
    """The bodies, and the ghosts with a mask, in whose place nothing is drawn."""
    persons = [
        _person(index, body, skeletons.bodies[index].seen_T, wide[index], thin[index])
        for index, body in enumerate(filled)
    ]
    for body, packed_TB in zip(skeletons.ghosts, gone, strict=True):
        if packed_TB.any_T().any():
            nobody = _person(len(persons), body, body.seen_T, packed_TB, packed_TB)
            persons.append(dataclasses.replace(nobody, visible_T=np.zeros(len(body.seen_T), bool)))
    return persons


def _is_known(track: BoxTrack, bodies: Sequence[MaskFilm], info: VideoInfo) -> bool:
    """Whether a detected person is one of the skeletons: a body is in the box in most frames."""
    known = []
    for frame in range(track.start, track.stop)[:: max(1, len(track.boxes_N4) // 16)]:
        box_4 = track.at(frame)
        assert box_4 is not None
        x0, y0, x1, y1 = boxes.clip_to_frame(box_4, height=info.height, width=info.width)
        shared = [
            _share_in(masks.unpack(film[frame], info.height, info.width), x0, y0, x1, y1) for film in bodies
        ]
        known.append(max(shared, default=0.0) >= KNOWN)
    return bool(np.mean(known) >= 0.5)


def _share_in(mask_HW: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> float:
    """The larger of two shares: of a mask that is inside a box, and of the box that the mask covers."""
    inside = int(np.count_nonzero(mask_HW[y0:y1, x0:x1]))
    area = int(np.count_nonzero(mask_HW))
    return max(inside / max(1, area) if inside else 0.0, inside / max(1, (x1 - x0) * (y1 - y0)))


def _doubt(frame: int, reason: str, box_4: np.ndarray) -> Doubt:
    x0, y0, x1, y1 = box_4.tolist()
    return Doubt(frame=frame, reason=reason, box=(x0, y0, x1, y1))


def _outlined(outline_33x3: np.ndarray, info: VideoInfo, look: SmallMask | None) -> np.ndarray:
    """Limbs, and the segmenter's foreground beside them (hair, skirts); bool [H, W]."""
    size = (info.height, info.width)
    mask_HW = np.zeros(size, bool)
    limbs(outline_33x3, frame_size=size, thickness=THICKNESS).paint(mask_HW)
    if look is not None:
        theirs_HW = foreground_at(look, (0, 0, info.width, info.height), *size)
        mask_HW |= theirs_HW & masks.dilate(mask_HW, NEAR * body_height(outline_33x3))
    return mask_HW


def _dilated(
    outlined_HW: np.ndarray,
    outline_33x3: np.ndarray,
    layout: LandmarkLayout,
    info: VideoInfo,
    config: PoseConfig,
    age: int,
) -> np.ndarray:
    """An outline with the reach of hands and feet, dilated by a margin that grows with `age`; bool [H, W].

    Args:
      age: number of frames to the nearest one with a skeleton.
    """
    mask_HW = outlined_HW.copy()
    for patch in extremities(outline_33x3, layout):
        patch.paint(mask_HW)
    body_scale = body_height(outline_33x3)
    moved = 0.25 * REACH * body_scale * age / float(info.fps)
    return masks.dilate(mask_HW, max(2.0, config.dilation * body_scale) + moved)


def _shows_a_person(
    outline_33x3: np.ndarray, look: SmallMask, known_PB: list[np.ndarray], info: VideoInfo
) -> bool:
    """Whether the segmenter's foreground shows a person at a ghost, outside the known people."""
    size = (info.height, info.width)
    drawn_HW = np.zeros(size, bool)
    limbs(outline_33x3, frame_size=size).paint(drawn_HW)
    seen_HW = drawn_HW & foreground_at(look, (0, 0, info.width, info.height), *size)
    for packed_B in known_PB:
        seen_HW &= ~masks.unpack(packed_B, *size)
    return bool(seen_HW.sum() > GHOST_SHARE * max(1, drawn_HW.sum()))


def _person(
    track_id: int, body: Skeleton, seen_T: np.ndarray, masks_TB: MaskFilm, outlines_TB: MaskFilm
) -> Person:
    middle = 0.5 * (body.world_TL3.max(1, keepdims=True) + body.world_TL3.min(1, keepdims=True))
    rotations = None if body.rotations_TJ3 is None else body.rotations_TJ3.astype(np.float32, copy=False)
    return Person(
        track_id=track_id,
        visible_T=body.seen_T & masks_TB.any_T(),  # nothing is replaced outside the image
        detected_T=seen_T,
        keypoints_TL3=body.keypoints_TL3.astype(np.float32, copy=False),
        world_TL3=(body.world_TL3 - middle).astype(np.float32, copy=False),
        masks_T=masks_TB,
        outlines_T=outlines_TB,
        rotations_TJ3=rotations,
    )


def _outline_at(layout: LandmarkLayout, body: Skeleton, frame: int) -> np.ndarray:
    """The landmarks of one frame, [33, 3]. Those of an hour would need more memory than the skeleton."""
    return outline_of(layout, body.keypoints_TL3[frame : frame + 1])[0]


def _away_T(seen_T: np.ndarray) -> np.ndarray:
    """Distance in frames to the nearest one with a skeleton, int [T]; large if there is none."""
    frames_T = np.arange(len(seen_T))
    before_T = np.maximum.accumulate(np.where(seen_T, frames_T, -len(seen_T)))
    after_T = np.minimum.accumulate(np.where(seen_T, frames_T, 2 * len(seen_T))[::-1])[::-1]
    return np.asarray(np.minimum(frames_T - before_T, after_T - frames_T))


def _filled(body: Skeleton, gap: int, fringe: int) -> Skeleton:
    """The body with interpolated gaps of at most `gap` frames, extended at its ends by `fringe` frames."""
    if body.seen_T.all():
        return body  # nothing is missing, and an hour's skeleton is large
    keypoints, world = body.keypoints_TL3.copy(), body.world_TL3.copy()
    rotations = None if body.rotations_TJ3 is None else body.rotations_TJ3.copy()
    for before, after in _gaps(body.seen_T):
        if after - before - 1 > gap:
            continue
        for frame in range(before + 1, after):
            share = (frame - before) / (after - before)
            keypoints[frame] = (1 - share) * keypoints[before] + share * keypoints[after]
            world[frame] = (1 - share) * world[before] + share * world[after]
            if rotations is not None:
                rotations[frame] = _turned(rotations[before], rotations[after], share)
    known = np.flatnonzero(body.seen_T)
    for end, held in (
        ()
        if not len(known)
        else (
            (known[0], slice(max(0, known[0] - fringe), known[0])),
            (known[-1], slice(known[-1] + 1, known[-1] + 1 + fringe)),
        )
    ):
        for values in (keypoints, world, rotations):
            if values is not None:
                values[held] = values[end]
    return Skeleton(keypoints_TL3=keypoints, world_TL3=world, rotations_TJ3=rotations)


def _turned(start_J3: np.ndarray, end_J3: np.ndarray, share: float) -> np.ndarray:
    start = Rotation.from_rotvec(start_J3)
    between = (start.inv() * Rotation.from_rotvec(end_J3)).as_rotvec()
    return np.asarray((start * Rotation.from_rotvec(share * between)).as_rotvec())


def _gaps(seen_T: np.ndarray) -> Iterator[tuple[int, int]]:
    """The last frame before each gap, and the first after it."""
    known = np.flatnonzero(seen_T)
    for before, after in itertools.pairwise(known):
        if after - before > 1:
            yield int(before), int(after)


def _doubts(body: Skeleton, info: VideoInfo, gap: int) -> Iterator[Doubt]:
    """Regions in which this person may be without a skeleton: in long gaps, and next to a beginning or an end
    inside the frame.
    """
    known = np.flatnonzero(body.seen_T)
    if not len(known):
        return
    fringe, held = round(FRINGE * float(info.fps)), round(HELD_S * float(info.fps))

    def box_at(frame: int) -> np.ndarray:
        return boxes.expand(boxes.bounding_box(body.keypoints_TL3[frame, :, :2]), 0.15)

    for before, after in _gaps(body.seen_T):
        if after - before - 1 > gap:
            for frame in range(before + 1, after):
                share = (frame - before) / (after - before)
                box_4 = (1 - share) * box_at(before) + share * box_at(after)
                yield _doubt(frame, "a skeleton is missing for too long to be filled in", box_4)
    first, last = int(known[0]), int(known[-1])
    if first > fringe and not _at_border(body.keypoints_TL3[first], info):
        for frame in range(max(0, first - fringe - held), first - fringe):
            yield _doubt(frame, "a skeleton appears inside the frame", box_at(first))
    if last < info.num_frames - 1 - fringe and not _at_border(body.keypoints_TL3[last], info):
        for frame in range(last + 1 + fringe, min(info.num_frames, last + 1 + fringe + held)):
            yield _doubt(frame, "a skeleton ends inside the frame", box_at(last))


def _at_border(keypoints_L3: np.ndarray, info: VideoInfo) -> bool:
    """Whether the next step may lead out of the frame, at its sides or over its upper or lower edge."""
    points = keypoints_L3[:, :2]
    low, high = points.min(0), points.max(0)
    reach = 1.5 * REACH / float(info.fps) * float((high - low).max())
    sideways = low[0] < reach or high[0] > info.width - reach
    return bool(sideways or low[1] < 0 or high[1] > info.height)
