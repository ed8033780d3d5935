"""Write the layers of a video frame by frame: background, avatars, silhouettes, and the composite.

There are two streaming passes over the source. In the second every frame is made twice, once with all masked
pixels altered, and the results are compared: the source pixels that survive are counted, not assumed.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.background import plate
from raymaskdp.anonymize.background.background import Background, masked_frames
from raymaskdp.anonymize.background.config import PlateConfig
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.anonymize.background.leakage import surviving_pixels
from raymaskdp.anonymize.compose import composite
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.refiner import Refiner, Shot
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.silhouettes import SilhouetteFrame, Silhouettes
from raymaskdp.anonymize.output.chunks import Chunk, Chunks
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.anonymize.verify.checks import Digest, FrameChecks
from raymaskdp.anonymize.verify.config import VerifyConfig
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
from raymaskdp.files import atomic_path
from raymaskdp.video import masks
from raymaskdp.video.audio import add_sound
from raymaskdp.video.containers.same_file import SameFile
from raymaskdp.video.join import join
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

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
class SynthesisInputs:
    """All inputs of the second pass.

    Attributes:
      source, info, scene, background: the video and its analysis.
      draw: the avatars of a frame, by its index.
      refiner: a new refiner; it fits avatars into the scene.
      silhouettes: of people without a pose; behind the avatars, and not in their layer.
      masks_TB: packed, all pixels that must be removed.
      flow: fills frames without a background from their neighbours; None if disabled.
      look: detects people in frames that must show none.
      plates, composites, verify: settings.
    """

    source: SameFile
    info: VideoInfo
    scene: Scene
    background: Background
    draw: Callable[[int], Rendered]
    refiner: Callable[[], Refiner]
    silhouettes: Silhouettes
    masks_TB: np.ndarray | MaskFilm
    flow: FlowFill | None = None
    look: SecondDetector
    plates: PlateConfig
    composites: CompositeConfig
    verify: VerifyConfig


@dataclass(kw_only=True, eq=False)
class WrittenLayers:
    """The files and the counts of the second pass.

    Attributes:
      checks: counts of every frame.
      removed_TB, seams_TB, avatar_TB: packed masks of the replaced pixels, of the same with the soft seam and
        the avatars' shadows, and of the avatars.
      digest: of the avatar frames.
      refined: the refiners' counts.
      resumed: number of chunks that were completed before.
    """

    checks: FrameChecks
    removed_TB: MaskFilm
    seams_TB: MaskFilm
    avatar_TB: MaskFilm
    digest: Digest = field(default_factory=Digest)
    refined: Counter[str] = field(default_factory=Counter)
    resumed: int = 0

    @classmethod
    def of(cls, work: SynthesisInputs) -> WrittenLayers:
        """An empty instance."""
        height, width, num_frames = work.scene.height, work.scene.width, work.scene.num_frames
        size = packed_size(height, width)
        return cls(
            checks=FrameChecks(work.verify, num_frames=num_frames, height=height, width=width),
            removed_TB=MaskFilm(num_frames, size),
            seams_TB=MaskFilm(num_frames, size),
            avatar_TB=MaskFilm(num_frames, size),
        )

    def take(self, chunk: Chunk, frames: range) -> None:
        """Add a completed chunk."""
        self.checks.paste(frames, chunk.counts_T)
        for name, film in self._films().items():
            film.paste(frames.start, chunk.films[name])
        self.digest.frames += chunk.digests
        self.refined.update(chunk.refined)

    def _films(self) -> dict[str, MaskFilm]:
        return {"removed": self.removed_TB, "seams": self.seams_TB, "avatar": self.avatar_TB}


def write_layers(
    work: SynthesisInputs,
    chunks: Chunks,
    *,
    composite_path: Path,
    avatar_path: Path,
) -> WrittenLayers:
    """The second pass: write composite and avatar layer, and count the pixels for the checks.

    Args:
      work: the inputs.
      chunks: the folder of chunks, completed and new ones.
      composite_path, avatar_path: the files to write.
    """
    layers = WrittenLayers.of(work)
    layers.resumed = chunks.finished()
    state: bytes | None = None
    for number in range(layers.resumed):
        chunk = Chunk.load(chunks.notes(number))
        layers.take(chunk, chunks.frames(number))
        state = chunk.state
    start = min(layers.resumed * chunks.length, chunks.num_frames)
    with contextlib.closing(_redacted_frames(work, start)) as frames:
        for number in range(layers.resumed, len(chunks)):
            chunk = _write_chunk(work, chunks, number, frames, state)
            work.source.require_same()  # a chunk outlives a run that is killed
            chunk.save(chunks.notes(number))
            if number:
                chunks.drop_state(number - 1)
            layers.take(chunk, chunks.frames(number))
            state = chunk.state
        next(frames, None)  # reading past the last frame detects a changed video
    for layer, path in ((chunks.composite, composite_path), (chunks.avatar, avatar_path)):
        join(
            [layer(number) for number in range(len(chunks))], path, times=work.info.times, tick=work.info.tick
        )
    if work.composites.keep_audio:
        add_sound(composite_path, work.source)
    return layers


def _redacted_frames(work: SynthesisInputs, start: int) -> Generator[LadderFrame, None, None]:
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


def _write_chunk(
    work: SynthesisInputs,
    chunks: Chunks,
    number: int,
    frames: Iterator[LadderFrame],
    state: bytes | None,
) -> Chunk:
    """Write the files of one chunk from the next frames; returns its data."""
    span, scene, info = chunks.frames(number), work.scene, work.info
    counts = FrameChecks(work.verify, num_frames=scene.num_frames, height=scene.height, width=scene.width)
    films = {
        name: MaskFilm(len(span), packed_size(scene.height, scene.width))
        for name in ("removed", "seams", "avatar")
    }
    digest = Digest()
    rim_px = work.composites.feather_px + 2
    waiting: deque[tuple[LadderFrame, Rendered]] = deque()

    def shots() -> Iterator[Shot]:
        for index, shown in zip(span, frames, strict=False):
            # From here on only the emptied frame and the render are used, not the source.
            drawn = nothing_drawn(scene.height, scene.width) if shown.rung == Rung.BLANK else work.draw(index)
            waiting.append((shown, drawn))
            yield Shot(index=index, emptied_HW3=shown.frame_HW3, drawn=drawn)

    refiner = work.refiner()
    if state is not None:
        refiner.resume(state)
    width, height = scene.width, scene.height
    with (
        atomic_path(chunks.composite(number), ours=True) as composite_path,
        atomic_path(chunks.avatar(number), ours=True) as avatar_path,
        VideoWriter(
            composite_path, width=width, height=height, fps=info.fps, full_range=info.full_range
        ) as composite_out,
        VideoWriter(avatar_path, width=width, height=height, fps=info.fps, lossless=True) as avatar_out,
    ):
        for index, refined in zip(span, refiner.over(shots()), strict=True):
            shown, drawn = waiting.popleft()
            people = _people(work, shown, drawn, refined.backdrop_HW3)
            composite_out.write(
                composite.overlay(people.frame_HW3, refined.avatar_HW3, drawn.mask_HW, work.composites)
            )
            avatar_out.write(drawn.color_HW3)
            digest.add(drawn.color_HW3, drawn.mask_HW)
            at = index - span.start
            films["removed"][at] = masks.pack(shown.removed_HW)
            films["seams"][at] = masks.pack(masks.dilate(shown.removed_HW, rim_px) | refined.shaded_HW)
            films["avatar"][at] = masks.pack(drawn.mask_HW)
            counts.add(index, **_counts(work, shown, drawn, people))
    return Chunk(
        counts_T=counts.counts_T(span),
        films=films,
        digests=bytes(digest.frames),
        state=refiner.state(),
        refined=dict(refiner.counted()),
    )


def _people(
    work: SynthesisInputs, shown: LadderFrame, drawn: Rendered, backdrop_HW3: np.ndarray
) -> SilhouetteFrame:
    """The silhouettes of a frame; a blank one has none, and no output of a refiner."""
    if shown.rung == Rung.BLANK:
        nothing_HW = np.zeros(shown.mask_HW.shape, bool)
        return SilhouetteFrame(frame_HW3=shown.frame_HW3, mask_HW=nothing_HW, avatars=0, silhouettes=0)
    return work.silhouettes.over(backdrop_HW3, shown.index, drawn.mask_HW)


def _counts(
    work: SynthesisInputs, shown: LadderFrame, drawn: Rendered, people: SilhouetteFrame
) -> dict[str, int]:
    """The counts of a frame for `FrameChecks`."""
    scene, blank = work.scene, shown.rung == Rung.BLANK
    doubts, regions = int(scene.doubts_T[shown.index]), _regions(work, shown)
    everybody = int(np.count_nonzero(scene.visible_PT[:, shown.index])) + doubts + regions
    return {
        "avatars": people.avatars,
        "silhouettes": people.silhouettes,
        "background": 0 if blank else doubts + (regions if shown.rung == Rung.BACKGROUND else 0),
        "filled": regions if shown.rung == Rung.FILL else 0,
        "blank": max(1, everybody) if blank else 0,
        "blanked": int(blank),
        "masked": int(np.count_nonzero(shown.mask_HW)),
        "avatar_pixels": int(np.count_nonzero(drawn.mask_HW)),
        "silhouette_pixels": int(np.count_nonzero(people.mask_HW)),
        "changed": int(np.count_nonzero(shown.removed_HW & ~shown.mask_HW)),
        "surviving": shown.surviving,
    }


def _regions(work: SynthesisInputs, shown: LadderFrame) -> int:
    """Number of redacted regions of a frame that may have contained a person."""
    if shown.region_HW is None:
        return 0
    around = frames_around(shown.index, work.scene.num_frames, float(work.info.fps))
    removed_HW, things_HW = (
        masks.unpack(np.bitwise_or.reduce([film[index] for index in around]), *shown.mask_HW.shape)
        for film in (work.masks_TB, work.scene.things_TB)
    )
    return num_regions(shown, removed_HW, things_HW)


def _emptied(work: SynthesisInputs, index: int, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> LadderFrame:
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
