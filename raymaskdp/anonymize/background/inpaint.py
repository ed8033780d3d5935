"""Inpainting: pixels that were never observed, filled from those that were. Once for a plate, not for each
frame.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from raymaskdp.anonymize.background.config import FILL_NAMES
from raymaskdp.errors import UserError
from raymaskdp.extensions import Registry

# Shape suffixes: H rows, W columns, 3 RGB.

NETWORK_SIZE = 512
"""Side in pixels of the input of inpainting networks."""

GRAIN = 14.0
"""Largest deviation from a row's mean colour, in levels, that counts as texture and not as an object."""

WIDE = (0.25, 0.5)
"""Widths of gaps, as shares of the height, up to which rows are interpolated whatever is beside them, and
from which they are not if it is varied. A gap at the edge of the frame counts twice."""

VARIED = (10.0, 25.0)
"""Deviations of the colours beside a gap, in levels, from which they are varied a little, and very much."""

SURFACE_ROWS = 120
"""Rows of a smooth surface, at least."""

SMOOTHINGS = 6
"""Smoothing steps of a surface at each size."""


def fill(color_HW3: np.ndarray, unknown_HW: np.ndarray, method: str) -> np.ndarray:
    """A copy of `color_HW3` with the pixels of `unknown_HW` inpainted.

    `method` is a name in `FILLS` or the path of an ONNX network. The unknown values are erased first, so that
    no method can use them.
    """
    erased_HW3 = color_HW3.copy()
    erased_HW3[unknown_HW] = 0
    if not unknown_HW.any():
        return erased_HW3
    if unknown_HW.all():
        erased_HW3[:] = 127
        return erased_HW3
    if method in FILLS:
        filled_HW3 = FILLS[method](erased_HW3, unknown_HW)
    else:
        filled_HW3 = _fill_by_network(erased_HW3, unknown_HW, Path(method))
    filled_HW3[~unknown_HW] = color_HW3[~unknown_HW]
    return filled_HW3


def _fill_rows(color_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
    """Each gap in a row is interpolated from the colour on its left to that on its right, with their texture.

    It suits narrow gaps in walls and floors, and never smears an edge. The colours are means over a few
    pixels. The residual of the neighbours (bricks, boards, grain, but no objects) is mirrored into the gap.
    In a wide gap, rows of varied surroundings (shelves, crowds) would become streaks, so a smooth surface
    takes their place.
    """
    known_HW = ~unknown_HW
    weight_HW = cv2.blur(known_HW.astype(np.float32), (7, 3))
    mean_HW3 = cv2.blur(color_HW3.astype(np.float32) * known_HW[..., None], (7, 3))
    mean_HW3 /= np.maximum(weight_HW, 1e-6)[..., None]
    grain_HW3 = color_HW3 - mean_HW3
    grain_HW3[unknown_HW | (np.abs(grain_HW3).max(axis=2) > GRAIN)] = 0
    filled_HW3 = color_HW3.astype(np.float32)
    surface_HW = np.zeros(unknown_HW.shape, np.float32)  # share of the smooth surface
    last = color_HW3.shape[1] - 1
    for row in np.flatnonzero(unknown_HW.any(axis=1)):
        steps = np.diff(unknown_HW[row].view(np.int8), prepend=0, append=0)
        for start, end in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True):
            if start == 0 and end > last:
                surface_HW[row] = 1
                continue
            inside = np.arange(end - start)
            share = ((inside + 1) / (end - start + 1))[:, None]
            one_sided = start == 0 or end > last
            if one_sided:
                share = np.full_like(share, 1.0 if start == 0 else 0.0)
            left, right = mean_HW3[row, max(start - 1, 0)], mean_HW3[row, min(end, last)]
            mirrored_left = grain_HW3[row, np.maximum(start - 1 - inside, 0)]
            mirrored_right = grain_HW3[row, np.minimum(2 * end - 1 - start - inside, last)]
            sharp = np.clip(4 * (share - 0.5) + 0.5, 0, 1)
            filled_HW3[row, start:end] = left + share * (right - left)
            filled_HW3[row, start:end] += mirrored_left + sharp * (mirrored_right - mirrored_left)
            wide = _ramp((1 + one_sided) * (end - start) / len(color_HW3), WIDE)
            if wide:
                varied = max(
                    _variation(mean_HW3[row, :start][::-1], known_HW[row, :start][::-1], len(inside)),
                    _variation(mean_HW3[row, end:], known_HW[row, end:], len(inside)),
                )
                surface_HW[row, start:end] = wide * _ramp(varied, VARIED)
    if surface_HW.any():
        smooth_HW3 = _smooth_surface(color_HW3, unknown_HW)
        rowless = ~known_HW.any(axis=1)
        filled_HW3[rowless] = smooth_HW3[rowless]  # before the blend, which would mix them with black
        filled_HW3 += cv2.blur(surface_HW, (9, 9))[..., None] * (smooth_HW3 - filled_HW3)
    return np.clip(np.rint(filled_HW3), 0, 255).astype(np.uint8)


def _variation(mean_N3: np.ndarray, known_N: np.ndarray, reach: int) -> float:
    """Mean deviation of a row's known colours from the first one, over `reach` pixels; 0 if none is known."""
    near_N3 = mean_N3[:reach][known_N[:reach]]
    return float(np.abs(near_N3 - near_N3[:1]).max(axis=1).mean()) if len(near_N3) else 0.0


