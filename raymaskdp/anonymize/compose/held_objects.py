"""Synthetic objects in the place of real ones that are removed with a person: a ball, a cup, a phone.

An action without its object is another action. A real object before a person is inside the person's mask, and
its box often contains a hand or a shoe, so none of its pixels can stay. A plain solid of its kind is drawn
instead. It depends on the detector's class and boxes, and on the masks of people, but on no pixel.

Shape suffixes: N drawn objects, T frames, 4 coordinates (x0, y0, x1, y1 in pixels), B bytes of a packed mask,
h×w a patch of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from scipy.ndimage import binary_dilation, median_filter

from raymaskdp.anonymize.compose.kept_objects import LEAST_SCORE, REACH
from raymaskdp.anonymize.people.boxes import same_things
from raymaskdp.anonymize.people.masks import Patch
from raymaskdp.anonymize.people.networks.nanodet import BoxDetections
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.bodies.render import Rendered
from raymaskdp.video import masks
from raymaskdp.video.mask_film import MaskFilm


class Solid(IntEnum):
    """What is drawn for an object."""

    BALL = 0
    FOOD = 1
    VESSEL = 2
    SLAB = 3


SOLIDS: Mapping[int, Solid] = {
    **dict.fromkeys((29, 32), Solid.BALL),  # frisbee, sports ball: the network mistakes one for the other
    **dict.fromkeys(range(46, 56), Solid.FOOD),  # banana to cake
    **dict.fromkeys((39, 40, 41, 45), Solid.VESSEL),  # bottle, wine glass, cup, bowl
    **dict.fromkeys((65, 67, 73), Solid.SLAB),  # remote control, phone, book
}
"""The solid of each class of COCO that is drawn. Classes that the network also gives to shoes, forearms and
wheels are absent: skateboard, racket, tie, bags."""

COLOURS: Mapping[Solid, tuple[int, int, int]] = {
    Solid.BALL: (232, 229, 220),
    Solid.FOOD: (206, 158, 92),
    Solid.VESSEL: (74, 116, 164),
    Solid.SLAB: (46, 48, 54),
}
"""sRGB. Real colours are under the mask, where no value may be used."""

POWERS: Mapping[Solid, tuple[float, float]] = {
    Solid.BALL: (2, 2),
    Solid.FOOD: (2, 2),
    Solid.VESSEL: (4, 8),
    Solid.SLAB: (8, 8),
}
"""Exponents of an outline |x|^a + |y|^b ≤ 1 in its box."""

LEAST_BEST = 0.5
"""Least score of an object's best detection; that of its others is `LEAST_SCORE`. In 53 real clips 11 tracks
had a best score of 0.5: eight were such objects, two were a round clock, and one was a number in the picture.
Below it, half were wrong."""

LEAST_HITS = 3
"""Least number of detections of an object. Hands and shoes are taken for objects in single frames."""

GAP_S = 0.5
"""Longest time without a detection, seconds."""

COVERED = 0.25
"""Share of an object under people's masks from which it is drawn."""

STEADY_S = 0.25
"""Seconds for which an object is drawn before and after such a frame, so that it does not change its look."""

LARGEST = 1 / 20
"""Larger objects, as a share of the image, are not drawn. In close-ups the network takes a kettle or a
windscreen for a phone."""

STILL, IN_PLATE = 0.5, 0.1
"""An object whose centre moves by less than this share of its longer side, and which is not hidden in at
least this share of its frames, is a part of the background plate."""

IN_FRONT_M = 0.02
"""Distance of an object from the avatar behind it, metres. A detected object is visible."""

FAR_M = 3.0
"""Distance of an object in a frame without avatars, metres."""

