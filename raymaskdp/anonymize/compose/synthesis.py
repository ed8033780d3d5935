"""From people and motions to layers: find the background, then write each frame without the people.

Two streaming passes over the source. In the second every frame is made twice, once with all masked
pixels altered, and the two are compared: what survives of a person is counted, not assumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.background import plate
from raymaskdp.anonymize.background.background import Background, masked_frames
from raymaskdp.anonymize.background.flow_fill import FlowFill
from raymaskdp.anonymize.background.inpaint import fill
from raymaskdp.anonymize.background.leakage import surviving_pixels
from raymaskdp.anonymize.background.plate import PlateConfig
from raymaskdp.anonymize.compose import composite
from raymaskdp.anonymize.compose.composite import CompositeConfig
from raymaskdp.anonymize.compose.harmonize import Refiner, Shot
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.silhouettes import Silhouettes
from raymaskdp.anonymize.output.chunks import Piece, Pieces
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.anonymize.verify.checks import Digest, FrameChecks, VerifyConfig
from raymaskdp.bodies.render import Rendered
from raymaskdp.files import atomic_path
from raymaskdp.video import masks
from raymaskdp.video.audio import add_sound
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
      removed_HW: bool, what was replaced: the person masks, and what moved beside them.
    """

    frame_HW3: np.ndarray
    removed_HW: np.ndarray