def _ramp(value: float, limits: tuple[float, float]) -> float:
    """0 up to the first limit, 1 from the second one on."""
    return min(max((value - limits[0]) / (limits[1] - limits[0]), 0.0), 1.0)


def _smooth_surface(color_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
    """A surface over the unknown pixels that continues the known ones, float32 [H, W, 3].

    Pull-push (Gortler et al. 1996): means of known pixels at half the size, and again, are interpolated back,
    and smoothed at every size. The largest size has at most twice `SURFACE_ROWS` rows.
    """
    height, width = unknown_HW.shape
    known_HW1 = (~unknown_HW).astype(np.float32)[..., None]
    sums_HW4 = np.dstack([color_HW3 * known_HW1, known_HW1])
    shrink = max(1, height // SURFACE_ROWS)
    small = (max(1, width // shrink), max(1, height // shrink))
    levels = [cv2.resize(sums_HW4, small, interpolation=cv2.INTER_AREA)]
    while min(levels[-1].shape[:2]) > 1:
        rows, columns = levels[-1].shape[:2]
        half = ((columns + 1) // 2, (rows + 1) // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    surface_hw3 = levels[-1][..., :3].mean((0, 1), keepdims=True) / max(levels[-1][..., 3].mean(), 1e-6)
    for sums_hw4 in reversed(levels):
        rows, columns = sums_hw4.shape[:2]
        surface_hw3 = cv2.resize(surface_hw3, (columns, rows), interpolation=cv2.INTER_LINEAR)
        known_hw = sums_hw4[..., 3] > 0
        surface_hw3[known_hw] = sums_hw4[known_hw][:, :3] / sums_hw4[known_hw][:, 3:]
        for _ in range(SMOOTHINGS):
            surface_hw3[~known_hw] = cv2.blur(surface_hw3, (3, 3))[~known_hw]
    return cv2.resize(surface_hw3, (width, height), interpolation=cv2.INTER_LINEAR)


def _fill_telea(color_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
    return cv2.inpaint(color_HW3, unknown_HW.astype(np.uint8), 5, cv2.INPAINT_TELEA)


def _fill_shiftmap(color_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
    """Copies of patches from elsewhere in the image: keeps texture, takes seconds to minutes."""
    lab_HW3 = cv2.cvtColor(color_HW3, cv2.COLOR_RGB2Lab)
    filled_HW3 = lab_HW3.copy()
    known_HW = np.where(unknown_HW, 0, 255).astype(np.uint8)
    cv2.xphoto.inpaint(lab_HW3, known_HW, filled_HW3, cv2.xphoto.INPAINT_SHIFTMAP)
    return cv2.cvtColor(filled_HW3, cv2.COLOR_Lab2RGB)


def _fill_blur(color_HW3: np.ndarray, unknown_HW: np.ndarray) -> np.ndarray:
    """The colours around a gap, blurred over a sixth of the height, or over all of it."""
    known_HW = (~unknown_HW).astype(np.float32)
    sums_HW4 = np.dstack([color_HW3 * known_HW[..., None], known_HW]).astype(np.float32)
    side = len(color_HW3) // 6 | 1
    near_HW4 = cv2.blur(sums_HW4, (side, side)) + 1e-3 * sums_HW4.mean(axis=(0, 1))
    return np.clip(np.rint(near_HW4[..., :3] / near_HW4[..., 3:]), 0, 255).astype(np.uint8)


def _fill_by_network(color_HW3: np.ndarray, unknown_HW: np.ndarray, path: Path) -> np.ndarray:
    """An ONNX network like LaMa (Suvorov et al. 2022), run by OpenCV.

    Its inputs are "image", RGB in [0, 1], [1, 3, 512, 512], and "mask", 1 where unknown, [1, 1, 512, 512];
    its output is RGB in [0, 255] or in [0, 1]. Known pixels keep the resolution of the frame.
    """
    height, width = unknown_HW.shape
    size = (NETWORK_SIZE, NETWORK_SIZE)
    image = cv2.resize(color_HW3, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask = cv2.resize(unknown_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
        network.setInput(np.ascontiguousarray(image.transpose(2, 0, 1)[None]), "image")
        network.setInput(mask.astype(np.float32)[None, None], "mask")
        made = network.forward()
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"The network {path} cannot fill a plate ({reason}); see plate.fill.") from error
    if made.shape != (1, 3, *size) or not np.isfinite(made).all():
        raise UserError(f"The network {path} returns no image of 512 by 512 pixels; see plate.fill.")
    scale = 255 if made.max() <= 1.5 else 1
    picture = np.clip(np.rint(scale * made[0].transpose(1, 2, 0)), 0, 255).astype(np.uint8)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


FILLS: Registry[Callable[[np.ndarray, np.ndarray], np.ndarray]] = Registry(
    FILL_NAMES,
    {"rows": _fill_rows, "telea": _fill_telea, "shiftmap": _fill_shiftmap, "blur": _fill_blur},
    what="function of a picture and its unknown pixels",
    is_one=callable,
)
"""Inpainting methods: (uint8 [H, W, 3], bool [H, W]) → uint8 [H, W, 3]."""
