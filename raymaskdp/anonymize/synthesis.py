"""From people and motions to layers: find the background, then write each frame without the people.

Two streaming passes over the source. In the second every frame is made twice, once with all masked
pixels altered, and the two are compared: what survives of a person is counted, not assumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raymaskdp.anonymize import composite, plate
from raymaskdp.anonymize.camera import CameraCheck
from raymaskdp.anonymize.composite import CompositeConfig
from raymaskdp.anonymize.fills import fill
from raymaskdp.anonymize.people import packed_size
from raymaskdp.anonymize.plate import Plate, PlateBuilder, PlateConfig, filled
from raymaskdp.anonymize.refine import Refiner, Shot
from raymaskdp.anonymize.scene import Scene
from raymaskdp.anonymize.shared_plate import Observation, joined_with
from raymaskdp.anonymize.silhouettes import Silhouettes
from raymaskdp.anonymize.verify import Digest, FrameChecks, VerifyConfig
from raymaskdp.bodies.render import Rendered
from raymaskdp.errors import UserError
from raymaskdp.video import masks, reader
from raymaskdp.video.audio import add_sound
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

# Shape suffixes: T frames, H rows, W columns, B bytes of a packed mask.


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """What a video shows behind its people.

    Attributes:
      plate: of the fixed camera; None if each frame is filled by itself.
      unseen: fraction of the frame that was never uncovered, in no video of the camera.
      lent: fraction that only other videos of the camera showed.
      drift_px: the largest motion of the camera that was seen.
    """

    plate: Plate | None
    unseen: float
    drift_px: float
    lent: float = 0.0


def masked_frames(path: str, masks_TB: np.ndarray | MaskFilm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 [H, W, 3] of a video with their masks bool [H, W]; `UserError` if it has changed."""
    count = 0
    for count, frame_HW3 in enumerate(reader.stream(path), start=1):
        if count > len(masks_TB):
            break
        yield frame_HW3, masks.unpack(masks_TB[count - 1], *frame_HW3.shape[:2])
    if count != len(masks_TB):
        raise UserError(f"The video {path} changed while it was worked on.")


def find_background(
    path: str,
    info: VideoInfo,
    masks_TB: np.ndarray | MaskFilm,
    plates: PlateConfig,
    views: Sequence[Plate] = (),
) -> Background:
    """The plate, and the camera's motion; `views` are what the camera sees in other videos."""
    return complete(observe(path, info, masks_TB, plates), plates, views)


def observe(path: str, info: VideoInfo, masks_TB: np.ndarray | MaskFilm, plates: PlateConfig) -> Observation:
    """The first pass: what the pixels outside `masks_TB` show of the background."""
    visible_HW = np.full((info.height, info.width), info.num_frames, np.int32)
    for packed in masks_TB:
        visible_HW -= masks.unpack(packed, info.height, info.width)
    builder = PlateBuilder(plates, visible_HW=visible_HW, num_frames=info.num_frames)
    camera = CameraCheck(info.num_frames)
    for index, (frame_HW3, mask_HW) in enumerate(masked_frames(path, masks_TB)):
        builder.add(frame_HW3, mask_HW)
        camera.add(index, frame_HW3, mask_HW)
    return Observation(plate=builder.seen(), drift_px=camera.drift_px())


