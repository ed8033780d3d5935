"""Kinds of refiners by name, for `composite.refine`. Networks are loaded at a worker's first video."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from raymaskdp.anonymize.compose.config import DIFFUSION, REFINER_NAMES
from raymaskdp.anonymize.compose.harmonize import Harmonize, Unrefined
from raymaskdp.anonymize.compose.refiner import Cast, Refiner, RefinerKind, RefinerSettings
from raymaskdp.anonymize.people.networks.mediapipe import PoseNetworks
from raymaskdp.extensions import Registry

if TYPE_CHECKING:
    from raymaskdp.anonymize.compose.diffusion.backends import Backend
    from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck


def _plain(settings: RefinerSettings) -> Callable[[Cast], Refiner]:
    return lambda cast: Unrefined(cast.motions, cast.camera_33, cast.fps)


def _harmonize(settings: RefinerSettings) -> Callable[[Cast], Refiner]:
    return lambda cast: Harmonize(cast.motions, cast.camera_33, cast.fps)


def _embedded(settings: RefinerSettings) -> Callable[[Cast], Refiner]:
    def make(cast: Cast) -> Refiner:
        from raymaskdp.anonymize.compose.diffusion.relight import Relight

        return Relight(cast.motions, cast.camera_33, cast.fps)

    return make


class _Diffusion:
    """Creates diffusion refiners. diffusers is imported at the first video, because that takes seconds."""

    def __init__(self, settings: RefinerSettings) -> None:
        self._settings = settings

    def __call__(self, cast: Cast) -> Refiner:
        from raymaskdp.anonymize.compose.diffusion.refiner import DiffusionRefiner

        settings = self._settings
        return DiffusionRefiner(settings.diffusion, settings.composite, self._backend, self._pose_check, cast)

    @functools.cached_property
    def _backend(self) -> Backend:
        from raymaskdp.anonymize.compose.diffusion import backends
        from raymaskdp.anonymize.people.networks.device import device_for

        return backends.load_backend(self._settings.diffusion, device_for(self._settings.gpus))

    @functools.cached_property
    def _pose_check(self) -> PoseCheck | None:
        from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck

        limit = self._settings.diffusion.max_pose_shift
        if limit == 0:
            return None
        return PoseCheck(PoseNetworks(confidence=self._settings.pose.confidence, limit=1), limit)


REFINERS: Registry[RefinerKind] = Registry(
    REFINER_NAMES,
    {
        "none": RefinerKind(load=_plain),
        "harmonize": RefinerKind(load=_harmonize),
        "embedded": RefinerKind(load=_embedded, normals=True),
        DIFFUSION: RefinerKind(load=_Diffusion, gpu=True),
    },
    what="RefinerKind",
    is_one=lambda part: isinstance(part, RefinerKind),
)
"""Kinds of refiners by name."""
