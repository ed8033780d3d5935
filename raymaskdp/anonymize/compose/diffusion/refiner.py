"""Frames with avatars in, frames with refined avatars out; what fails keeps its render.

All that enters is the emptied frame, the render, and the avatars' meshes: there is no argument for a
source frame. All that leaves differs from the harmonized frame in the avatars' pixels and a narrow seam.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load, save

from raymaskdp.anonymize.compose.composite import CompositeConfig, overlay
from raymaskdp.anonymize.compose.diffusion.backends import Backend, Takes
from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import Memory
from raymaskdp.anonymize.compose.diffusion.noise import FINENESS, anchored
from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck
from raymaskdp.anonymize.compose.diffusion.prompts import light_of, prompt_for
from raymaskdp.anonymize.compose.diffusion.rasterize import (
    NEAR,
    Crop,
    OpticalFlow,
    PlacedMesh,
    SurfaceMap,
    body_of,
    crop_around,
    flow,
    project,
    rasterize,
)
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.compose.harmonize import Harmonize, Refined, Shot
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.skeleton import NUM_JOINTS
from raymaskdp.video import masks

# Shape suffixes: F frames of a batch, H rows and W columns of the frame, S those of a crop, V vertices,
# h w rows and columns of the latents.

_log = logging.getLogger(__name__)

SMALLEST_PX = 24
"""Avatars of fewer pixels in height and width keep their render: there is nothing to see."""


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The people of one video: how they move, and as whom.

    Attributes:
      motions, figures, avatars: one a person, in the same order.
      camera_33: intrinsics, float64.
      fps: frames a second.
    """

    motions: tuple[Motion, ...]
    figures: Sequence[Figure]
    avatars: Sequence[Avatar]
    camera_33: np.ndarray
    fps: float


