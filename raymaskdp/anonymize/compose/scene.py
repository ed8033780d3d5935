"""The people of one video between analysis and synthesis: where they are, and the avatars for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.item import pack_arrays, unpack_arrays
from raymaskdp.anonymize.people.people import People, packed_size
from raymaskdp.bodies.avatar import Avatar, draw_avatars
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.motion import Motion
from raymaskdp.datasets.manifest import VideoRecord
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm, union

# Shape suffixes: P persons, T frames, H rows, W columns, B bytes of a packed mask, V vertices.


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Masks and motions of everybody.

    Attributes:
      height, width: pixels.
      masks_PTB: P films of packed person masks [T, B] as the analysis gave them.
      visible_PT: bool [P, T].
      motions: P of them, in the same order.
    """

    height: int
    width: int
    masks_PTB: Sequence[np.ndarray | MaskFilm]
    visible_PT: np.ndarray
    motions: tuple[Motion, ...]

    @classmethod
    def of(cls, people: People, motions: list[Motion]) -> Scene:
        """What synthesis needs of an analysis."""
        return cls(
            height=people.height,
            width=people.width,
            masks_PTB=tuple(person.masks_T for person in people.persons),
            visible_PT=np.array([p.visible_T for p in people.persons], bool).reshape(-1, people.num_frames),
            motions=tuple(motions),
        )

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return self.visible_PT.shape[1]

    @property
    def camera_33(self) -> np.ndarray:
        """Intrinsics, float64 [3, 3]; those of the first motion, as all share the camera."""
        return self.motions[0].camera_33 if self.motions else np.eye(3)

    def person_mask(self, person: int, index: int) -> np.ndarray:
        """Bool [H, W] of one person in frame `index`."""
        return masks.unpack(self.masks_PTB[person][index], self.height, self.width)

    def everybody(self, margin_px: float) -> MaskFilm:
        """Packed masks of everybody in each frame, grown by `margin_px`; [T, B]."""
        union_TB = union(self.masks_PTB, self.num_frames, packed_size(self.height, self.width))
        for index in np.flatnonzero(union_TB.any_T()).tolist():
            mask_HW = masks.unpack(union_TB[index], self.height, self.width)
            union_TB[index] = masks.pack(masks.dilate(mask_HW, margin_px))
        return union_TB

    def pack(self) -> bytes:
        """As bytes, for `Item.analysis`."""
        motions = self.motions
        films = [MaskFilm.of(film).packed() for film in self.masks_PTB]
        return pack_arrays(
            {
                "size": np.array([self.height, self.width]),
                "mask_bytes": np.concatenate([data for data, _ in films] or [np.zeros(0, np.uint8)]),
                "mask_sizes": np.array([sizes for _, sizes in films], np.int64),
                "visible": self.visible_PT,
                "rotations": np.array([m.rotations_TJ3 for m in motions]),
                "translation": np.array([m.translation_T3 for m in motions]),
                "posed": np.array([m.visible_T for m in motions]),
                "betas": np.array([m.betas_S for m in motions]),
                "cameras": np.array([m.camera_33 for m in motions]),
                "track_ids": np.array([m.track_id for m in motions], np.int64),
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
            )
            for person, track_id in enumerate(stored["track_ids"])
        )
        height, width = (int(n) for n in stored["size"])
        sizes_PT = stored["mask_sizes"]
        ends_P = np.cumsum(sizes_PT.sum(-1), dtype=np.int64) if len(sizes_PT) else np.zeros(0, np.int64)
        parts = np.split(stored["mask_bytes"], ends_P[:-1])
        return cls(
            height=height,
            width=width,
            masks_PTB=tuple(
                MaskFilm.unpacked(part, sizes_T, packed_size(height, width))
                for part, sizes_T in zip(parts, sizes_PT, strict=False)
            ),
            visible_PT=stored["visible"],
            motions=motions,
        )

    def posed(self, figures: Sequence[Figure], index: int) -> list[tuple[Figure, np.ndarray]]:
        """Figures, one a person, and posed vertices [V, 3] of those in frame `index`."""
        frame = slice(index, index + 1)
        return [
            (figure, figure.pose(motion.rotations_TJ3[frame], motion.translation_T3[frame])[0])
            for figure, motion in zip(figures, self.motions, strict=True)
            if motion.visible_T[index]
        ]


def avatars_of(record: VideoRecord, num_persons: int, secret: bytes) -> list[Avatar]:
    """An avatar a track: the first is the subject's, where the manifest names one, in every video.

    People of one video can be told apart.
    """
    names = [f"video/{record.video_id}/{person}" for person in range(num_persons)]
    if names and record.subject is not None:
        names[0] = f"subject/{record.subject}"
    return draw_avatars(secret, names)
