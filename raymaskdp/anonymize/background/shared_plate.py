"""The background of a fixed camera, built from all its videos.

A video contributes only its own finished statistics: pixels that are unmasked in most of its frames, black
elsewhere. So no pixel under a mask can enter the plate of a camera.

Cameras are moved, and rooms change between two videos. Videos that disagree are kept separate: a camera has
one *view* for each state of the room, and a video that agrees with none uses its own background only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background import shadows
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.drift import CameraCheck
from raymaskdp.anonymize.background.plate import Plate, PlateBuilder, lighting, relit
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.places import LocalPath

# Shape suffixes: H rows, W columns, 3 RGB.

LEAST_COMMON = 0.25
"""Least share of the frame that two plates must have in common to be compared."""

ALIKE = 20
"""Largest difference, in levels and in the same light, of pixels that show the same object."""

MOST_UNLIKE = 0.1
"""Largest share of the common pixels that may differ, such as a bag or an open door."""

LIGHT_ROWS = 96
"""Rows of the image in which differences of light, which are smooth, are computed."""

MOST_SHADE = 0.25
"""Share of the frame from which a darker area is a change of light and not a shadow."""

BRIGHTER = 0.75
"""Quantile of the videos' values of a pixel that is used if they differ. It is above the median because
people cast shadows."""

MOST_VIEWS = 4
"""Largest number of views of a camera. A camera that moves more often is not fixed, whatever the manifest
says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """The background as one video shows it.

    Attributes:
      plate: not inpainted, black where nothing was observed.
      drift_px: the largest motion of the camera within the video.
    """

    plate: Plate
    drift_px: float

    def save(self, path: LocalPath) -> None:
        """Write it atomically."""
        seen_HW = np.packbits(self.plate.seen_HW)
        with atomic_path(path, ours=True) as temporary:
            np.savez_compressed(
                temporary, color=self.plate.color_HW3, seen=seen_HW, drift_px=np.float64(self.drift_px)
            )

    @classmethod
    def load(cls, path: LocalPath) -> Observation:
        """The inverse of `save`. Raises `UserError` for a file that is missing or damaged."""
        with _opened(path) as stored:
            return cls(plate=_plate(stored, ""), drift_px=float(stored["drift_px"]))


def save_views(path: LocalPath, views: Sequence[Plate]) -> None:
    """Write the views of a camera atomically."""
    arrays: dict[str, np.ndarray] = {"views": np.array(len(views))}
    for number, view in enumerate(views):
        arrays[f"color{number}"] = view.color_HW3
        arrays[f"seen{number}"] = np.packbits(view.seen_HW)
    with atomic_path(path, ours=True) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def load_views(path: LocalPath) -> tuple[Plate, ...]:
    """The inverse of `save_views`. Raises `UserError` for a file that is missing or damaged."""
    with _opened(path) as stored:
        return tuple(_plate(stored, str(number)) for number in range(int(stored["views"])))


def build_views(paths: Sequence[LocalPath], config: PlateConfig) -> tuple[Plate, ...]:
    """The views of one camera from the observations of its videos, in the given order.

    Two streaming passes: memory grows with the views, not with the videos. The plate of a single video is not
    a view, because no other video can use it.
    """
    groups: list[_Group] = []
    for path, observed in _static_plates(paths, config):
        group = next((g for g in groups if agree(observed, g.reference, config)), None)
        if group is not None:
            group.add(path, observed)
        elif len(groups) < MOST_VIEWS:
            groups.append(_Group(path, observed))
    return tuple(group.build(config) for group in groups if len(group.paths) > 1)


def merge_views(own: Plate, views: Sequence[Plate], config: PlateConfig) -> Plate:
    """A video's own plate, completed by its camera's views where it observed nothing, or a shadow.

    It is not inpainted. `own` is returned unchanged if no view agrees with it.
    """
    view = next((view for view in views if agree(view, own, config)), None)
    if view is None:
        return own
    lit_HW3 = _in_light_of(own, view)
    taken_HW = view.seen_HW & (~own.seen_HW | _shaded(own.color_HW3, lit_HW3, own.seen_HW & view.seen_HW))
    color_HW3 = cv2.copyTo(lit_HW3, taken_HW.view(np.uint8), own.color_HW3.copy())
    return Plate(color_HW3=color_HW3, seen_HW=own.seen_HW | view.seen_HW)


