"""One person in one frame: the square that is refined, and the inputs of the networks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import Memory
from raymaskdp.anonymize.compose.diffusion.noise import FINENESS
from raymaskdp.anonymize.compose.diffusion.rasterize import (
    NEAR,
    Crop,
    OpticalFlow,
    PlacedMesh,
    SurfaceMap,
    project,
)
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.skeleton import NUM_JOINTS

# Shape suffixes: F frames of a batch, H rows and W columns of the frame, S those of a crop, V vertices,
# h w rows and columns of the latents.


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonCrop:
    """The crop of one person in one frame.

    Attributes:
      index: the frame's number in the video.
      crop, surface: the square around the person, and its surfaces.
      vertices_V3: the person's, camera metres.
    """

    index: int
    crop: Crop
    surface: SurfaceMap
    vertices_V3: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonTake(PersonCrop):
    """One person in one frame, to be refined.

    Attributes:
      at: the number of the frame in its batch.
      picture_SS3: uint8, the composite that is refined.
      mask_SS: bool, the pixels that may change.
      back: flow to the previous take; None in the first.
    """

    at: int
    picture_SS3: np.ndarray
    mask_SS: np.ndarray
    back: OpticalFlow | None


@dataclass(kw_only=True, eq=False)
class PersonTrack:
    """Data of a person that is kept from batch to batch.

    Attributes:
      seed: of the avatar; the same in all videos.
      memory: of the networks.
      last: the previous take; None at first.
      change_SS3: float32, the change of that take.
      cell_px, cell_m: sizes of the noise's cells in the room and on the body, chosen in the first take.
    """

    seed: int
    rest_V3: np.ndarray
    memory: Memory = field(default_factory=Memory)
    last: PersonCrop | None = None
    change_SS3: np.ndarray | None = None
    cell_px: float = 0.0
    cell_m: float = 0.0


def silhouette_of(body: PlacedMesh, camera_33: np.ndarray, drawn_HW: np.ndarray) -> np.ndarray:
    """Approximate pixels of a person's avatar: drawn pixels in the bounding box of its vertices."""
    pixels_V2, depth_V = project(body.vertices_V3, camera_33)
    own_HW = np.zeros_like(drawn_HW)
    if (depth_V <= NEAR).any():  # a vertex behind the camera
        return drawn_HW
    left, top = np.floor(pixels_V2.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(pixels_V2.max(axis=0)).astype(int).clip(0)
    own_HW[top:bottom, left:right] = drawn_HW[top:bottom, left:right]
    return own_HW


def choose_cells(track: PersonTrack, take: PersonTake, person: int, latent_rows: int, focal: float) -> None:
    own_SS = take.surface.person_SS == person
    track.cell_px = take.crop.size / latent_rows / FINENESS
    track.cell_m = float(np.median(take.surface.depth_SS[own_SS])) / focal * track.cell_px


def noise_cells(take: PersonTake, person: int, track: PersonTrack) -> np.ndarray:
    """The noise's cells of a take's pixels, int64 [S, S, 4]: on the body at rest, or in the frame."""
    crop, own_SS = take.crop, take.surface.person_SS == person
    cells_SSD = np.zeros((*own_SS.shape, 4), np.int64)
    along = (np.arange(crop.side) + 0.5) * crop.size / crop.side
    cells_SSD[..., 1] = np.floor((crop.left + along)[None, :] / track.cell_px)
    cells_SSD[..., 2] = np.floor((crop.top + along)[:, None] / track.cell_px)
    cells_SSD[own_SS, 0] = 1
    cells_SSD[own_SS, 1:] = np.floor(take.surface.points(track.rest_V3, own_SS) / track.cell_m)
    return cells_SSD


def links_of(back: OpticalFlow | None, side: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of latents in the previous take, [h, w, 2] in [-1, 1], and where that is known."""
    if back is None:
        return np.zeros((rows, rows, 2), np.float32), np.zeros((rows, rows), np.float32)
    step = side // rows
    middle = slice(step // 2, None, step)
    places_hw2 = back.places_SS2[middle, middle] / np.float32(side) * 2 - 1
    return places_hw2, back.known_SS[middle, middle].astype(np.float32)


def nearness_of(depth_SS: np.ndarray) -> np.ndarray:
    """Depth in the convention of depth networks: 1 the nearest, 0 nothing, the farthest of a body at 0.4."""
    seen_SS = np.isfinite(depth_SS)
    nearness_SS = np.zeros_like(depth_SS)
    if seen_SS.any():
        inverse = 1 / depth_SS[seen_SS]
        low, high = float(inverse.min()), float(inverse.max())
        nearness_SS[seen_SS] = 0.4 + 0.6 * (inverse - low) / max(high - low, 1e-6)
    return nearness_SS


def seed_of(avatar: Avatar) -> int:
    """A seed from the avatar's appearance, which is public, and from nothing else."""
    return int.from_bytes(hashlib.sha256(repr(avatar).encode()).digest()[:8], "big")


def rest_pose(figure: Figure) -> np.ndarray:
    return figure.pose(np.zeros((1, NUM_JOINTS, 3), np.float32), np.zeros((1, 3), np.float32))[0]