@dataclass(kw_only=True)
class Counts:
    """What became of the pictures of single people.

    Attributes:
      refined: refined.
      failed: kept as rendered, because the networks raised an error or gave no numbers.
      moved: kept as rendered, because the pose moved or could not be seen.
      small: kept as rendered, because they are tiny.
    """

    refined: int = 0
    failed: int = 0
    moved: int = 0
    small: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Where one person was in one frame.

    Attributes:
      index: its number in the video.
      crop, surface: the square around the person, and what it shows.
      vertices_V3: the person's, camera metres.
    """

    index: int
    crop: Crop
    surface: SurfaceMap
    vertices_V3: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Take(_Seen):
    """One person in one frame, to be refined.

    Attributes:
      at: the number of the frame in its batch.
      picture_SS3: uint8, the composite that is refined.
      mask_SS: bool, what may change.
      back: flow to the take before; None in the first.
    """

    at: int
    picture_SS3: np.ndarray
    mask_SS: np.ndarray
    back: OpticalFlow | None


@dataclass(kw_only=True, eq=False)
class _Track:
    """What is kept of a person from batch to batch.

    Attributes:
      seed: of the avatar; the same in all videos.
      memory: of the networks.
      last: the take before; None at first.
      change_SS3: float32, by how much that was changed.
      cell_px, cell_m: sizes of the noise's cells in the room and on the body, chosen in the first take.
    """

    seed: int
    rest_V3: np.ndarray
    memory: Memory = field(default_factory=Memory)
    last: _Seen | None = None
    change_SS3: np.ndarray | None = None
    cell_px: float = 0.0
    cell_m: float = 0.0


class DiffusionRefiner:
    """Refines the frames of one video; they come in order.

    Attributes:
      counts: what became of the frames so far; not of those before it took up a state.
    """

    def __init__(
        self,
        config: DiffusionConfig,
        composites: CompositeConfig,
        backend: Backend,
        check: PoseCheck | None,
        cast: Cast,
    ) -> None:
        self.counts = Counts()
        self._config = config
        self._composites = composites
        self._backend = backend
        self._check = check
        self._cast = cast
        self._harmonize = Harmonize(cast.motions, cast.camera_33, cast.fps)
        self._light = ""  # of the video's first frame, so that prompts do not change on the way
        self._at_once = config.batch  # less, once memory was found to be too small for so many
        self._tracks = [
            _Track(seed=_seed(avatar), rest_V3=_rest(figure))
            for avatar, figure in zip(cast.avatars, cast.figures, strict=True)
        ]

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """The refined layers of every shot; `batch` shots are read before the first is given."""
        shots = iter(shots)
        while batch := list(itertools.islice(shots, self._config.batch)):
            self._light = self._light or light_of(batch[0].emptied_HW3)
            yield from self._batch(batch)

    def state(self) -> bytes:
        """What the next frames need: safetensors, of which the networks' memory is the most."""
        texts = {"harmonize": self._harmonize.state(), "light": self._light.encode()}
        tensors = {name: torch.tensor(list(text), dtype=torch.uint8) for name, text in texts.items()}
        for person, track in enumerate(self._tracks):
            parts = {"cells": torch.tensor([track.cell_px, track.cell_m], dtype=torch.float64)}
            if track.last is not None:
                crop = track.last.crop
                parts["last"] = torch.tensor([track.last.index, crop.left, crop.top, crop.size])
            if track.change_SS3 is not None:
                parts["change"] = torch.from_numpy(track.change_SS3)
            parts |= track.memory.tensors()
            tensors |= {f"{person}.{name}": tensor.contiguous() for name, tensor in parts.items()}
        return save(tensors)

    def resume(self, state: bytes) -> None:
        """Go on as the refiner that gave the state: to the last bit, if it ended with a whole batch."""
        tensors = load(state)
        self._harmonize.resume(bytes(tensors.pop("harmonize").tolist()))
        self._light = bytes(tensors.pop("light").tolist()).decode()
        for person, track in enumerate(self._tracks):
            parts = {name.partition(".")[2]: value for name, value in tensors.items() if _of(name, person)}
            track.cell_px, track.cell_m = parts.pop("cells").tolist()
            last, change = parts.pop("last", None), parts.pop("change", None)
            track.last = None if last is None else self._seen(person, *last.tolist())
            track.change_SS3 = None if change is None else change.numpy()
            track.memory = Memory.of(parts, self._backend.device)

    def _seen(self, person: int, index: int, left: int, top: int, size: int) -> _Seen:
        """What was seen of a person in a frame, found again from its place."""
        crop = Crop(left=left, top=top, size=size, side=self._config.side)
        bodies = self._bodies(index)
        (own,) = [body for body in bodies if body.person == person]
        surface = rasterize(bodies, crop.camera(self._cast.camera_33), crop.side)
        return _Seen(index=index, crop=crop, surface=surface, vertices_V3=own.vertices_V3)

    def _batch(self, batch: list[Shot]) -> Iterator[Refined]:
        plain = [self._harmonize(shot.emptied_HW3, shot.drawn, shot.index) for shot in batch]
        pictures = [
            overlay(layers.backdrop_HW3, layers.avatar_HW3, shot.drawn.mask_HW, self._composites)
            for layers, shot in zip(plain, batch, strict=True)
        ]
        seen = [self._bodies(shot.index) for shot in batch]
        changes: list[list[tuple[_Take, np.ndarray]]] = [[] for _ in batch]
        for person, track in enumerate(self._tracks):
            takes = self._takes(person, track, batch, pictures, seen)
            for take, change_SS3 in self._refined(person, track, takes):
                changes[take.at].append((take, change_SS3))
        for shot, layers, people in zip(batch, plain, changes, strict=True):
            yield _blended(shot, layers, people, self._config.seam_px)

    def _bodies(self, index: int) -> list[PlacedMesh]:
        frame = slice(index, index + 1)
        bodies = []
        for person, (motion, figure) in enumerate(zip(self._cast.motions, self._cast.figures, strict=True)):
            if motion.visible_T[index]:
                vertices_V3 = figure.pose(motion.rotations_TJ3[frame], motion.translation_T3[frame])[0]
                bodies.append(body_of(person, figure, vertices_V3, float(self._cast.camera_33[0, 0])))
        return bodies

    def _takes(
        self,
        person: int,
        track: _Track,
        batch: list[Shot],
        pictures: list[np.ndarray],
        seen: list[list[PlacedMesh]],
    ) -> list[_Take]:
        """The person's takes in a batch of frames, each linked to the one before."""
        takes: list[_Take] = []
        before: _Seen | None = track.last
        for at, (shot, picture_HW3, bodies) in enumerate(zip(batch, pictures, seen, strict=True)):
            own = [body for body in bodies if body.person == person]
            if not own:
                continue
            silhouette_HW = _silhouette(own[0], self._cast.camera_33, shot.drawn.mask_HW)
            if not silhouette_HW.any() or max(np.ptp(np.nonzero(silhouette_HW), axis=1)) < SMALLEST_PX:
                self.counts.small += 1
                continue
            crop = crop_around(silhouette_HW, before.crop if before else None, self._config.side)
            surface = rasterize(bodies, crop.camera(self._cast.camera_33), crop.side)
            own_SS = surface.person_SS == person
            if not own_SS.any():  # behind somebody else
                continue
            back = None
            if before is not None:
                camera_33 = before.crop.camera(self._cast.camera_33)
                back = flow(surface, person, before.surface, before.vertices_V3, camera_33)
            seam_px = self._config.seam_px * crop.side / crop.size
            mask_SS = masks.dilate(own_SS, seam_px) & ((surface.person_SS < 0) | own_SS)
            take = _Take(
                at=at,
                index=shot.index,
                crop=crop,
                surface=surface,
                vertices_V3=own[0].vertices_V3,
                picture_SS3=crop.cut(picture_HW3),
                mask_SS=mask_SS,
                back=back,
            )
            takes.append(take)
            before = take
        return takes

    def _refined(self, person: int, track: _Track, takes: list[_Take]) -> Iterator[tuple[_Take, np.ndarray]]:
        """The takes that can be refined, with their change float32 [S, S, 3] in levels."""
        if not takes:
            return
        for take, made_SS3 in zip(takes, self._made(person, track, takes), strict=True):
            if made_SS3 is None:
                self.counts.failed += 1
                track.last, track.change_SS3 = take, None
                continue
            change_SS3 = 255 * made_SS3 - take.picture_SS3
            if self._config.consistent:
                change_SS3 = _carried_on(track, take, change_SS3, self._config.memory)
                track.last, track.change_SS3 = take, change_SS3
            if self._check is not None and self._check.moved(
                take.picture_SS3, _levels(take.picture_SS3 + change_SS3 * take.mask_SS[..., None])
            ):
                self.counts.moved += 1
                continue
            self.counts.refined += 1
            yield take, change_SS3

    def _made(self, person: int, track: _Track, takes: list[_Take]) -> list[np.ndarray | None]:
        """What the networks make of takes; None where they fail. A batch that fails is tried in halves."""
        if len(takes) > self._at_once:
            return self._in_parts(person, track, takes, self._at_once)
        saved = track.memory.saved()
        try:
            made_FSS3 = self._backend(self._order(person, track, takes))
            if np.isfinite(made_FSS3).all():
                return list(made_FSS3)
            problem = "there are no numbers in some pictures"
        except (RuntimeError, ValueError) as error:  # not enough memory is a RuntimeError, too
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if _out_of_memory(error) and len(takes) > 1:
                self._at_once = len(takes) // 2
                _log.warning("Memory is too small for %d pictures: %d at once.", len(takes), self._at_once)
        track.memory = saved
        if len(takes) > 1:
            return self._in_parts(person, track, takes, len(takes) // 2)
        # The next take's links lead to this one, of which there is nothing.
        track.memory = Memory(first_GNC=saved.first_GNC, picture_SS3=saved.picture_SS3)
        _log.warning("A frame keeps its render, because it could not be refined: %s.", problem)
        return [None]

    def _in_parts(self, person: int, track: _Track, takes: list[_Take], size: int) -> list[np.ndarray | None]:
        parts = [takes[at : at + size] for at in range(0, len(takes), size)]
        return [made for part in parts for made in self._made(person, track, part)]

    def _order(self, person: int, track: _Track, takes: list[_Take]) -> Takes:
        channels, height, width = self._backend.latents(self._config.side)
        if track.cell_px == 0:
            _choose_cells(track, takes[0], person, height, float(self._cast.camera_33[0, 0]))
        consistent = self._config.consistent
        noise, links, known = [], [], []
        for take in takes:
            if consistent:
                cells_SSD = _cells(take, person, track)
                noise.append(anchored(cells_SSD, seed=track.seed, channels=channels, shape=(height, width)))
            else:
                chance = np.random.default_rng((track.seed, take.index))
                noise.append(chance.standard_normal((channels, height, width), np.float32))
            link_hw2, known_hw = _links(take.back, self._config.side, height)
            links.append(link_hw2)
            known.append(known_hw)
        return Takes(
            pictures_FSS3=np.stack([take.picture_SS3 for take in takes]),
            nearness_FSS=np.stack([_nearness(take.surface.depth_SS) for take in takes]),
            masks_FSS=np.stack([take.mask_SS for take in takes]),
            noise_FChw=np.stack(noise),
            links_Fhw2=np.stack(links),
            known_Fhw=np.stack(known),
            prompt=prompt_for(
                self._cast.avatars[person], self._cast.figures[person], self._light, self._config.prompt
            ),
            seed=track.seed,
            memory=track.memory if consistent else None,
        )


def _blended(
    shot: Shot,
    plain: Refined,
    people: list[tuple[_Take, np.ndarray]],
    seam_px: int,
) -> Refined:
    """The layers with the changes in them, at full resolution: in avatars wholly, outside less and less."""
    height, width = shot.drawn.mask_HW.shape
    avatar_HW3, backdrop_HW3 = plain.avatar_HW3.copy(), plain.backdrop_HW3.copy()
    shaded_HW = plain.shaded_HW.copy()
    for take, change_SS3 in people:
        box = take.crop.inside(height, width)
        own = take.crop.paste(take.mask_SS.astype(np.float32), height, width) > 0.5
        change = take.crop.paste(change_SS3, height, width)
        inside = own & shot.drawn.mask_HW[box]
        made = _levels(plain.avatar_HW3[box] + change)
        avatar_HW3[box][inside] = made[inside]
        if seam_px and inside.any():
            distance = masks.distance(inside)
            ramp = np.clip(1 - distance / (seam_px + 1), 0, 1)
            rim = (distance <= seam_px) & ~shot.drawn.mask_HW[box]
            under = plain.backdrop_HW3[box]
            seam = _levels(under + ramp[..., None] * change)
            backdrop_HW3[box][rim] = seam[rim]
            shaded_HW[box] |= rim
    return Refined(backdrop_HW3=backdrop_HW3, avatar_HW3=avatar_HW3, shaded_HW=shaded_HW)


def _carried_on(track: _Track, take: _Take, change_SS3: np.ndarray, share: float) -> np.ndarray:
    """The change, of which points that were seen before keep `share` from then."""
    if take.back is None or track.change_SS3 is None:
        return change_SS3
    before_SS3 = take.back.warp(track.change_SS3)
    weight_SS1 = share * take.back.known_SS[..., None].astype(np.float32)
    return change_SS3 + weight_SS1 * (before_SS3 - change_SS3)


def _of(name: str, person: int) -> bool:
    return name.partition(".")[0] == str(person)


def _levels(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _silhouette(body: PlacedMesh, camera_33: np.ndarray, drawn_HW: np.ndarray) -> np.ndarray:
    """Where a person's avatar is, roughly: drawn pixels in the box of its vertices."""
    pixels_V2, depth_V = project(body.vertices_V3, camera_33)
    own_HW = np.zeros_like(drawn_HW)
    if (depth_V <= NEAR).any():  # somebody reaches behind the camera
        return drawn_HW
    left, top = np.floor(pixels_V2.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(pixels_V2.max(axis=0)).astype(int).clip(0)
    own_HW[top:bottom, left:right] = drawn_HW[top:bottom, left:right]
    return own_HW


def _choose_cells(track: _Track, take: _Take, person: int, latent_rows: int, focal: float) -> None:
    own_SS = take.surface.person_SS == person
    track.cell_px = take.crop.size / latent_rows / FINENESS
    track.cell_m = float(np.median(take.surface.depth_SS[own_SS])) / focal * track.cell_px


def _cells(take: _Take, person: int, track: _Track) -> np.ndarray:
    """The noise's cells that a take shows, int64 [S, S, 4]: on the body in its rest pose, or in the frame."""
    crop, own_SS = take.crop, take.surface.person_SS == person
    cells_SSD = np.zeros((*own_SS.shape, 4), np.int64)
    along = (np.arange(crop.side) + 0.5) * crop.size / crop.side
    cells_SSD[..., 1] = np.floor((crop.left + along)[None, :] / track.cell_px)
    cells_SSD[..., 2] = np.floor((crop.top + along)[:, None] / track.cell_px)
    cells_SSD[own_SS, 0] = 1
    cells_SSD[own_SS, 1:] = np.floor(take.surface.points(track.rest_V3, own_SS) / track.cell_m)
    return cells_SSD


def _links(back: OpticalFlow | None, side: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of latents were a take before, [h, w, 2] in [-1, 1], and where that is known."""
    if back is None:
        return np.zeros((rows, rows, 2), np.float32), np.zeros((rows, rows), np.float32)
    step = side // rows
    middle = slice(step // 2, None, step)
    places_hw2 = back.places_SS2[middle, middle] / np.float32(side) * 2 - 1
    return places_hw2, back.known_SS[middle, middle].astype(np.float32)


def _nearness(depth_SS: np.ndarray) -> np.ndarray:
    """Depth as depth networks give it: 1 the nearest, 0 nothing, the farthest of a body at 0.4."""
    seen_SS = np.isfinite(depth_SS)
    nearness_SS = np.zeros_like(depth_SS)
    if seen_SS.any():
        inverse = 1 / depth_SS[seen_SS]
        low, high = float(inverse.min()), float(inverse.max())
        nearness_SS[seen_SS] = 0.4 + 0.6 * (inverse - low) / max(high - low, 1e-6)
    return nearness_SS


def _seed(avatar: Avatar) -> int:
    """Of the avatar's looks, which are public, and of nothing else."""
    return int.from_bytes(hashlib.sha256(repr(avatar).encode()).digest()[:8], "big")


def _rest(figure: Figure) -> np.ndarray:
    return figure.pose(np.zeros((1, NUM_JOINTS, 3), np.float32), np.zeros((1, 3), np.float32))[0]


def _out_of_memory(error: Exception) -> bool:
    """On a GPU torch has a name for it; the CPU's allocator just says that it cannot."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
