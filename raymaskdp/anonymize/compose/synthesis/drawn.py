"""The first part of the second pass: frames without their people, and the avatars for them.

There are two streaming passes over the source. In the second every frame is made twice, once with all masked
pixels altered, and the results are compared: the source pixels that survive are counted, not assumed. What
leaves this module has no pixel of the source under a mask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np

from raymaskdp.anonymize.background import plate
from raymaskdp.anonymize.background.background import Background, masked_frames
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.anonymize.background.leakage import surviving_pixels
from raymaskdp.anonymize.compose import composite
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.refiner import Shot
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.verify.ladder import (
    LadderFrame,
    Rung,
    SecondDetector,
    frames_around,
    num_regions,
    redacted,
    warm_up,
)
from raymaskdp.bodies.render import Rendered, nothing_drawn
from raymaskdp.video import masks
from raymaskdp.video.containers.same_file import SameFile
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo

# Shape suffixes: T frames, H rows, W columns, B bytes of a packed mask.


@dataclass(frozen=True, kw_only=True, eq=False)
class Emptied:
    """A frame without its people.

    Attributes:
      frame_HW3: uint8 RGB.
      removed_HW: bool, the replaced pixels: person masks, and changes beside them.
    """

    frame_HW3: np.ndarray
    removed_HW: np.ndarray


def empty(
    frame_HW3: np.ndarray,
    mask_HW: np.ndarray,
    plate_HW3: np.ndarray | None,
    plates: PlateConfig,
    config: CompositeConfig,
    things_HW: np.ndarray | None = None,
) -> Emptied:
    """Remove everything under `mask_HW`, and changes outside it if the background is known.

    No value of `frame_HW3` under the mask has any influence on the result.
    """
    if plate_HW3 is None:
        plate_HW3 = fill(frame_HW3, mask_HW, "blur" if plates.moving_camera == "blur" else plates.fill)
        return Emptied(
            frame_HW3=composite.backdrop(frame_HW3, mask_HW, plate_HW3, config), removed_HW=mask_HW
        )
    plate_HW3 = plate.relit(plate_HW3, plate.lighting(frame_HW3, plate_HW3, ~mask_HW))
    removed_HW = mask_HW | composite.changed(frame_HW3, plate_HW3, mask_HW, config, things_HW)
    return Emptied(
        frame_HW3=composite.backdrop(frame_HW3, removed_HW, plate_HW3, config), removed_HW=removed_HW
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawInputs:
    """All inputs of the first part.

    Attributes:
      source, info, scene, background: the video and its analysis.
      draw: the avatars of a frame, by its index.
      masks_TB: packed, all pixels that must be removed.
      flow: fills frames without a background from their neighbours; None if disabled.
      look: detects people in frames that must show none.
      plates, composites: settings.
    """

    source: SameFile
    info: VideoInfo
    scene: Scene
    background: Background
    draw: Callable[[int], Rendered]
    masks_TB: np.ndarray | MaskFilm
    flow: FlowFill | None = None
    look: SecondDetector
    plates: PlateConfig
    composites: CompositeConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnFrame:
    """A frame without its people, its avatars, and what was counted so far.

    Attributes:
      index: its number.
      emptied_HW3: uint8 RGB, without a pixel of the source under a mask.
      removed_HW: bool, all pixels that differ from the source.
      drawn: the rendered avatars.
      counts: those of `FrameChecks` that are known without the silhouettes, by name.
    """

    index: int
    emptied_HW3: np.ndarray
    removed_HW: np.ndarray
    drawn: Rendered
    counts: Mapping[str, int]

    @property
    def blank(self) -> bool:
        """Whether the frame is blank, so that it has no silhouettes and no output of a refiner."""
        return self.counts["blanked"] > 0

    def shot(self) -> Shot:
        """The refiner's part of it."""
        return Shot(index=self.index, emptied_HW3=self.emptied_HW3, drawn=self.drawn)


