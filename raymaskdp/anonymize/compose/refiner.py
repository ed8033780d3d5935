"""What fits avatars into the frames of one video: the protocol of all refiners, and what they are given.

There is no argument for a source frame. All that a refiner sees is the emptied frame, the render, and how the
avatars move, so nothing under a person mask can come back through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raymaskdp.anonymize.compose.composite import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered

# Shape suffixes: H rows, W columns, 3 RGB or xyz.


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """All that a refiner sees of one frame: no pixel of the source under a mask is in it.

    Attributes:
      index: its number.
      emptied_HW3: uint8, the frame without people.
      drawn: the avatars for it.
    """

    index: int
    emptied_HW3: np.ndarray
    drawn: Rendered


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """What a refiner makes of one frame.

    Attributes:
      backdrop_HW3: uint8, the emptied frame, shaded.
      avatar_HW3: uint8, the avatars in the scene's light; 0 outside their mask.
      shaded_HW: bool, where the backdrop was changed.
    """

    backdrop_HW3: np.ndarray
    avatar_HW3: np.ndarray
    shaded_HW: np.ndarray


class Refiner(Protocol):
    """Fits avatars into the frames of one video."""

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """One result a shot, in order; it may read some shots ahead."""

    def state(self) -> bytes:
        """All that frames still to come need of those before; to be asked for when `over` has ended."""

    def resume(self, state: bytes) -> None:
        """Go on where another refiner of the same video was asked for its `state`."""

    def counted(self) -> Mapping[str, int]:
        """What it counted in the frames so far, for the video's row; not of those before `resume`."""


class FrameRefiner:
    """A refiner that is called with every frame, and counts nothing; it has no state unless it adds one."""

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """One result a shot, in order."""
        return (self(shot.emptied_HW3, shot.drawn, shot.index) for shot in shots)

    def state(self) -> bytes:
        """Nothing: every frame is made by itself."""
        return b""

    def resume(self, state: bytes) -> None:
        """Nothing to do."""

    def counted(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def __call__(self, emptied_HW3: np.ndarray, drawn: Rendered, index: int) -> Refined:
        """Frame `index`: uint8 [H, W, 3] without people, and the avatars for it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RefinerSettings:
    """The settings that a refiner may depend on.

    Attributes:
      composite, diffusion, pose: groups of `AnonymizeConfig`.
      gpus: share of a GPU that the worker holds; 0 for the CPU.
    """

    composite: CompositeConfig
    diffusion: DiffusionConfig
    pose: PoseConfig
    gpus: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RefinerKind:
    """A kind of refiner, for the registry.

    Attributes:
      load: called once in each worker; what it returns is called once a video, and makes its refiner. It is
        the place to keep networks, which should be loaded at the first video.
      normals: whether shots are to have the normals of what is drawn.
    """

    load: Callable[[RefinerSettings], Callable[[Cast], Refiner]]
    normals: bool = False
