"""The background of a moving camera: a mosaic, one large plate in the coordinates of the first frame.

Frames are warped onto the large plate by their homographies (`homography`), and the statistics are those of a
fixed camera (`plate`): the streaming median of the unmasked pixels. For each frame the plate is warped back.
Resampling interpolates between pixels, so any pixel whose interpolation window touches a mask is discarded.
That this suffices is verified for every frame by counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.homography import MovingCamera
from raymaskdp.anonymize.background.leakage import erase, surviving_pixels
from raymaskdp.anonymize.background.plate import Plate, PlateBuilder, filled, lighting, relit

# Shape suffixes: T frames, H rows, W columns, h w of the large plate, 3 RGB.

MOST_AREA = 4.0
"""Largest area of the plate, in frames. A camera with a wider sweep has no mosaic."""

_FOOTPRINT = 3
"""A bicubic value uses pixels at most two away in each direction; one more, for rounding."""

MaskedFrames = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Frames uint8 [H, W, 3] with their masks bool [H, W], from the first one on at each call."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """The background of a moving camera.

    Attributes:
      plate: the large plate [h, w], with inpainted pixels where nothing was observed.
      onto_T33: homographies from each frame to it, float64.
      height, width: of the frames.
      never_observed: share of the area of the frames that no frame shows without people.
      surviving: pixels warped onto the plate that depend on a masked pixel; must be 0.
    """

    plate: Plate
    onto_T33: np.ndarray
    height: int
    width: int
    never_observed: float
    surviving: int

    def at(self, index: int) -> np.ndarray:
        """The plate, warped to frame `index`, uint8 [H, W, 3]."""
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        return cv2.warpPerspective(
            self.plate.color_HW3, self.onto_T33[index], size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )


def find_mosaic(frames: MaskedFrames, *, height: int, width: int, config: PlateConfig) -> Mosaic | str:
    """The mosaic of a moving camera, or why there is none. Reads the frames three times."""
    camera = MovingCamera(height=height, width=width)
    for frame_HW3, mask_HW in frames():
        camera.add(frame_HW3, mask_HW)
    if camera.fit_failure is not None:
        return camera.fit_failure
    placed = _on_canvas(camera.to_first_T33(), height, width)
    if placed is None:
        return "the camera looks too far around"
    onto_T33, size = placed
    visible_hw, in_view_hw = (np.zeros(size, np.int32) for _ in range(2))
    whole_HW = np.ones((height, width), np.uint8)
    for (_, mask_HW), onto_33 in zip(frames(), onto_T33, strict=True):
        visible_hw += _free(mask_HW, onto_33, size)
        in_view_hw += cv2.warpPerspective(whole_HW, onto_33, size[::-1], flags=cv2.INTER_NEAREST) > 0
    builder = PlateBuilder(config, visible_HW=visible_hw, num_frames=in_view_hw)
    surviving = sum(_lay(frames(), onto_T33, size, builder))
    plate = builder.observed()
    return Mosaic(
        plate=filled(plate, config),
        onto_T33=onto_T33,
        height=height,
        width=width,
        never_observed=float((in_view_hw * ~plate.seen_HW).sum() / max(1, in_view_hw.sum())),
        surviving=surviving,
    )


def _lay(
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    onto_T33: np.ndarray,
    size: tuple[int, int],
    builder: PlateBuilder,
) -> Iterator[int]:
    """Add all frames to the large plate, in its light; yields for each how many pixels depend on a masked
    one.
    """
    for (frame_HW3, mask_HW), onto_33 in zip(frames, onto_T33, strict=True):
        free_hw = _free(mask_HW, onto_33, size)

        def laid(
            frame_HW3: np.ndarray, onto_33: np.ndarray = onto_33, free_hw: np.ndarray = free_hw
        ) -> np.ndarray:
            laid_hw3 = cv2.warpPerspective(frame_HW3, onto_33, size[::-1], flags=cv2.INTER_CUBIC)
            return erase(laid_hw3, ~free_hw)

        laid_hw3 = laid(frame_HW3)
        yield surviving_pixels(laid, frame_HW3, mask_HW, laid_hw3)
        first_hw3, known_hw = builder.first()
        gain_3 = lighting(first_hw3, laid_hw3, free_hw & known_hw)
        builder.add(relit(laid_hw3, gain_3), ~free_hw)


def _free(mask_HW: np.ndarray, onto_33: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels of the large plate that a frame shows and that are independent of its masked pixels; bool."""
    near = np.ones((2 * _FOOTPRINT + 1, 2 * _FOOTPRINT + 1), np.uint8)
    # Outside its border a frame is black, which must not be interpolated either.
    free_HW = cv2.erode((~mask_HW).view(np.uint8), near, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.warpPerspective(free_HW, onto_33, size[::-1], flags=cv2.INTER_NEAREST) > 0


def _on_canvas(
    to_first_T33: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Homographies onto a canvas that contains all frames, and its size [rows, columns]; None if it is too
    large.
    """
    corners = np.array([[[0, 0]], [[width, 0]], [[0, height]], [[width, height]]], np.float64)
    depths_TN = np.concatenate([corners[:, 0], np.ones((4, 1))], axis=1) @ to_first_T33[:, 2].T
    if (depths_TN <= 0.1).any():  # a corner behind the first frame's camera
        return None
    at_N2 = np.concatenate([cv2.perspectiveTransform(corners, to_33)[:, 0] for to_33 in to_first_T33])
    low_2, high_2 = np.floor(at_N2.min(axis=0)), np.ceil(at_N2.max(axis=0))
    columns, rows = (int(side) for side in high_2 - low_2 + 1)
    if rows * columns > MOST_AREA * height * width:
        return None
    shift_33 = np.array([[1, 0, -low_2[0]], [0, 1, -low_2[1]], [0, 0, 1]])
    return shift_33 @ to_first_T33, (rows, columns)
