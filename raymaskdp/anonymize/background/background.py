"""The background of a video: a streaming pass over it, combined with the views of its camera."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.drift import CameraCheck
from raymaskdp.anonymize.background.mosaic import Mosaic, find_mosaic
from raymaskdp.anonymize.background.plate import Plate, PlateBuilder, filled
from raymaskdp.anonymize.background.rarely_visible import RarelyVisible
from raymaskdp.anonymize.background.shared_plate import Observation, merge_views
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.video import masks, reader
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo

# Shape suffixes: T frames, H rows, W columns, B bytes of a packed mask.


SHOWN_S = 0.3
"""Seconds for which a mostly covered pixel must have shown the background."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """The background of a video.

    Attributes:
      plate: of a fixed camera.
      mosaic: of a moving camera. Without plate and mosaic, each frame is filled separately.
      never_observed: fraction of the frame that no video of the camera shows uncovered.
      shared_fraction: fraction that only other videos of the camera show.
      drift_px: the largest measured motion of the camera.
      fit_failure: why a moving camera has no mosaic; "" otherwise.
    """

    plate: Plate | None = None
    mosaic: Mosaic | None = None
    never_observed: float
    drift_px: float
    shared_fraction: float = 0.0
    fit_failure: str = ""

    def at(self, index: int) -> np.ndarray | None:
        """The background of frame `index`, uint8 [H, W, 3]; None if the frame is filled separately."""
        if self.mosaic is not None:
            return self.mosaic.at(index)
        return None if self.plate is None else self.plate.color_HW3


def masked_frames(
    path: LocalPath, masks_TB: np.ndarray | MaskFilm, start: int = 0
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Frames uint8 [H, W, 3] of a video from number `start` on, with their masks bool [H, W].

    Raises `UserError` if the video has changed.
    """
    count = start
    for count, frame_HW3 in enumerate(reader.stream(path, start), start=start + 1):
        if count > len(masks_TB):
            break
        yield frame_HW3, masks.unpack(masks_TB[count - 1], *frame_HW3.shape[:2])
    if count != len(masks_TB):
        raise UserError(f"The video {path} changed during the run.")


def find_background(
    path: LocalPath,
    info: VideoInfo,
    masks_TB: np.ndarray | MaskFilm,
    plates: PlateConfig,
    views: Sequence[Plate] = (),
    observed: Observation | None = None,
) -> Background:
    """The background of a video, from the video itself, the `views` of its camera, and inpainting.

    Args:
      path, info, masks_TB: the video, and the pixels that must not be used.
      plates: settings.
      views: the views of the camera from other videos.
      observed: the observation of the video, if it exists; otherwise the video is observed first.
    """
    observed = observed or observe(path, info, masks_TB, plates)
    if observed.drift_px > plates.max_drift_px:
        return _moving(path, info, masks_TB, plates, observed.drift_px)
    joined = merge_views(observed.plate, views, plates)
    return Background(
        plate=filled(joined, plates),
        never_observed=joined.never_observed,
        shared_fraction=observed.plate.never_observed - joined.never_observed,
        drift_px=observed.drift_px,
    )


def _moving(
    path: LocalPath, info: VideoInfo, masks_TB: np.ndarray | MaskFilm, plates: PlateConfig, drift_px: float
) -> Background:
    """The background of a moving camera, as a mosaic if one can be made."""

    def frames() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return masked_frames(path, masks_TB)

    found = find_mosaic(frames, height=info.height, width=info.width, config=plates)
    if isinstance(found, str):
        return Background(never_observed=1.0, drift_px=drift_px, fit_failure=found)
    return Background(mosaic=found, never_observed=found.never_observed, drift_px=drift_px)


def observe(
    path: LocalPath, info: VideoInfo, masks_TB: np.ndarray | MaskFilm, plates: PlateConfig
) -> Observation:
    """The first pass: the background as shown by the pixels outside `masks_TB`."""
    visible_HW = np.full((info.height, info.width), info.num_frames, np.int32)
    for packed in masks_TB:
        visible_HW -= masks.unpack(packed, info.height, info.width)
    seldom_HW = visible_HW < plates.min_visible * info.num_frames
    rarely_visible = RarelyVisible(masks.unpack(packed, info.height, info.width) for packed in masks_TB)
    shown_HW = np.zeros_like(visible_HW)
    for index in range(info.num_frames):
        shown_HW += rarely_visible.shown(index)
    # A mostly covered pixel that shows the background for long enough is taken from these frames alone.
    trusted_HW = seldom_HW & (shown_HW >= max(3, SHOWN_S * float(info.fps)))
    builder = PlateBuilder(
        plates,
        visible_HW=np.where(trusted_HW, shown_HW, visible_HW),
        num_frames=np.where(trusted_HW, shown_HW, info.num_frames),
    )
    camera = CameraCheck(info.num_frames)
    for index, (frame_HW3, mask_HW) in enumerate(masked_frames(path, masks_TB)):
        builder.add(frame_HW3, mask_HW | (trusted_HW & ~rarely_visible.shown(index)))
        camera.add(index, frame_HW3, mask_HW)
    return Observation(plate=builder.observed(), drift_px=camera.drift_px())
