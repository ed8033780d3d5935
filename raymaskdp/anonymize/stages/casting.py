"""The avatars of a video's people, dressed."""

from __future__ import annotations

from raymaskdp.anonymize.compose.refiner import Cast
from raymaskdp.anonymize.compose.scene import Scene, avatars_of
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.anonymize.item import InWork
from raymaskdp.bodies.avatar import Avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import Figure, dress

KEPT_FIGURES = 64
"""Number of dressed avatars that a worker caches, some megabytes each."""


class Casting:
    """Dresses the people of videos; the latest avatars are cached, because subjects recur.

    Args:
      secret: 32 bytes that determine the avatars.
    """

    def __init__(self, config: AnonymizeConfig, secret: bytes) -> None:
        self._body = config.body
        self._textures = config.render.textures
        self._secret = secret
        self._figures: dict[Avatar, Figure] = {}

    def of(self, item: InWork, scene: Scene) -> Cast:
        """The cast of a video."""
        avatars = avatars_of(item.record, len(scene.motions), self._secret)
        return Cast(
            motions=scene.motions,
            figures=[self._dressed(avatar) for avatar in avatars],
            avatars=avatars,
            camera_33=scene.camera_33,
            fps=float(item.info.fps),
        )

    def _dressed(self, avatar: Avatar) -> Figure:
        if avatar not in self._figures:
            if len(self._figures) >= KEPT_FIGURES:
                self._figures.pop(next(iter(self._figures)))
            self._figures[avatar] = dress(load_body(self._body), avatar, self._textures)
        return self._figures[avatar]
