"""The last part of the second pass: silhouettes, the composite and the avatar layer, chunk by chunk."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from raymaskdp.anonymize.compose import composite
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.refiner import Refined, Refiner, Shot
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.compose.silhouettes import SilhouetteFrame, Silhouettes
from raymaskdp.anonymize.compose.synthesis.drawn import DrawInputs, DrawnFrame, drawn_frames
from raymaskdp.anonymize.output.chunks import Chunk, Chunks
from raymaskdp.anonymize.people.people import packed_size
from raymaskdp.anonymize.verify.checks import Digest, FrameChecks
from raymaskdp.anonymize.verify.config import VerifyConfig
from raymaskdp.files import atomic_path
from raymaskdp.video import masks
from raymaskdp.video.audio import add_sound
from raymaskdp.video.containers.same_file import SameFile
from raymaskdp.video.join import join
from raymaskdp.video.mask_film import MaskFilm
from raymaskdp.video.reader import VideoInfo
from raymaskdp.video.writer import VideoWriter

# Shape suffixes: T frames, H rows, W columns, B bytes of a packed mask.

Pair = tuple[DrawnFrame, Refined]
"""A drawn frame, and the refiner's output for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComposeInputs:
    """All inputs of the last part.

    Attributes:
      source, info, scene: the video and its analysis.
      silhouettes: of people without a pose; behind the avatars, and not in their layer.
      composites, verify: settings.
    """

    source: SameFile
    info: VideoInfo
    scene: Scene
    silhouettes: Silhouettes
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
    def of(cls, work: ComposeInputs) -> WrittenLayers:
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
    draw: DrawInputs,
    refiner: Callable[[], Refiner],
    work: ComposeInputs,
    chunks: Chunks,
    *,
    composite_path: Path,
    avatar_path: Path,
) -> WrittenLayers:
    """The whole second pass: write composite and avatar layer, and count the pixels for the checks.

    Args:
      draw, work: the inputs of the first part and of the last one.
      refiner: a new refiner; it fits avatars into the scene.
      chunks: the folder of chunks, completed and new ones.
      composite_path, avatar_path: the files to write.
    """
    layers, state = finished_layers(work, chunks)
    start = min(layers.resumed * chunks.length, chunks.num_frames)
    with contextlib.closing(drawn_frames(draw, start)) as frames:
        for number in range(layers.resumed, len(chunks)):
            one = refiner()
            if state is not None:
                one.resume(state)
            pairs = refined_frames(islice(frames, len(chunks.frames(number))), one)
            chunk = write_chunk(work, chunks, number, pairs)
            state = one.state()
            add_chunk(
                layers,
                work,
                chunks,
                number,
                dataclasses.replace(chunk, state=state, refined=dict(one.counted())),
            )
        next(frames, None)  # reading past the last frame detects a changed video
    join_layers(work, chunks, composite_path=composite_path, avatar_path=avatar_path)
    return layers


def finished_layers(work: ComposeInputs, chunks: Chunks) -> tuple[WrittenLayers, bytes | None]:
    """The layers of the chunks that are complete, and the refiner's state after them; None at the start."""
    layers = WrittenLayers.of(work)
    layers.resumed = chunks.finished()
    state: bytes | None = None
    for number in range(layers.resumed):
        chunk = Chunk.load(chunks.notes(number))
        layers.take(chunk, chunks.frames(number))
        state = chunk.state
    return layers, state


def refined_frames(frames: Iterable[DrawnFrame], refiner: Refiner) -> Iterator[Pair]:
    """The frames with the refiner's output, which may read some frames ahead."""
    waiting: deque[DrawnFrame] = deque()

    def shots() -> Iterator[Shot]:
        for frame in frames:
            waiting.append(frame)
            yield frame.shot()

    for refined in refiner.over(shots()):
        yield waiting.popleft(), refined


def write_chunk(work: ComposeInputs, chunks: Chunks, number: int, pairs: Iterable[Pair]) -> Chunk:
    """Write the files of one chunk from its frames; returns its data, without the refiner's."""
    span, scene, info = chunks.frames(number), work.scene, work.info
    counts = FrameChecks(work.verify, num_frames=scene.num_frames, height=scene.height, width=scene.width)
    films = {
        name: MaskFilm(len(span), packed_size(scene.height, scene.width))
        for name in ("removed", "seams", "avatar")
    }
    digest = Digest()
    rim_px = work.composites.feather_px + 2
    width, height = scene.width, scene.height
    with (
        atomic_path(chunks.composite(number), ours=True) as composite_path,
        atomic_path(chunks.avatar(number), ours=True) as avatar_path,
        VideoWriter(
            composite_path, width=width, height=height, fps=info.fps, full_range=info.full_range
        ) as composite_out,
        VideoWriter(avatar_path, width=width, height=height, fps=info.fps, lossless=True) as avatar_out,
    ):
        for index, (frame, refined) in zip(span, pairs, strict=True):
            if frame.index != index:
                raise ValueError(f"frame {frame.index} was made where frame {index} belongs")
            drawn = frame.drawn
            people = _people(work, frame, refined.backdrop_HW3)
            composite_out.write(
                composite.overlay(people.frame_HW3, refined.avatar_HW3, drawn.mask_HW, work.composites)
            )
            avatar_out.write(drawn.color_HW3)
            digest.add(drawn.color_HW3, drawn.mask_HW)
            at = index - span.start
            films["removed"][at] = masks.pack(frame.removed_HW)
            films["seams"][at] = masks.pack(masks.dilate(frame.removed_HW, rim_px) | refined.shaded_HW)
            films["avatar"][at] = masks.pack(drawn.mask_HW)
            counts.add(
                index,
                avatars=people.avatars,
                silhouettes=people.silhouettes,
                silhouette_pixels=int(np.count_nonzero(people.mask_HW)),
                **frame.counts,
            )
    return Chunk(
        counts_T=counts.counts_T(span), films=films, digests=bytes(digest.frames), state=b"", refined={}
    )


def add_chunk(layers: WrittenLayers, work: ComposeInputs, chunks: Chunks, number: int, chunk: Chunk) -> None:
    """Store the data of a chunk whose files are written, and add it to the layers.

    Raises `UserError` if the source changed meanwhile.
    """
    work.source.require_same()  # a chunk outlives a run that is killed
    chunk.save(chunks.notes(number))
    if number:
        chunks.drop_state(number - 1)
    layers.take(chunk, chunks.frames(number))


def join_layers(work: ComposeInputs, chunks: Chunks, *, composite_path: Path, avatar_path: Path) -> None:
    """Join the complete chunks to both files."""
    for layer, path in ((chunks.composite, composite_path), (chunks.avatar, avatar_path)):
        join(
            [layer(number) for number in range(len(chunks))], path, times=work.info.times, tick=work.info.tick
        )
    if work.composites.keep_audio:
        add_sound(composite_path, work.source)


def _people(work: ComposeInputs, frame: DrawnFrame, backdrop_HW3: np.ndarray) -> SilhouetteFrame:
    """The silhouettes of a frame; a blank one has none, and no output of a refiner."""
    if frame.blank:
        nothing_HW = np.zeros(frame.removed_HW.shape, bool)
        return SilhouetteFrame(frame_HW3=frame.emptied_HW3, mask_HW=nothing_HW, avatars=0, silhouettes=0)
    return work.silhouettes.over(backdrop_HW3, frame.index, frame.drawn.mask_HW)