def complete(observed: Observation, plates: PlateConfig, views: Sequence[Plate] = ()) -> Background:
    """The background of a video, as far as it, the `views` of its camera, and a fill go."""
    if observed.drift_px > plates.max_drift_px:
        return Background(plate=None, unseen=1.0, drift_px=observed.drift_px)
    joined = joined_with(observed.plate, views, plates)
    return Background(
        plate=filled(joined, plates),
        unseen=joined.unseen,
        lent=observed.plate.unseen - joined.unseen,
        drift_px=observed.drift_px,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Emptied:
    """A frame without its people.

    Attributes:
      frame_HW3: uint8 RGB.
      removed_HW: bool, what was replaced: the person masks, and what moved beside them.
    """

    frame_HW3: np.ndarray
    removed_HW: np.ndarray


def empty(
    frame_HW3: np.ndarray,
    mask_HW: np.ndarray,
    background: Background,
    plates: PlateConfig,
    config: CompositeConfig,
) -> Emptied:
    """Remove everything under `mask_HW`, and what moves outside it where the camera is fixed.

    No value of `frame_HW3` under the mask has any influence on the result.
    """
    if background.plate is None:
        plate_HW3 = fill(frame_HW3, mask_HW, plates.fill)
        return Emptied(
            frame_HW3=composite.backdrop(frame_HW3, mask_HW, plate_HW3, config), removed_HW=mask_HW
        )
    color_HW3 = background.plate.color_HW3
    plate_HW3 = plate.relit(color_HW3, plate.lighting(frame_HW3, color_HW3, ~mask_HW))
    removed_HW = mask_HW | composite.changed(frame_HW3, plate_HW3, mask_HW, config)
    return Emptied(
        frame_HW3=composite.backdrop(frame_HW3, removed_HW, plate_HW3, config), removed_HW=removed_HW
    )


@dataclass(kw_only=True, eq=False)
class Layers:
    """What the second pass wrote, and what was counted on the way.

    Attributes:
      checks: counts of every frame.
      removed_TB, seams_TB, avatar_TB: packed masks of what was replaced, the same with its soft rim and
        the avatars' shadows, and the avatars.
      avatar_digest: of the avatar frames.
      empty_frames: some frames without avatars, by name, for the detectors.
    """

    checks: FrameChecks
    removed_TB: MaskFilm
    seams_TB: MaskFilm
    avatar_TB: MaskFilm
    avatar_digest: str = ""
    empty_frames: list[tuple[str, np.ndarray]] = field(default_factory=list)


def write_layers(
    *,
    source: str,
    info: VideoInfo,
    scene: Scene,
    background: Background,
    draw: Callable[[int], Rendered],
    refiner: Refiner,
    silhouettes: Silhouettes,
    composite_path: Path,
    avatar_path: Path,
    masks_TB: np.ndarray | MaskFilm,
    plates: PlateConfig,
    composites: CompositeConfig,
    verify: VerifyConfig,
) -> Layers:
    """The second pass: write composite and avatar layer, and count what the checks need.

    Args:
      source, info, scene, background: the video and what is known of it.
      draw: the avatars of a frame, by its index.
      refiner: fits them into the scene.
      silhouettes: of people without a pose; behind the avatars, and not in their layer.
      composite_path, avatar_path: the files to write.
      masks_TB: packed, everything that must go.
      plates, composites, verify: settings.
    """
    height, width, num_frames = scene.height, scene.width, scene.num_frames
    layers = Layers(
        checks=FrameChecks(verify, num_frames=num_frames, height=height, width=width),
        removed_TB=MaskFilm(num_frames, packed_size(height, width)),
        seams_TB=MaskFilm(num_frames, packed_size(height, width)),
        avatar_TB=MaskFilm(num_frames, packed_size(height, width)),
    )
    digest = Digest()
    shown = set(np.linspace(0, num_frames - 1, verify.detector_frames).round().astype(int).tolist())
    rim_px = composites.feather_px + 2
    waiting: deque[tuple[np.ndarray, Emptied, Rendered, int]] = deque()

    def shots() -> Iterator[Shot]:
        for index, (frame_HW3, mask_HW) in enumerate(masked_frames(source, masks_TB)):
            emptied = empty(frame_HW3, mask_HW, background, plates, composites)
            surviving = composite.surviving_pixels(
                lambda altered, mask=mask_HW: empty(altered, mask, background, plates, composites).frame_HW3,  # type: ignore[misc]
                frame_HW3,
                mask_HW,
                emptied.frame_HW3,
            )
            # From here on the source is gone: what follows sees the emptied frame and the render only.
            drawn = draw(index)
            waiting.append((mask_HW, emptied, drawn, surviving))
            yield Shot(index=index, emptied_HW3=emptied.frame_HW3, drawn=drawn)

    with (
        VideoWriter(
            composite_path, width=width, height=height, fps=info.fps, full_range=info.full_range
        ) as composite_out,
        VideoWriter(avatar_path, width=width, height=height, fps=info.fps, lossless=True) as avatar_out,
    ):
        for index, refined in enumerate(refiner.over(shots())):
            mask_HW, emptied, drawn, surviving = waiting.popleft()
            backdrop_HW3, flat_HW = silhouettes.over(refined.backdrop_HW3, index)
            composite_out.write(
                composite.overlay(backdrop_HW3, refined.avatar_HW3, drawn.mask_HW, composites)
            )
            avatar_out.write(drawn.color_HW3)
            digest.add(drawn.color_HW3, drawn.mask_HW)
            layers.removed_TB[index] = masks.pack(emptied.removed_HW)
            layers.seams_TB[index] = masks.pack(masks.dilate(emptied.removed_HW, rim_px) | refined.shaded_HW)
            layers.avatar_TB[index] = masks.pack(drawn.mask_HW)
            if index in shown:
                layers.empty_frames.append((f"frame {index}", emptied.frame_HW3))
            present = np.flatnonzero(scene.visible_PT[:, index]).tolist()
            layers.checks.add(
                index,
                person_masks=[scene.person_mask(person, index) for person in present],
                drawn=[bool(scene.motions[person].visible_T[index]) for person in present],
                avatar_mask_HW=drawn.mask_HW,
                silhouettes_HW=flat_HW,
                masked=int(np.count_nonzero(mask_HW)),
                changed=int(np.count_nonzero(emptied.removed_HW & ~mask_HW)),
                surviving=surviving,
            )
    if composites.keep_audio:
        add_sound(composite_path, source)
    layers.avatar_digest = digest.hex()
    return layers
