"""Harmonization: the scene's light on avatars, and their shadow on its floor. In the composite only.

The avatar layer on disk stays as rendered. The harmonized layer mixes real background into avatars, so
training treats it as sensitive (provenance rule). No pixel under a person mask may enter: it is computed from
the emptied frame and the render only.
"""

from __future__ import annotations

import json
from collections import deque

import cv2
import numpy as np

from raymaskdp.anonymize.compose.refiner import FrameRefiner, Refined
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered
from raymaskdp.video import masks

# Shape suffixes: H rows, W columns, h w of a small copy, 3 RGB or xyz, N points, P persons.

GAMMA = 2.2

USUAL_LIGHT = 0.14
"""Mean linear value of an image in which the renderer's own light looks right."""

LIGHT_SHARE, CAST_SHARE = 0.6, 0.4
"""Exponents with which the scene's brightness and its colour cast are applied; below 1, because a background
may also be dark or red by its paint."""

SHADOW = 0.6
"""Share of light that a floor loses directly under a foot."""

REACH_M = 0.25
"""Height above the floor at which a body casts 1/e of that shadow."""

JUMP_S = 0.6
"""Longest jump; a person touches the floor at least once in this time."""


class Unrefined(FrameRefiner):
    """Leaves all layers unchanged."""

    def __init__(self, motions: tuple[Motion, ...], camera_33: np.ndarray, fps: float) -> None:
        pass

    def __call__(self, emptied_HW3: np.ndarray, drawn: Rendered, index: int) -> Refined:
        """Both layers unchanged."""
        nowhere = np.zeros(drawn.mask_HW.shape, bool)
        return Refined(backdrop_HW3=emptied_HW3, avatar_HW3=drawn.color_HW3, shaded_HW=nowhere)


