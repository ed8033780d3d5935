"""The protocol of refiners, which fit avatars into the frames of one video, and their inputs.

There is no argument for a source frame. The inputs of a refiner are the emptied frame, the render, and the
avatars' motions, so no pixel under a person mask can return through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.people.config import PoseConfig
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.figure import Figure
from raymaskdp.bodies.motion import Motion
from raymaskdp.bodies.render import Rendered

# Shape suffixes: H rows, W columns, 3 RGB or xyz.


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The people of one video: their motions and avatars.

    Attributes:
      motions, figures, avatars: one for each person, in the same order.
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
    """All inputs of a refiner for one frame. It has no pixel of the source under a mask.

    Attributes:
      index: its number.
      emptied_HW3: uint8, the frame without people.
      drawn: the rendered avatars.
    """

    index: int
    emptied_HW3: np.ndarray
    drawn: Rendered


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """A refiner's output for one frame.

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
        """One result for each shot, in order; it may read some shots ahead."""

    def state(self) -> bytes:
        """The state for the next frames; to be called after `over` has ended."""

    def resume(self, state: bytes) -> None:
        """Continue from the `state` of another refiner of the same video."""

    def counted(self) -> Mapping[str, int]:
        """Counts of the frames so far, for the video's row; without those before `resume`."""


class FrameRefiner:
    """A refiner that is called for every frame and counts nothing; without state by default."""

    def over(self, shots: Iterable[Shot]) -> Iterator[Refined]:
        """One result for each shot, in order."""
        return (self(shot.emptied_HW3, shot.drawn, shot.index) for shot in shots)

    def state(self) -> bytes:
        """Empty: every frame is refined separately."""
        return b""

    def resume(self, state: bytes) -> None:
        """No operation."""

    def counted(self) -> Mapping[str, int]:
        """An empty mapping."""
        return {}

    def __call__(self, emptied_HW3: np.ndarray, drawn: Rendered, index: int) -> Refined:
        """Frame `index`: uint8 [H, W, 3] without people, and the avatars for it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RefinerSettings:
    """The settings that are available to a refiner.

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
      load: called once in each worker. It returns a function that is called once for each video, and creates
        its refiner. It is the place to keep networks, which should be loaded at the first video.
      normals: whether shots need normals.
      gpu: whether it computes on a GPU where its worker holds a share, so that it has a pool of its own.
    """

    load: Callable[[RefinerSettings], Callable[[Cast], Refiner]]
    normals: bool = False
    gpu: bool = False
