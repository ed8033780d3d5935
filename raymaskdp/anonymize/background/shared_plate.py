"""The background of a fixed camera, made of all its videos.

A video tells no more than its own finished statistics: pixels that no mask covered in most of its
frames, black elsewhere. So nothing under a mask can get into the plate of a camera.

Cameras are moved, and rooms are changed between two videos. Videos that do not agree are kept apart: a
camera has as many *views* as it saw different rooms, and a video that agrees with none is left to itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raymaskdp.anonymize.background import shadows
from raymaskdp.anonymize.background.drift import CameraCheck
from raymaskdp.anonymize.background.plate import Plate, PlateBuilder, PlateConfig, lighting, relit
from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.places import LocalPath

# Shape suffixes: H rows, W columns, 3 RGB.

LEAST_COMMON = 0.25
"""Share of the frame that two plates must both show, so that it can be told whether they agree."""

ALIKE = 20
"""Largest difference, in levels and in the same light, of pixels that show the same thing."""

MOST_UNLIKE = 0.1
"""Share of the common pixels that may show something else: a bag, an open door."""

LIGHT_ROWS = 96
"""Differences of light are smooth, and found in a picture of this height."""

MOST_SHADE = 0.25
"""Share of the frame from which on it is no shadow, but another light."""

BRIGHTER = 0.75
"""Where videos show a pixel differently, the share of them that may be darker than what is taken: people
throw shadows, and none throws light."""

MOST_VIEWS = 4
"""Views that are kept of a camera; one that moves more often is not fixed, whatever the manifest says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What one video shows of the background.

    Attributes:
      plate: not filled in, black where it was not seen.
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
    """The views of one camera from the observations of its videos, in the order given.

    Two streaming passes: memory grows with the views, not with the videos. What one video alone shows
    is no view, since no other video can use it.
    """
    groups: list[_Group] = []
    for path, observed in _steady(paths, config):
        group = next((g for g in groups if agree(observed, g.reference, config)), None)
        if group is not None:
            group.add(path, observed)
        elif len(groups) < MOST_VIEWS:
            groups.append(_Group(path, observed))
    return tuple(group.build(config) for group in groups if len(group.paths) > 1)


def joined_with(own: Plate, views: Sequence[Plate], config: PlateConfig) -> Plate:
    """A video's own plate, and what its camera saw in other videos where it saw nothing, or a shadow.

    Not filled in. `own` itself comes back where no view agrees with it.
    """
    view = next((view for view in views if agree(view, own, config)), None)
    if view is None:
        return own
    lit_HW3 = _in_light_of(own, view)
    taken_HW = view.seen_HW & (~own.seen_HW | _shaded(own.color_HW3, lit_HW3, own.seen_HW & view.seen_HW))
    color_HW3 = cv2.copyTo(lit_HW3, taken_HW.view(np.uint8), own.color_HW3.copy())
    return Plate(color_HW3=color_HW3, seen_HW=own.seen_HW | view.seen_HW)


def agree(plate: Plate, reference: Plate, config: PlateConfig) -> bool:
    """Whether two plates show the same room from the same place, whatever the light."""
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
        """What most that show a pixel agree on, in the light of the first; no shadow, if few have one."""
        config = dataclasses.replace(config, min_visible=0.0)  # each video asked for that before
        builder = PlateBuilder(config, visible_HW=self._visible_HW, num_frames=len(self.paths))
        for _, plate in _steady(self.paths, config):
            common_HW = plate.seen_HW & self.reference.seen_HW
            gain_3 = lighting(self.reference.color_HW3, plate.color_HW3, common_HW)
            builder.add(relit(plate.color_HW3, gain_3), ~plate.seen_HW)
        return builder.seen(BRIGHTER)


def _steady(paths: Sequence[LocalPath], config: PlateConfig) -> Iterator[tuple[LocalPath, Plate]]:
    """The plates of the videos in which the camera stood still."""
    for path in paths:
        observed = Observation.load(path)
        if observed.drift_px <= config.max_drift_px:
            yield path, observed.plate


def _in_light_of(own: Plate, view: Plate) -> np.ndarray:
    """The colours of a view as they would be in the video of `own`, uint8 [H, W, 3].

    After a gain for the whole picture, what is left of the difference is carried smoothly from where both
    are seen to where only the view is: no seam shows where a lamp was moved.
    """
    common_HW = own.seen_HW & view.seen_HW
    lit_HW3 = relit(view.color_HW3, lighting(own.color_HW3, view.color_HW3, common_HW))
    difference_HW3 = own.color_HW3.astype(np.float32) - lit_HW3
    alike_HW = common_HW & (np.abs(difference_HW3).max(axis=2) <= ALIKE)
    # Shadows are smaller than differences of light, and must not be carried anywhere.
    rough_HW3 = np.clip(lit_HW3 + _spread(difference_HW3, alike_HW, LIGHT_ROWS / 3), 0, 255)
    alike_HW &= ~_shaded(own.color_HW3, rough_HW3, common_HW)
    offset_HW3 = _spread(difference_HW3, alike_HW, LIGHT_ROWS / 12)
    return np.clip(np.rint(lit_HW3 + offset_HW3), 0, 255).astype(np.uint8)


def _spread(values_HW3: np.ndarray, where_HW: np.ndarray, reach: float) -> np.ndarray:
    """Values blurred from where they count to everywhere, over `reach` of `LIGHT_ROWS` rows."""
    height, width = where_HW.shape
    shrink = max(1.0, height / LIGHT_ROWS)
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    weight_HW = where_HW.astype(np.float32)
    sums_hw3 = cv2.resize(values_HW3 * weight_HW[..., None], small, interpolation=cv2.INTER_AREA)
    weight_hw = cv2.resize(weight_HW, small, interpolation=cv2.INTER_AREA)
    sums_hw3, weight_hw = (cv2.GaussianBlur(part, (0, 0), reach) for part in (sums_hw3, weight_hw))
    spread_hw3 = sums_hw3 / (weight_hw + 0.02)[..., None]  # far from where anything counts it fades to none
    return cv2.resize(spread_hw3, (width, height), interpolation=cv2.INTER_LINEAR)


def _shaded(own_HW3: np.ndarray, other_HW3: np.ndarray, common_HW: np.ndarray) -> np.ndarray:
    """Where a video shows a shadow that others do not; bool [H, W], none where it must be another light."""
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
