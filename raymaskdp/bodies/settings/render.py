"""Settings of the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from raymaskdp import check
from raymaskdp.errors import UserError

Brightness = Annotated[float, check.Range(0, 10)]
Coordinate = Annotated[float, check.Range(-1000, 1000)]


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of a scene, in linear light. The value of a white surface that faces the light is the sum of
    both parts.

    Attributes:
      ambient: light from all directions, RGB; the lower half of the sphere has half of it.
      key: light of one lamp, RGB.
      direction: direction from the person to the lamp, in the camera frame (y down).
    """

    ambient: tuple[Brightness, Brightness, Brightness] = (0.42, 0.42, 0.42)
    key: tuple[Brightness, Brightness, Brightness] = (0.55, 0.55, 0.55)
    direction: tuple[Coordinate, Coordinate, Coordinate] = (0.6, -1.0, -0.9)

    def __post_init__(self) -> None:
        check.fields(self, "render.light")
        if not any(self.direction):
            raise UserError(
                "render.light.direction is zero, which is no direction; give the lamp's, such as [0, -1, 0]."
            )


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How avatars are drawn.

    Attributes:
      light: the light if a call specifies no other.
      textures: a folder of images in the UV layout of `body`, which avatars wear in place of clothes; None
        for clothes.
    """

    light: Light = Light()
    textures: Path | None = None

    def __post_init__(self) -> None:
        if self.textures is not None and not self.textures.is_dir():
            raise UserError(f"render.textures: there is no folder {self.textures}.")
