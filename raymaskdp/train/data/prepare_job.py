"""Settings of `raymaskdp prepare`: how clips are made, and by how many workers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.datasets.display_names import plain
from raymaskdp.errors import UserError

People = Literal["avatar", "removed", "blurred"]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Size of the stored frames, and the grid of sensitive tokens.

    Attributes:
      width, height: of the clips; the source is scaled, and cropped at the centre to keep its aspect.
      token: side of the square, one frame deep, that is sensitive or not as a whole; 1 is the
        single pixel. With larger ones more synthetic pixels count as sensitive. Need not be the model's.
      fill: what replaces sensitive pixels in the public view, 0 to 255.
      people: avatar; or, for comparison, the source video with its people removed or blurred, all of
        which is sensitive. Both need an output folder of `anonymize`, and the sources.
      classes: all possible classes (or findings), in the order of the model's outputs. Without them,
        they are those of the labels, and the set of labels is public.
    """

    width: Annotated[int, check.POSITIVE, Unit("px")] = 64
    height: Annotated[int, check.POSITIVE, Unit("px")] = 48
    token: Annotated[int, check.POSITIVE, Unit("px")] = 1
    fill: Annotated[int, check.Range(0, 255)] = 128
    people: People = "avatar"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.fields(self)
        object.__setattr__(self, "classes", tuple(map(plain, self.classes)))  # as labels are
        if self.width % self.token or self.height % self.token:
            raise UserError(
                f"width ({self.width}) and height ({self.height}) must be multiples of token ({self.token})."
            )


@dataclass(frozen=True, kw_only=True)
class PrepareJob(PrepareConfig):
    """Size of the stored frames, and the workers that make them.

    Attributes:
      workers: actors of Ray Data; 0 for threads of this process.
    """

    workers: Annotated[int, check.Range(0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.fields(self)

    @property
    def settings(self) -> PrepareConfig:
        """All but the workers: what the clips depend on."""
        names = [field.name for field in dataclasses.fields(PrepareConfig)]
        return PrepareConfig(**{name: getattr(self, name) for name in names})