LIGHT_3 = np.array([-0.4, -0.6, -0.7]) / np.linalg.norm([-0.4, -0.6, -0.7])
"""Direction to the light in the camera frame: from above, over the left shoulder of the camera."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldObjects:
    """The objects to draw, in order of frames.

    Attributes:
      frame_N: int64, frame numbers.
      solid_N: int64, `Solid`.
      boxes_N4: float32.
    """

    frame_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    solid_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes_N4: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def at(self, index: int) -> list[tuple[Solid, np.ndarray]]:
        """The objects of frame `index`, and their boxes."""
        rows = range(*np.searchsorted(self.frame_N, [index, index + 1]).tolist())
        return [(Solid(int(self.solid_N[row])), self.boxes_N4[row]) for row in rows]

    def film(self, num_frames: int, height: int, width: int) -> MaskFilm:
        """Packed masks of the real objects, which are removed, [T, B]."""
        film = MaskFilm(num_frames, packed_size(height, width))
        for index in np.unique(self.frame_N).tolist():
            film[index] = masks.pack(self.mask(index, height, width))
        return film

    def mask(self, index: int, height: int, width: int) -> np.ndarray:
        """The pixels of the objects of frame `index`, bool [H, W]."""
        mask_HW = np.zeros((height, width), bool)
        for solid, box_4 in self.at(index):
            outline(solid, box_4).paint(mask_HW)
        return mask_HW

    def draw_over(self, drawn: Rendered, index: int) -> Rendered:
        """The avatars of frame `index` with its objects before them."""
        objects = self.at(index)
        if not objects:
            return drawn
        color_HW3, depth_HW, mask_HW = drawn.color_HW3.copy(), drawn.depth_HW.copy(), drawn.mask_HW.copy()
        normals_HW3 = None if drawn.normals_HW3 is None else drawn.normals_HW3.copy()
        for solid, box_4 in objects:
            patch = outline(solid, box_4)
            here, inside_hw = _inside(patch, mask_HW.shape)
            if not inside_hw.any():
                continue
            normals_hw3 = _normals(solid, box_4, here)[inside_hw]
            light_N = 0.55 + 0.45 * np.clip(normals_hw3 @ LIGHT_3, 0, 1)
            color_HW3[here][inside_hw] = np.rint(light_N[:, None] * COLOURS[solid]).astype(np.uint8)
            depth_HW[here][inside_hw] = _distance(drawn, here, inside_hw)
            mask_HW[here] |= inside_hw
            if normals_HW3 is not None:
                normals_HW3[here][inside_hw] = normals_hw3
        return Rendered(color_HW3=color_HW3, depth_HW=depth_HW, mask_HW=mask_HW, normals_HW3=normals_HW3)


def held_objects(
    things: Mapping[int, BoxDetections],
    people_TB: np.ndarray | MaskFilm,
    *,
    height: int,
    width: int,
    fps: float,
) -> HeldObjects:
    """The objects that are removed with people, in every frame in which they are.

    Args:
      things: detections, by frame; only some frames have them.
      people_TB: packed masks of all people, [T, B].
    """
    num_frames, found = len(people_TB), []
    steady = np.ones(2 * round(STEADY_S * fps) + 1, bool)
    for track in _tracks(things, GAP_S * fps, LARGEST * height * width):
        if len(track.frames) < LEAST_HITS or max(track.scores) < LEAST_BEST:
            continue
        frame_N, boxes_N4 = track.interpolated(num_frames)
        hidden_N = np.zeros(len(frame_N), bool)
        for row, (index, box_4) in enumerate(zip(frame_N.tolist(), boxes_N4, strict=True)):
            here, inside_hw = _inside(outline(track.solid, box_4), (height, width))
            mask_hw = masks.unpack(people_TB[index], height, width)[here]
            hidden_N[row] = np.count_nonzero(mask_hw & inside_hw) > COVERED * np.count_nonzero(inside_hw)
        if track.is_still() and np.mean(~hidden_N) >= IN_PLATE:
            continue
        hidden_N = binary_dilation(hidden_N, steady)
        found += [
            (index, int(track.solid), box_4)
            for index, box_4 in zip(frame_N[hidden_N].tolist(), boxes_N4[hidden_N], strict=True)
        ]
    found.sort(key=lambda one: one[0])
    if not found:
        return HeldObjects()
    return HeldObjects(
        frame_N=np.array([index for index, _, _ in found], np.int64),
        solid_N=np.array([solid for _, solid, _ in found], np.int64),
        boxes_N4=np.array([box_4 for *_, box_4 in found], np.float32),
    )


def outline(solid: Solid, box_4: np.ndarray) -> Patch:
    """The pixels of an object in the frame's coordinates."""
    (x0, y0), (x1, y1) = np.floor(box_4[:2]).astype(int), np.ceil(box_4[2:]).astype(int)
    u_w, v_h = _places(box_4, slice(y0, y1), slice(x0, x1))
    a, b = POWERS[solid]
    return Patch((int(x0), int(y0)), np.abs(u_w)[None] ** a + np.abs(v_h)[:, None] ** b <= 1)


