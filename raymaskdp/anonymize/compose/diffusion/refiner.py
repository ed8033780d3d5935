"""Frames with avatars in, frames with refined avatars out. If a refinement fails, the render is kept.

The only inputs are the emptied frame, the render, and the avatars' meshes; there is no argument for a source
frame. The output differs from the harmonized frame only in the avatars' pixels and a narrow seam.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from safetensors.torch import load, save

from raymaskdp.anonymize.compose.composite import overlay
from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.backends import Backend, Takes
from raymaskdp.anonymize.compose.diffusion.blend import blended, levels, temporally_blended
from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import Memory
from raymaskdp.anonymize.compose.diffusion.noise import anchored
from raymaskdp.anonymize.compose.diffusion.person_crops import (
    PersonCrop,
    PersonTake,
    PersonTrack,
    choose_cells,
    links_of,
    nearness_of,
    noise_cells,
    rest_pose,
    seed_of,
    silhouette_of,
)
from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck
from raymaskdp.anonymize.compose.diffusion.prompts import light_of, prompt_for
from raymaskdp.anonymize.compose.diffusion.rasterize import (
    Crop,
    PlacedMesh,
    body_of,
    crop_around,
    flow,
    rasterize,
)
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.compose.harmonize import Harmonize
from raymaskdp.anonymize.compose.refiner import Cast, Refined, Shot
from raymaskdp.video import masks

# Shape suffixes: F frames of a batch, H rows and W columns of the frame, S those of a crop, V vertices,
# h w rows and columns of the latents.

_log = logging.getLogger(__name__)

SMALLEST_PX = 24
"""Smaller avatars, by height and width in pixels, keep their render, because details are not visible."""


@dataclass(kw_only=True)
class Counts:
    """Outcomes of the refinement of single people in single frames.

    Attributes:
      refined: refined.
      failed: kept as rendered, because the networks raised an error or returned values that are not finite.
      moved: kept as rendered, because the pose moved or was not detected.
      small: kept as rendered, because of their size.
    """

    refined: int = 0
    failed: int = 0
    moved: int = 0
    small: int = 0


class DiffusionRefiner:
    """Refines the frames of one video in order.

    Attributes:
      counts: outcomes of the frames so far, without those before it resumed from a state.
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
        self._light = ""  # of the video's first frame, so that the prompt is constant
        self._at_once = config.batch  # reduced when memory does not suffice
        self._tracks = [
            PersonTrack(seed=seed_of(avatar), rest_V3=rest_pose(figure))
            for avatar, figure in zip(cast.avatars, cast.figures, strict=True)
        ]

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """The refined layers of every shot; `batch` shots are read before the first result."""
        shots = iter(shots)
        while batch := list(itertools.islice(shots, self._config.batch)):
            self._light = self._light or light_of(batch[0].emptied_HW3)
            yield from self._batch(batch)

    def counted(self) -> dict[str, int]:
        """`counts`, by name."""
        return asdict(self.counts)

    def state(self) -> bytes:
        """The state for the next frames: safetensors, mostly the networks' memory."""
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
        """Continue from the state of another refiner: bit-exact, if it ended with a whole batch."""
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

    def _seen(self, person: int, index: int, left: int, top: int, size: int) -> PersonCrop:
        """A person's crop in a frame, recomputed from its place."""
        crop = Crop(left=left, top=top, size=size, side=self._config.side)
        bodies = self._bodies(index)
        (own,) = [body for body in bodies if body.person == person]
        surface = rasterize(bodies, crop.camera(self._cast.camera_33), crop.side)
        return PersonCrop(index=index, crop=crop, surface=surface, vertices_V3=own.vertices_V3)

    def _batch(self, batch: list[Shot]) -> Iterator[Refined]:
        plain = [self._harmonize(shot.emptied_HW3, shot.drawn, shot.index) for shot in batch]
        pictures = [
            overlay(layers.backdrop_HW3, layers.avatar_HW3, shot.drawn.mask_HW, self._composites)
            for layers, shot in zip(plain, batch, strict=True)
        ]
        seen = [self._bodies(shot.index) for shot in batch]
        changes: list[list[tuple[PersonTake, np.ndarray]]] = [[] for _ in batch]
        for person, track in enumerate(self._tracks):
            takes = self._takes(person, track, batch, pictures, seen)
            for take, change_SS3 in self._refined(person, track, takes):
                changes[take.at].append((take, change_SS3))
        for shot, layers, people in zip(batch, plain, changes, strict=True):
            yield blended(shot, layers, people, self._config.seam_px)

    def _bodies(self, index: int) -> list[PlacedMesh]:
        frame = slice(index, index + 1)
        bodies = []
        for person, (motion, figure) in enumerate(zip(self._cast.motions, self._cast.figures, strict=True)):
            if motion.visible_T[index]:
                vertices_V3 = figure.pose(
                    motion.rotations_TJ3[frame], motion.translation_T3[frame], motion.unseen(index)
                )[0]
                bodies.append(body_of(person, figure, vertices_V3, float(self._cast.camera_33[0, 0])))
        return bodies

    def _takes(
        self,
        person: int,
        track: PersonTrack,
        batch: list[Shot],
        pictures: list[np.ndarray],
        seen: list[list[PlacedMesh]],
    ) -> list[PersonTake]:
        """The person's takes in a batch of frames, each linked to the previous one."""
        takes: list[PersonTake] = []
        before: PersonCrop | None = track.last
        for at, (shot, picture_HW3, bodies) in enumerate(zip(batch, pictures, seen, strict=True)):
            own = [body for body in bodies if body.person == person]
            if not own:
                continue
            silhouette_HW = silhouette_of(own[0], self._cast.camera_33, shot.drawn.mask_HW)
            if not silhouette_HW.any() or max(np.ptp(np.nonzero(silhouette_HW), axis=1)) < SMALLEST_PX:
                self.counts.small += 1
                continue
            crop = crop_around(silhouette_HW, before.crop if before else None, self._config.side)
            surface = rasterize(bodies, crop.camera(self._cast.camera_33), crop.side)
            own_SS = surface.person_SS == person
            if not own_SS.any():  # hidden behind another avatar
                continue
            back = None
            if before is not None:
                camera_33 = before.crop.camera(self._cast.camera_33)
                back = flow(surface, person, before.surface, before.vertices_V3, camera_33)
            seam_px = self._config.seam_px * crop.side / crop.size
            mask_SS = masks.dilate(own_SS, seam_px) & ((surface.person_SS < 0) | own_SS)
            take = PersonTake(
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

    def _refined(
        self, person: int, track: PersonTrack, takes: list[PersonTake]
    ) -> Iterator[tuple[PersonTake, np.ndarray]]:
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
                change_SS3 = temporally_blended(track, take, change_SS3, self._config.memory)
                track.last, track.change_SS3 = take, change_SS3
            if self._check is not None and self._check.moved(
                take.picture_SS3, levels(take.picture_SS3 + change_SS3 * take.mask_SS[..., None])
            ):
                self.counts.moved += 1
                continue
            self.counts.refined += 1
            yield take, change_SS3

    def _made(self, person: int, track: PersonTrack, takes: list[PersonTake]) -> list[np.ndarray | None]:
        """The networks' output for takes; None where they fail. A batch that fails is tried in halves."""
        if len(takes) > self._at_once:
            return self._in_parts(person, track, takes, self._at_once)
        saved = track.memory.saved()
        try:
            made_FSS3 = self._backend(self._order(person, track, takes))
            if np.isfinite(made_FSS3).all():
                return list(made_FSS3)
            problem = "some images have values that are not finite"
        except (RuntimeError, ValueError) as error:  # lack of memory is a RuntimeError, too
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if _out_of_memory(error) and len(takes) > 1:
                self._at_once = len(takes) // 2
                _log.warning(
                    "Memory does not suffice for %d images; the batch is reduced to %d.",
                    len(takes),
                    self._at_once,
                )
        track.memory = saved
        if len(takes) > 1:
            return self._in_parts(person, track, takes, len(takes) // 2)
        # The next take's links refer to this one, which has no result.
        track.memory = Memory(first_GNC=saved.first_GNC, picture_SS3=saved.picture_SS3)
        _log.warning("A frame keeps its render, because it could not be refined: %s.", problem)
        return [None]

    def _in_parts(
        self, person: int, track: PersonTrack, takes: list[PersonTake], size: int
    ) -> list[np.ndarray | None]:
        parts = [takes[at : at + size] for at in range(0, len(takes), size)]
        return [made for part in parts for made in self._made(person, track, part)]

    def _order(self, person: int, track: PersonTrack, takes: list[PersonTake]) -> Takes:
        channels, height, width = self._backend.latents(self._config.side)
        if track.cell_px == 0:
            choose_cells(track, takes[0], person, height, float(self._cast.camera_33[0, 0]))
        consistent = self._config.consistent
        noise, links, known = [], [], []
        for take in takes:
            if consistent:
                cells_SSD = noise_cells(take, person, track)
                noise.append(anchored(cells_SSD, seed=track.seed, channels=channels, shape=(height, width)))
            else:
                chance = np.random.default_rng((track.seed, take.index))
                noise.append(chance.standard_normal((channels, height, width), np.float32))
            link_hw2, known_hw = links_of(take.back, self._config.side, height)
            links.append(link_hw2)
            known.append(known_hw)
        return Takes(
            pictures_FSS3=np.stack([take.picture_SS3 for take in takes]),
            nearness_FSS=np.stack([nearness_of(take.surface.depth_SS) for take in takes]),
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


def _of(name: str, person: int) -> bool:
    return name.partition(".")[0] == str(person)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice. On a GPU torch has a class for it; the CPU's allocator has only a
    message.
    """
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
