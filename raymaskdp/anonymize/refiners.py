"""The refiner of each video, by the configuration. Networks are loaded once a worker, at the first video."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raymaskdp.anonymize.compose.harmonize import DIFFUSION, EMBEDDED, REFINERS, Refiner
from raymaskdp.anonymize.compose.scene import Scene
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.people.networks.mediapipe import PoseNetworks
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.figure import Figure

if TYPE_CHECKING:
    from raymaskdp.anonymize.compose.diffusion.backends import Backend
    from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck


class Refiners:
    """Makes refiners; diffusers is imported only if the configuration asks for it, as that takes seconds."""

    def __init__(self, config: AnonymizeConfig) -> None:
        self._config = config

    def __call__(
        self, scene: Scene, figures: Sequence[Figure], avatars: Sequence[Avatar], fps: float
    ) -> Refiner:
        """The refiner for one video."""
        config = self._config
        if config.composite.refine == EMBEDDED:
            from raymaskdp.anonymize.compose.diffusion.relight import Embedded

            return Embedded(scene.motions, scene.camera_33, fps)
        if config.composite.refine != DIFFUSION:
            return REFINERS[config.composite.refine](scene.motions, scene.camera_33, fps)
        from raymaskdp.anonymize.compose.diffusion import refiner

        cast = refiner.Cast(
            motions=scene.motions, figures=figures, avatars=avatars, camera_33=scene.camera_33, fps=fps
        )
        return refiner.DiffusionRefiner(
            config.diffusion, config.composite, self._backend, self._pose_check, cast
        )

    @functools.cached_property
    def _backend(self) -> Backend:
        from raymaskdp.anonymize.compose.diffusion import backends
        from raymaskdp.anonymize.people.networks.device import device_for

        return backends.load_backend(self._config.diffusion, device_for(self._config.gpus))

    @functools.cached_property
    def _pose_check(self) -> PoseCheck | None:
        from raymaskdp.anonymize.compose.diffusion.pose_check import PoseCheck

        limit = self._config.diffusion.max_pose_shift
        if limit == 0:
            return None
        pose = self._config.pose
        networks = PoseNetworks(confidence=pose.confidence, limit=1)
        return PoseCheck(networks, limit)