def agree(plate: Plate, reference: Plate, config: PlateConfig) -> bool:
    """Whether two plates show the same room from the same position, independent of the light."""
    if plate.seen_HW.shape != reference.seen_HW.shape:
        return False
    common_HW = plate.seen_HW & reference.seen_HW
    if common_HW.mean() < LEAST_COMMON:
        return False
    gain_3 = lighting(reference.color_HW3, plate.color_HW3, common_HW)
    pair = [cv2.blur(picture, (3, 3)) for picture in (relit(plate.color_HW3, gain_3), reference.color_HW3)]
    inner_HW = cv2.erode(common_HW.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    unlike_HW = np.asarray(cv2.absdiff(*pair)).max(axis=2) > ALIKE
    if np.count_nonzero(unlike_HW & inner_HW) > MOST_UNLIKE * np.count_nonzero(inner_HW):
        return False
    camera = CameraCheck(num_frames=2)
    for index, seen in enumerate((reference, plate)):
        camera.add(index, seen.color_HW3, ~seen.seen_HW)
    return camera.drift_px() <= config.max_drift_px


class _Group:
    """Videos that agree with the first of them."""

    def __init__(self, path: LocalPath, first: Plate) -> None:
        self.reference = first
        self.paths = [path]
        self._visible_HW = first.seen_HW.astype(np.int32)

    def add(self, path: LocalPath, plate: Plate) -> None:
        self.paths.append(path)
        self._visible_HW += plate.seen_HW

    def build(self, config: PlateConfig) -> Plate:
        """The majority value of each pixel, in the light of the first video; without shadows that few videos
        have.
        """
        config = dataclasses.replace(config, min_visible=0.0)  # each video has applied it already
        builder = PlateBuilder(config, visible_HW=self._visible_HW, num_frames=len(self.paths))
        for _, plate in _static_plates(self.paths, config):
            common_HW = plate.seen_HW & self.reference.seen_HW
            gain_3 = lighting(self.reference.color_HW3, plate.color_HW3, common_HW)
            builder.add(relit(plate.color_HW3, gain_3), ~plate.seen_HW)
        return builder.observed(BRIGHTER)


def _static_plates(paths: Sequence[LocalPath], config: PlateConfig) -> Iterator[tuple[LocalPath, Plate]]:
    """The plates of the videos with a static camera."""
    for path in paths:
        observed = Observation.load(path)
        if observed.drift_px <= config.max_drift_px:
            yield path, observed.plate


def _in_light_of(own: Plate, view: Plate) -> np.ndarray:
    """The colours of a view in the light of the video of `own`, uint8 [H, W, 3].

    After a gain for the whole image, the remaining difference is extrapolated smoothly from the pixels that
    both show to those of the view alone, so that there is no seam if a lamp was moved.
    """
    common_HW = own.seen_HW & view.seen_HW
    lit_HW3 = relit(view.color_HW3, lighting(own.color_HW3, view.color_HW3, common_HW))
    difference_HW3 = own.color_HW3.astype(np.float32) - lit_HW3
    alike_HW = common_HW & (np.abs(difference_HW3).max(axis=2) <= ALIKE)
    # Shadows are smaller than differences of light, and must not be extrapolated.
    rough_HW3 = np.clip(lit_HW3 + _spread(difference_HW3, alike_HW, LIGHT_ROWS / 3), 0, 255)
    alike_HW &= ~_shaded(own.color_HW3, rough_HW3, common_HW)
    offset_HW3 = _spread(difference_HW3, alike_HW, LIGHT_ROWS / 12)
    return np.clip(np.rint(lit_HW3 + offset_HW3), 0, 255).astype(np.uint8)


def _spread(values_HW3: np.ndarray, where_HW: np.ndarray, reach: float) -> np.ndarray:
    """Values blurred from `where_HW` to all pixels, over `reach` of `LIGHT_ROWS` rows."""
    height, width = where_HW.shape
    shrink = max(1.0, height / LIGHT_ROWS)
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    weight_HW = where_HW.astype(np.float32)
    sums_hw3 = cv2.resize(values_HW3 * weight_HW[..., None], small, interpolation=cv2.INTER_AREA)
    weight_hw = cv2.resize(weight_HW, small, interpolation=cv2.INTER_AREA)
    sums_hw3, weight_hw = (cv2.GaussianBlur(part, (0, 0), reach) for part in (sums_hw3, weight_hw))
    spread_hw3 = sums_hw3 / (weight_hw + 0.02)[..., None]  # it fades to zero with the distance
    return cv2.resize(spread_hw3, (width, height), interpolation=cv2.INTER_LINEAR)


def _shaded(own_HW3: np.ndarray, other_HW3: np.ndarray, common_HW: np.ndarray) -> np.ndarray:
    """Where a video has a shadow that others do not; bool [H, W], empty if it is a change of light."""
    shaded_HW = shadows.in_shade(own_HW3, other_HW3, common_HW)
    return shaded_HW if shaded_HW.mean() <= MOST_SHADE else np.zeros_like(common_HW)


def _opened(path: LocalPath) -> np.lib.npyio.NpzFile:
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"The plate {path} is missing or damaged; remove its folder.") from error
    assert isinstance(stored, np.lib.npyio.NpzFile)
    return stored


def _plate(stored: np.lib.npyio.NpzFile, suffix: str) -> Plate:
    color_HW3 = stored[f"color{suffix}"]
    seen_HW = np.unpackbits(stored[f"seen{suffix}"], count=color_HW3.shape[0] * color_HW3.shape[1])
    return Plate(color_HW3=color_HW3, seen_HW=seen_HW.reshape(color_HW3.shape[:2]).astype(bool))