def empty(
    frame_HW3: np.ndarray,
    mask_HW: np.ndarray,
    plate_HW3: np.ndarray | None,
    plates: PlateConfig,
    config: CompositeConfig,
) -> Emptied:
    """Remove everything under `mask_HW`, and what moves outside it where the background is known.

    No value of `frame_HW3` under the mask has any influence on the result.
    """
    if plate_HW3 is None:
        plate_HW3 = fill(frame_HW3, mask_HW, "blur" if plates.moving_camera == "blur" else plates.fill)
        return Emptied(
            frame_HW3=composite.backdrop(frame_HW3, mask_HW, plate_HW3, config), removed_HW=mask_HW
        )
    plate_HW3 = plate.relit(plate_HW3, plate.lighting(frame_HW3, plate_HW3, ~mask_HW))
    removed_HW = mask_HW | composite.changed(frame_HW3, plate_HW3, mask_HW, config)
    return Emptied(
        frame_HW3=composite.backdrop(frame_HW3, removed_HW, plate_HW3, config), removed_HW=removed_HW
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """All that the second pass works from.

    Attributes:
      source, info, scene, background: the video and what is known of it.
      draw: the avatars of a frame, by its index.
      refiner: a new refiner; it fits avatars into the scene.
      silhouettes: of people without a pose; behind the avatars, and not in their layer.
      masks_TB: packed, everything that must go.
      flow: fills frames without a background from their neighbours; None where that is not wanted.
      plates, composites, verify: settings.
    """

    source: str
    info: VideoInfo
    scene: Scene
    background: Background
    draw: Callable[[int], Rendered]
    refiner: Callable[[], Refiner]
    silhouettes: Silhouettes
    masks_TB: np.ndarray | MaskFilm
    flow: FlowFill | None = None
    plates: PlateConfig
    composites: CompositeConfig
    verify: VerifyConfig


@dataclass(kw_only=True, eq=False)
class Layers:
    """What the second pass wrote, and what was counted on the way.

    Attributes:
      checks: counts of every frame.
      removed_TB, seams_TB, avatar_TB: packed masks of what was replaced, the same with its soft rim and
        the avatars' shadows, and the avatars.
      digest: of the avatar frames.
      empty_frames: some frames without avatars, by name, for the detectors.
      refined: what the refiners counted.
      resumed: pieces that were finished before.
    """

    checks: FrameChecks
    removed_TB: MaskFilm
    seams_TB: MaskFilm
    avatar_TB: MaskFilm
    digest: Digest = field(default_factory=Digest)
    empty_frames: list[tuple[str, np.ndarray]] = field(default_factory=list)
    refined: Counter[str] = field(default_factory=Counter)
    resumed: int = 0

    @classmethod
    def of(cls, work: Work) -> Layers:
        """Nothing yet."""
        height, width, num_frames = work.scene.height, work.scene.width, work.scene.num_frames
        size = packed_size(height, width)
        return cls(
            checks=FrameChecks(work.verify, num_frames=num_frames, height=height, width=width),
            removed_TB=MaskFilm(num_frames, size),
            seams_TB=MaskFilm(num_frames, size),
            avatar_TB=MaskFilm(num_frames, size),
        )

    def take(self, piece: Piece, frames: range) -> None:
        """Enter a finished piece."""
        self.checks.paste(frames, piece.counts_T)
        for name, film in self._films().items():
            film.paste(frames.start, piece.films[name])
        self.digest.frames += piece.digests
        shown = zip(piece.shown_N.tolist(), piece.shown_NHW3, strict=True)
        self.empty_frames += [(f"frame {index}", frame_HW3) for index, frame_HW3 in shown]
        self.refined.update(piece.refined)

    def _films(self) -> dict[str, MaskFilm]:
        return {"removed": self.removed_TB, "seams": self.seams_TB, "avatar": self.avatar_TB}


def write_layers(
    work: Work,
    pieces: Pieces,
    *,
    composite_path: Path,
    avatar_path: Path,
) -> Layers:
    """The second pass: write composite and avatar layer, and count what the checks need.

    Args:
      work: what to work from.
      pieces: where each piece is written to when it is finished, and where finished ones are found.
      composite_path, avatar_path: the files to write.
    """
    layers = Layers.of(work)
    layers.resumed = pieces.finished()
    state: bytes | None = None
    for number in range(layers.resumed):
        piece = Piece.load(pieces.notes(number))
        layers.take(piece, pieces.frames(number))
        state = piece.state
    start = min(layers.resumed * pieces.length, pieces.num_frames)
    made_of = masked_frames(work.source, work.masks_TB, start)
    with contextlib.closing(made_of) as frames:
        for number in range(layers.resumed, len(pieces)):
            piece = _write_piece(work, pieces, number, frames, state)
            piece.save(pieces.notes(number))
            if number:
                pieces.drop_state(number - 1)
            layers.take(piece, pieces.frames(number))
            state = piece.state
        next(frames, None)  # what is behind the last frame says whether the video has changed
    for layer, path in ((pieces.composite, composite_path), (pieces.avatar, avatar_path)):
        join(
            [layer(number) for number in range(len(pieces))], path, times=work.info.times, tick=work.info.tick
        )
    if work.composites.keep_audio:
        add_sound(composite_path, work.source)
    return layers


def _write_piece(
    work: Work,
    pieces: Pieces,
    number: int,
    frames: Iterator[tuple[np.ndarray, np.ndarray]],
    state: bytes | None,
) -> Piece:
    """Make the films of one piece from the next frames; what is to be remembered of it comes back."""
    span, scene, info = pieces.frames(number), work.scene, work.info
    counts = FrameChecks(work.verify, num_frames=scene.num_frames, height=scene.height, width=scene.width)
    films = {
        name: MaskFilm(len(span), packed_size(scene.height, scene.width))
        for name in ("removed", "seams", "avatar")
    }
    digest = Digest()
    looked_at = set(
        np.linspace(0, scene.num_frames - 1, work.verify.detector_frames).round().astype(int).tolist()
    )
    shown: dict[int, np.ndarray] = {}
    rim_px = work.composites.feather_px + 2
    waiting: deque[tuple[np.ndarray, Emptied, Rendered, int]] = deque()

    def shots() -> Iterator[Shot]:
        for index, (frame_HW3, mask_HW) in zip(span, frames, strict=False):
            emptied, surviving = _emptied(work, index, frame_HW3, mask_HW)
            # From here on the source is gone: what follows sees the emptied frame and the render only.
            drawn = work.draw(index)
            waiting.append((mask_HW, emptied, drawn, surviving))
            yield Shot(index=index, emptied_HW3=emptied.frame_HW3, drawn=drawn)

    refiner = work.refiner()
    if state is not None:
        refiner.resume(state)
    width, height = scene.width, scene.height
    with (
        atomic_path(pieces.composite(number), ours=True) as composite_path,
        atomic_path(pieces.avatar(number), ours=True) as avatar_path,
        VideoWriter(
            composite_path, width=width, height=height, fps=info.fps, full_range=info.full_range
        ) as composite_out,
        VideoWriter(avatar_path, width=width, height=height, fps=info.fps, lossless=True) as avatar_out,
    ):
        for index, refined in zip(span, refiner.over(shots()), strict=True):
            mask_HW, emptied, drawn, surviving = waiting.popleft()
            backdrop_HW3, flat_HW = work.silhouettes.over(refined.backdrop_HW3, index)
            composite_out.write(
                composite.overlay(backdrop_HW3, refined.avatar_HW3, drawn.mask_HW, work.composites)
            )
            avatar_out.write(drawn.color_HW3)
            digest.add(drawn.color_HW3, drawn.mask_HW)
            at = index - span.start
            films["removed"][at] = masks.pack(emptied.removed_HW)
            films["seams"][at] = masks.pack(masks.dilate(emptied.removed_HW, rim_px) | refined.shaded_HW)
            films["avatar"][at] = masks.pack(drawn.mask_HW)
            if index in looked_at:
                shown[index] = emptied.frame_HW3
            present = np.flatnonzero(scene.visible_PT[:, index]).tolist()
            counts.add(
                index,
                person_masks=[scene.person_mask(person, index) for person in present],
                drawn=[bool(scene.motions[person].visible_T[index]) for person in present],
                avatar_mask_HW=drawn.mask_HW,
                silhouettes_HW=flat_HW,
                masked=int(np.count_nonzero(mask_HW)),
                changed=int(np.count_nonzero(emptied.removed_HW & ~mask_HW)),
                surviving=surviving,
            )
    return Piece(
        counts_T=counts.counts_T(span),
        films=films,
        digests=bytes(digest.frames),
        shown_N=np.array(list(shown), np.int64),
        shown_NHW3=np.array(list(shown.values()), np.uint8),
        state=refiner.state(),
        refined=dataclasses.asdict(counted) if (counted := getattr(refiner, "counts", None)) else {},
    )


def _emptied(work: Work, index: int, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> tuple[Emptied, int]:
    """A frame without its people, and how many of its pixels depend on a masked one."""
    behind_HW3, surviving = work.background.at(index), 0
    if work.flow is not None:
        flowed_HW3, surviving = work.flow.at(index)

    def made(frame_HW3: np.ndarray) -> Emptied:
        if work.flow is None:
            return empty(frame_HW3, mask_HW, behind_HW3, work.plates, work.composites)
        whole_HW3 = composite.backdrop(frame_HW3, mask_HW, flowed_HW3, work.composites)
        return Emptied(frame_HW3=whole_HW3, removed_HW=mask_HW)

    emptied = made(frame_HW3)
    surviving += surviving_pixels(
        lambda altered_HW3: made(altered_HW3).frame_HW3, frame_HW3, mask_HW, emptied.frame_HW3
    )
    return emptied, surviving
