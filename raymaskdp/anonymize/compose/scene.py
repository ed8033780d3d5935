"""The people of one video between analysis and synthesis: their masks and their avatars."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from raymaskdp.anonymize.compose.held_objects import HeldObjects, held_objects
from raymaskdp.anonymize.compose.kept_objects import thing_film
from raymaskdp.anonymize.item import pack_arrays, unpack_arrays
from raymaskdp.anonymize.people.masks import Patch, box_patch
from raymaskdp.anonymize.people.people import People, packed_size
from raymaskdp.bodies.avatar import Avatar, draw_avatars
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.motion import Motion
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm, union

HELD_S = 0.25
"""Seconds by which a doubt is extended before and after its frame; a rung is held for twice as long."""

# Shape suffixes: P persons, T frames, H rows, W columns, B bytes of a packed mask, V vertices.


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Masks and motions of all people.

    Attributes:
      height, width: pixels.
      masks_PTB: P films of packed person masks [T, B] from the analysis.
      visible_PT: bool [P, T].
      motions: P of them, in the same order; a person without a pose in a frame is a silhouette in it.
      doubts_TB: film of the regions in which there may be a person without a track.
      doubts_T: int64 [T], the number of such regions in each frame.
      things_TB: film of the objects that a detector finds, such as balls and cups.
      text_TB: film of the text that is removed.
      held: objects that are removed with people, and drawn instead.
    """

    height: int
    width: int
    masks_PTB: Sequence[np.ndarray | MaskFilm]
    visible_PT: np.ndarray
    motions: tuple[Motion, ...]
    doubts_TB: np.ndarray | MaskFilm
    doubts_T: np.ndarray
    things_TB: np.ndarray | MaskFilm
    text_TB: np.ndarray | MaskFilm
    held: HeldObjects = field(default_factory=HeldObjects)

    @classmethod
    def of(
        cls,
        people: People,
        motions: list[Motion],
        *,
        draw_held: bool = True,
        text_TB: MaskFilm | None = None,
    ) -> Scene:
        """The scene of an analysis.

        Args:
          draw_held: whether objects that are removed with people are drawn.
          text_TB: text that is removed; None for none.
        """
        size = packed_size(people.height, people.width)
        held = round(HELD_S * people.fps)
        visible_PT = np.array([p.visible_T for p in people.persons], bool).reshape(-1, people.num_frames)
        steady = [
            dataclasses.replace(motion, visible_T=steady_T(motion.visible_T, visible_T, 2 * held))
            for motion, visible_T in zip(motions, visible_PT, strict=True)
        ]
        doubts_TB, doubts_T = doubt_film(people, held)
        return cls(
            height=people.height,
            width=people.width,
            masks_PTB=tuple(person.masks_T for person in people.persons),
            visible_PT=visible_PT,
            motions=tuple(steady),
            doubts_TB=doubts_TB,
            doubts_T=doubts_T,
            things_TB=thing_film(people.things, people.num_frames, people.height, people.width),
            text_TB=MaskFilm(people.num_frames, size) if text_TB is None else text_TB,
            held=held_objects(
                people.things,
                people.union_TB(),
                height=people.height,
                width=people.width,
                fps=people.fps,
            )
            if draw_held
            else HeldObjects(),
        )

    @property
    def num_frames(self) -> int:
        """Number of frames of the video."""
        return self.visible_PT.shape[1]

    @property
    def camera_33(self) -> np.ndarray:
        """Intrinsics, float64 [3, 3]; those of the first motion, because all share the camera."""
        return self.motions[0].camera_33 if self.motions else np.eye(3)

    def person_mask(self, person: int, index: int) -> np.ndarray:
        """Bool [H, W] of one person in frame `index`."""
        return masks.unpack(self.masks_PTB[person][index], self.height, self.width)

    def dilated_masks(self, margin_px: float) -> MaskFilm:
        """Packed masks of all that is removed, dilated by `margin_px`; [T, B].

        That is people, doubts, objects that are drawn, and text.
        """
        held_TB = self.held.film(self.num_frames, self.height, self.width)
        films = [*self.masks_PTB, self.doubts_TB, self.text_TB, held_TB]
        union_TB = union(films, self.num_frames, packed_size(self.height, self.width))
        for index in np.flatnonzero(union_TB.any_T()).tolist():
            mask_HW = masks.unpack(union_TB[index], self.height, self.width)
            union_TB[index] = masks.pack(masks.dilate(mask_HW, margin_px))
        return union_TB

    def pack(self) -> bytes:
        """The scene as bytes, for `Item.analysis`."""
        motions = self.motions
        others = (self.doubts_TB, self.things_TB, self.text_TB)
        films = [MaskFilm.of(film).packed() for film in (*self.masks_PTB, *others)]
        return pack_arrays(
            {
                "size": np.array([self.height, self.width]),
                "mask_bytes": np.concatenate([data for data, _ in films]),
                "mask_sizes": np.array([sizes for _, sizes in films], np.int64),
                "doubts": self.doubts_T,
                "visible": self.visible_PT,
                "rotations": np.array([m.rotations_TJ3 for m in motions]),
                "translation": np.array([m.translation_T3 for m in motions]),
                "posed": np.array([m.visible_T for m in motions]),
                "betas": np.array([m.betas_S for m in motions]),
                "unseen": np.array(
                    [[m.unseen(index) for index in range(m.num_frames)] for m in motions], np.uint8
                ),
                "cameras": np.array([m.camera_33 for m in motions]),
                "track_ids": np.array([m.track_id for m in motions], np.int64),
                "held_frames": self.held.frame_N,
                "held_solids": self.held.solid_N,
                "held_boxes": self.held.boxes_N4,
            }
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Scene:
        """The inverse of `pack`."""
        stored = unpack_arrays(packed)
        motions = tuple(
            Motion(
                rotations_TJ3=stored["rotations"][person],
                translation_T3=stored["translation"][person],
                visible_T=stored["posed"][person],
                betas_S=stored["betas"][person],
                camera_33=stored["cameras"][person],
                track_id=int(track_id),
                unseen_T=stored["unseen"][person],
            )
            for person, track_id in enumerate(stored["track_ids"])
        )
        height, width = (int(n) for n in stored["size"])
        sizes_PT = stored["mask_sizes"]
        ends_P = np.cumsum(sizes_PT.sum(-1), dtype=np.int64)
        parts = np.split(stored["mask_bytes"], ends_P[:-1])
        *masks_PTB, doubts_TB, things_TB, text_TB = (
            MaskFilm.unpacked(part, sizes_T, packed_size(height, width))
            for part, sizes_T in zip(parts, sizes_PT, strict=True)
        )
        return cls(
            height=height,
            width=width,
            masks_PTB=tuple(masks_PTB),
            doubts_TB=doubts_TB,
            doubts_T=stored["doubts"],
            things_TB=things_TB,
            text_TB=text_TB,
            visible_PT=stored["visible"],
            motions=motions,
            held=HeldObjects(
                frame_N=stored["held_frames"],
                solid_N=stored["held_solids"],
                boxes_N4=stored["held_boxes"],
            ),
        )

    def posed(self, figures: Sequence[Figure], index: int) -> list[tuple[Figure, np.ndarray]]:
        """Figures, one for each person, and posed vertices [V, 3] of those in frame `index`."""
        frame = slice(index, index + 1)
        return [
            (
                figure,
                figure.pose(motion.rotations_TJ3[frame], motion.translation_T3[frame], motion.unseen(index))[
                    0
                ],
            )
            for figure, motion in zip(figures, self.motions, strict=True)
            if motion.visible_T[index]
        ]


def steady_T(posed_T: np.ndarray, visible_T: np.ndarray, least: int) -> np.ndarray:
    """Frames with an avatar, bool [T], without runs of fewer than `least` frames between silhouettes.

    >>> steady_T(np.array([1, 1, 0, 1, 0, 1, 1], bool), np.ones(7, bool), 2).astype(int).tolist()
    [1, 1, 0, 0, 0, 1, 1]
    """
    steady = posed_T & visible_T
    edges = np.flatnonzero(np.diff(np.concatenate([[0], steady.astype(np.int8), [0]])))
    for start, stop in edges.reshape(-1, 2):
        flat = [at for at in (start - 1, stop) if 0 <= at < len(steady) and visible_T[at]]
        if flat and stop - start < least:
            steady[start:stop] = False
    return steady


def doubt_film(people: People, held: int) -> tuple[MaskFilm, np.ndarray]:
    """Doubts, extended by `held` frames before and after, as a film; and their number in each frame, [T]."""
    film = MaskFilm(people.num_frames, packed_size(people.height, people.width))
    counts_T = np.zeros(people.num_frames, np.int64)
    patches: dict[int, list[Patch]] = {}
    held_T = np.zeros(people.num_frames, bool)
    for doubt in people.doubts:
        patches.setdefault(doubt.frame, []).append(box_patch(np.array(doubt.box)))
        if not doubt.is_part:  # its person is counted already
            counts_T[doubt.frame] += 1
            held_T[max(0, doubt.frame - held) : doubt.frame + held + 1] = True
    for frame in range(people.num_frames):
        near = [patch for at in range(frame - held, frame + held + 1) for patch in patches.get(at, [])]
        if near:
            mask_HW = np.zeros((people.height, people.width), bool)
            for patch in near:
                patch.paint(mask_HW)
            film[frame] = masks.pack(mask_HW)
    return film, np.maximum(counts_T, held_T)


def avatars_of(record: VideoRecord, num_persons: int, secret: bytes) -> list[Avatar]:
    """An avatar for each track. The first is the subject's, if the manifest names one, in every video.

    People of one video can be distinguished.
    """
    names = [f"video/{record.video_id}/{person}" for person in range(num_persons)]
    if names and record.subject is not None:
        names[0] = f"subject/{record.subject}"
    return draw_avatars(secret, names)