class Harmonize(FrameRefiner):
    """Applies the scene's light and adds contact shadows; frames in order."""

    def __init__(self, motions: tuple[Motion, ...], camera_33: np.ndarray, fps: float) -> None:
        self._motions = motions
        self._camera_33 = camera_33
        self._up_P3 = [_upright(motion) for motion in motions]
        self._floors_P: list[deque[float]] = [deque(maxlen=max(1, round(JUMP_S * fps))) for _ in motions]

    def __call__(self, emptied_HW3: np.ndarray, drawn: Rendered, index: int) -> Refined:
        """Frame `index`: uint8 [H, W, 3] without people, and the avatars for it."""
        backdrop_HW3 = emptied_HW3
        height, width = drawn.mask_HW.shape
        shaded_HW = np.zeros((height, width), bool)
        shade_hw = self._shade(drawn, index)
        if shade_hw.any():
            box = _enlarged(masks.bounding_slices(shade_hw > 0), shade_hw.shape, (height, width))
            shade = _window(shade_hw, (height, width), box) * ~drawn.mask_HW[box]
            shaded_HW[box] = shade > 1 / 512
            light = (1 - SHADOW * shade * shaded_HW[box]) ** np.float32(1 / GAMMA)
            backdrop_HW3 = emptied_HW3.copy()
            backdrop_HW3[box] = np.rint(emptied_HW3[box] * light[..., None]).astype(np.uint8)
        return Refined(backdrop_HW3=backdrop_HW3, avatar_HW3=relight(drawn, emptied_HW3), shaded_HW=shaded_HW)

    def state(self) -> bytes:
        """The recent floors, some hundred bytes."""
        return json.dumps([list(floors) for floors in self._floors_P]).encode()

    def resume(self, state: bytes) -> None:
        """Continue with the floors of another refiner."""
        for floors, seen in zip(self._floors_P, json.loads(state), strict=True):
            floors.clear()
            floors.extend(seen)

    def floor(self, person: int) -> float | None:
        """Position of the floor along `up` under a person, from the frames so far; None if unknown."""
        return min(self._floors_P[person], default=None)

    def up(self, person: int) -> np.ndarray:
        """The upward direction of a person, a unit vector in the camera's frame."""
        return self._up_P3[person]

    def _shade(self, drawn: Rendered, index: int) -> np.ndarray:
        """Strength of the shadow on each pixel of a small copy, float32 [h, w] from 0 to 1."""
        height, width = drawn.mask_HW.shape
        step = max(1, height // 240)
        shade_hw = np.zeros((-(-height // step), -(-width // step)), np.float32)
        present = _present(self._motions, index)
        if not present or not drawn.mask_HW.any():
            return shade_hw
        points_N3 = _surface(drawn, self._camera_33, step)
        owner_N = _nearest(points_N3, self._motions, index)
        for person in present:
            if self._motions[person].unseen(index):  # there are no feet to stand on
                continue
            own_N3 = points_N3[owner_N == person]
            self._see_floor(own_N3, person, height)
            floor = self.floor(person)
            if floor is not None:
                _drop(shade_hw, own_N3, self._up_P3[person], floor, self._camera_33, step)
        return shade_hw

    def _see_floor(self, own_N3: np.ndarray, person: int, height: int) -> None:
        """Record the lowest point of a person, unless its feet are outside the image."""
        if len(own_N3):
            low_3 = own_N3[np.argmin(own_N3 @ self._up_P3[person])]
            row = low_3[1] / low_3[2] * self._camera_33[1, 1] + self._camera_33[1, 2]
            if row < 0.985 * height:
                self._floors_P[person].append(float(low_3 @ self._up_P3[person]))


def relight(drawn: Rendered, emptied_HW3: np.ndarray) -> np.ndarray:
    """The avatars in the surrounding light, uint8 [H, W, 3]: exposure and colour cast.

    The light is the emptied frame, blurred over a third of its height, so it changes smoothly in space and
    time.
    """
    if not drawn.mask_HW.any():
        return drawn.color_HW3
    height, width = drawn.mask_HW.shape
    rows = 48
    small = (max(1, round(rows * width / height)), rows)
    step = max(1, height // 240)  # the blur below removes finer detail anyway
    around_hw3 = (
        cv2.resize(
            np.ascontiguousarray(emptied_HW3[step // 2 :: step, step // 2 :: step]),
            small,
            interpolation=cv2.INTER_AREA,
        ).astype(np.float32)
        / 255
    )
    linear_hw3 = cv2.GaussianBlur(around_hw3**GAMMA, (0, 0), rows / 3, borderType=cv2.BORDER_REPLICATE)
    value_hw = np.maximum(linear_hw3.mean(axis=2, keepdims=True), 1e-3)
    gain_hw3 = np.clip((value_hw / USUAL_LIGHT) ** LIGHT_SHARE, 0.4, 1.6)
    gain_hw3 = gain_hw3 * np.clip(linear_hw3 / value_hw, 0.5, 2) ** CAST_SHARE
    box = masks.bounding_slices(drawn.mask_HW)
    gain = _window(gain_hw3 ** np.float32(1 / GAMMA), (height, width), box)
    lit = drawn.color_HW3[box] / np.float32(255) * gain
    glaring = lit > 0.8
    lit[glaring] = 1 - 0.2 * np.exp(4 - 5 * lit[glaring])  # compress highlights instead of clipping them
    avatar_HW3 = np.zeros_like(drawn.color_HW3)
    avatar_HW3[box] = np.rint(255 * lit * drawn.mask_HW[box][..., None]).astype(np.uint8)
    return avatar_HW3


def _window(small: np.ndarray, size: tuple[int, int], box: tuple[slice, slice]) -> np.ndarray:
    """The part `box` of `small`, resampled to `size` (rows, columns)."""
    (height, width), (rows, columns) = size, box
    down, across = small.shape[0] / height, small.shape[1] / width
    place = np.array(
        [[across, 0, across * (columns.start + 0.5) - 0.5], [0, down, down * (rows.start + 0.5) - 0.5]]
    )
    window = (min(columns.stop, width) - columns.start, min(rows.stop, height) - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, place, window, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _enlarged(box: tuple[slice, slice], small: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, slice]:
    """The box of a small copy in pixels of the frame, enlarged by one pixel of the copy on each side."""
    rows, columns = (
        slice(max(0, (part.start - 1) * full // few), min(full, -(-(part.stop + 1) * full // few)))
        for part, few, full in zip(box, small, size, strict=True)
    )
    return rows, columns


def _upright(motion: Motion) -> np.ndarray:
    """The upward direction in the camera frame: that of the pelvis in most frames."""
    roots_T3 = motion.rotations_TJ3[motion.visible_T, 0]
    if not len(roots_T3):
        return np.array([0.0, -1.0, 0.0])
    ups_T3 = np.stack([cv2.Rodrigues(root.astype(np.float64))[0][:, 1] for root in roots_T3])
    up_3 = np.median(ups_T3, axis=0)
    length = np.linalg.norm(up_3)
    return up_3 / length if length > 0.5 else np.array([0.0, -1.0, 0.0])


def owners(drawn: Rendered, motions: tuple[Motion, ...], index: int, camera_33: np.ndarray) -> np.ndarray:
    """The person of each avatar pixel, int16 [H, W]: the person with the nearest hips; -1 for none."""
    owner_HW = np.full(drawn.mask_HW.shape, -1, np.int16)
    if drawn.mask_HW.any() and _present(motions, index):
        owner_HW[drawn.mask_HW] = _nearest(_surface(drawn, camera_33, 1), motions, index)
    return owner_HW


def _present(motions: tuple[Motion, ...], index: int) -> list[int]:
    return [person for person, motion in enumerate(motions) if motion.visible_T[index]]


def _nearest(points_N3: np.ndarray, motions: tuple[Motion, ...], index: int) -> np.ndarray:
    """The person [N] in the frame whose hips are nearest to each point."""
    present = _present(motions, index)
    hips_P3 = np.stack([motions[person].translation_T3[index] for person in present])
    nearest_N = np.linalg.norm(points_N3[:, None] - hips_P3, axis=2).argmin(axis=1)
    return np.array(present)[nearest_N]


def _surface(drawn: Rendered, camera_33: np.ndarray, step: int) -> np.ndarray:
    """Points [N, 3] of the drawn avatars in camera metres, from every `step`-th pixel."""
    depth_hw = drawn.depth_HW[::step, ::step]
    rows, columns = np.nonzero(drawn.mask_HW[::step, ::step])
    pixels_N2 = np.stack([columns, rows], axis=1) * step + 0.5
    depth_N1 = depth_hw[rows, columns][:, None].astype(np.float64)
    return np.concatenate(
        [(pixels_N2 - camera_33[:2, 2]) / camera_33[[0, 1], [0, 1]] * depth_N1, depth_N1], axis=1
    )


def _drop(
    shade_hw: np.ndarray,
    points_N3: np.ndarray,
    up_3: np.ndarray,
    floor: float,
    camera_33: np.ndarray,
    step: int,
) -> None:
    """Add the shadow of points to the floor below them, in place."""
    above_N = points_N3 @ up_3 - floor
    below_N3 = points_N3 - above_N[:, None] * up_3
    ahead = below_N3[:, 2] > 0.1
    strength_N = np.exp(-np.abs(above_N[ahead]) / REACH_M).astype(np.float32)
    below_N3 = below_N3[ahead]
    if not len(below_N3):
        return
    pixels_N2 = below_N3[:, :2] / below_N3[:, 2:] * camera_33[[0, 1], [0, 1]] + camera_33[:2, 2]
    columns, rows = np.floor(pixels_N2 / step).astype(int).T
    inside = (rows >= 0) & (rows < shade_hw.shape[0]) & (columns >= 0) & (columns < shade_hw.shape[1])
    dropped_hw = np.zeros_like(shade_hw)
    np.maximum.at(dropped_hw, (rows[inside], columns[inside]), strength_N[inside])
    metre = camera_33[0, 0] / float(np.median(below_N3[:, 2])) / step
    # A spot of shadow is as wide as a foot, and lower than wide, because floors are seen at an angle.
    size = (2 * round(0.05 * metre) + 1, 2 * round(0.025 * metre) + 1)
    dropped_hw = cv2.dilate(dropped_hw, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size))
    dropped_hw = cv2.GaussianBlur(dropped_hw, (0, 0), 0.045 * metre + 0.3, sigmaY=0.025 * metre + 0.3)
    np.maximum(shade_hw, dropped_hw, out=shade_hw)