@dataclass(kw_only=True)
class _ObjectTrack:
    """Detections of one object.

    Attributes:
      solid: what it is.
      frames, scores, boxes: of the detections, in order.
    """

    solid: Solid
    frames: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    def is_still(self) -> bool:
        """Whether the object stays at its place."""
        boxes_N4 = np.array(self.boxes, np.float64)
        moved = np.ptp(boxes_N4[:, :2] + boxes_N4[:, 2:], axis=0).max() / 2
        return bool(moved < STILL * np.median((boxes_N4[:, 2:] - boxes_N4[:, :2]).max(1)))

    def interpolated(self, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """All frames from the first detection to the next one after the last, and boxes of steady size."""
        boxes_N4 = np.array(self.boxes, np.float64)
        sizes_N2 = median_filter(boxes_N4[:, 2:] - boxes_N4[:, :2], size=(5, 1), mode="nearest")
        centres_N2 = (boxes_N4[:, 2:] + boxes_N4[:, :2]) / 2
        step = int(np.median(np.diff(self.frames)))
        frame_N = np.arange(self.frames[0], min(self.frames[-1] + step, num_frames))
        centre_N2, size_N2 = (
            np.column_stack([np.interp(frame_N, self.frames, values_N) for values_N in of_N2.T])
            for of_N2 in (centres_N2, sizes_N2)
        )
        return frame_N, np.hstack([centre_N2 - size_N2 / 2, centre_N2 + size_N2 / 2])


def _tracks(things: Mapping[int, BoxDetections], gap: float, largest: float) -> list[_ObjectTrack]:
    """Detections of the same solid, joined by their distance."""
    tracks: list[_ObjectTrack] = []
    for frame in sorted(things):
        seen = _detections(things[frame], largest)
        for solid in sorted({solid for solid, *_ in seen}):
            found = [(score, box_4) for kind, score, box_4 in seen if kind == solid]
            open_tracks = [one for one in tracks if one.solid == solid and frame - one.frames[-1] <= gap]
            last_N4 = np.array([track.boxes[-1] for track in open_tracks]).reshape(-1, 4)
            same = same_things(last_N4, np.array([box_4 for _, box_4 in found]), REACH)
            for row, (score, box_4) in enumerate(found):
                track = open_tracks[same[row]] if row in same else _ObjectTrack(solid=solid)
                if row not in same:
                    tracks.append(track)
                track.frames.append(frame)
                track.scores.append(score)
                track.boxes.append(box_4)
    return tracks


def _detections(seen: BoxDetections, largest: float) -> list[tuple[Solid, float, np.ndarray]]:
    """Objects that can be drawn, each once: two classes of one solid may have the same box."""
    chosen: list[tuple[Solid, float, np.ndarray]] = []
    for kind, score, box_4 in zip(seen.class_N.tolist(), seen.score_N.tolist(), seen.boxes_N4, strict=True):
        solid = SOLIDS.get(kind)
        if solid is None or score < LEAST_SCORE or np.prod(box_4[2:] - box_4[:2]) > largest:
            continue
        middle_2 = (box_4[:2] + box_4[2:]) / 2
        twice = any(
            solid == other and (other_4[:2] <= middle_2).all() and (middle_2 <= other_4[2:]).all()
            for other, _, other_4 in chosen
        )
        if not twice:
            chosen.append((solid, score, box_4.astype(np.float64)))
    return chosen


def _inside(patch: Patch, size: Sequence[int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of a patch in a frame of `size` (height, width): its place, and its mask."""
    x0, y0, x1, y1 = patch.box()
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, size[0]), min(x1, size[1])
    bottom, right = max(bottom, top), max(right, left)
    inside_hw = patch.mask_hw[top - y0 : bottom - y0, left - x0 : right - x0]
    return (slice(top, bottom), slice(left, right)), inside_hw


def _places(box_4: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres relative to a box, -1 to 1: x of the columns and y of the rows."""
    x0, y0, x1, y1 = box_4.astype(float)
    u_w = (np.arange(columns.start, columns.stop) + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 0.5)
    v_h = (np.arange(rows.start, rows.stop) + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 0.5)
    return u_w, v_h


def _normals(solid: Solid, box_4: np.ndarray, here: tuple[slice, slice]) -> np.ndarray:
    """Unit normals in the camera frame, float32 [h, w, 3], of a sphere, an upright cylinder or a plane."""
    u_w, v_h = _places(box_4, *here)
    x_hw, y_hw = np.broadcast_arrays(u_w[None], v_h[:, None])
    if solid == Solid.SLAB:
        x_hw, y_hw = np.zeros_like(x_hw), np.zeros_like(y_hw)
    elif solid == Solid.VESSEL:
        y_hw = np.zeros_like(y_hw)
    z_hw = -np.sqrt(np.clip(1 - x_hw**2 - y_hw**2, 0, 1))
    normals_hw3 = np.stack([x_hw, y_hw, z_hw], -1)
    length_hw1 = np.maximum(np.linalg.norm(normals_hw3, axis=-1, keepdims=True), 1e-6)
    return (normals_hw3 / length_hw1).astype(np.float32)


def _distance(drawn: Rendered, here: tuple[slice, slice], inside_hw: np.ndarray) -> float:
    """Distance of an object from the camera: just before the avatars at its place."""
    depths = drawn.depth_HW[here][inside_hw & drawn.mask_HW[here]]
    if len(depths):
        return float(depths.min()) - IN_FRONT_M
    everywhere = drawn.depth_HW[drawn.mask_HW]
    return float(np.median(everywhere)) if len(everywhere) else FAR_M