def drawn_frames(work: DrawInputs, start: int) -> Generator[DrawnFrame, None, None]:
    """The frames from number `start` on. Reading past the last frame detects a changed video."""
    scene = work.scene
    with contextlib.closing(_redacted_frames(work, start)) as frames:
        for shown in frames:
            # From here on only the emptied frame and the render are used, not the source.
            blank = shown.rung == Rung.BLANK
            drawn = nothing_drawn(scene.height, scene.width) if blank else work.draw(shown.index)
            yield DrawnFrame(
                index=shown.index,
                emptied_HW3=shown.frame_HW3,
                removed_HW=shown.removed_HW,
                drawn=drawn,
                counts=_counts(work, shown, drawn),
            )


def _redacted_frames(work: DrawInputs, start: int) -> Generator[LadderFrame, None, None]:
    """Frames without people from number `start` on, redacted until detectors find nobody."""
    fps = float(work.info.fps)
    first = warm_up(start, fps)
    with contextlib.closing(masked_frames(work.source, work.masks_TB, first)) as frames:
        emptied = (
            _emptied(work, index, frame_HW3, mask_HW)
            for index, (frame_HW3, mask_HW) in enumerate(frames, start=first)
        )
        for shown in redacted(emptied, work.look, fps):
            if shown.index >= start:
                yield shown


def _counts(work: DrawInputs, shown: LadderFrame, drawn: Rendered) -> dict[str, int]:
    """The counts of a frame for `FrameChecks`, without its avatars and silhouettes."""
    scene, blank = work.scene, shown.rung == Rung.BLANK
    doubts, regions = int(scene.doubts_T[shown.index]), _regions(work, shown)
    everybody = int(np.count_nonzero(scene.visible_PT[:, shown.index])) + doubts + regions
    return {
        "background": 0 if blank else doubts + (regions if shown.rung == Rung.BACKGROUND else 0),
        "filled": regions if shown.rung == Rung.FILL else 0,
        "blank": max(1, everybody) if blank else 0,
        "blanked": int(blank),
        "masked": int(np.count_nonzero(shown.mask_HW)),
        "avatar_pixels": int(np.count_nonzero(drawn.mask_HW)),
        "changed": int(np.count_nonzero(shown.removed_HW & ~shown.mask_HW)),
        "surviving": shown.surviving,
    }


def _regions(work: DrawInputs, shown: LadderFrame) -> int:
    """Number of redacted regions of a frame that may have contained a person."""
    if shown.region_HW is None:
        return 0
    around = frames_around(shown.index, work.scene.num_frames, float(work.info.fps))
    removed_HW, things_HW = (
        masks.unpack(np.bitwise_or.reduce([film[index] for index in around]), *shown.mask_HW.shape)
        for film in (work.masks_TB, work.scene.things_TB)
    )
    return num_regions(shown, removed_HW, things_HW)


def _emptied(work: DrawInputs, index: int, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> LadderFrame:
    """A frame without its people, and the number of its pixels that depend on a masked one."""
    behind_HW3, surviving = work.background.at(index), 0
    things_HW = masks.unpack(work.scene.things_TB[index], *mask_HW.shape)
    if work.flow is not None:
        flowed_HW3, surviving = work.flow.at(index)

    def made(frame_HW3: np.ndarray) -> Emptied:
        if work.flow is None:
            return empty(frame_HW3, mask_HW, behind_HW3, work.plates, work.composites, things_HW)
        whole_HW3 = composite.backdrop(frame_HW3, mask_HW, flowed_HW3, work.composites)
        return Emptied(frame_HW3=whole_HW3, removed_HW=mask_HW)

    emptied = made(frame_HW3)
    surviving += surviving_pixels(
        lambda altered_HW3: made(altered_HW3).frame_HW3, frame_HW3, mask_HW, emptied.frame_HW3
    )
    return LadderFrame(
        index=index,
        mask_HW=mask_HW,
        frame_HW3=emptied.frame_HW3,
        removed_HW=emptied.removed_HW,
        surviving=surviving,
    )
