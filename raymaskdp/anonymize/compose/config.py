"""Settings of the compositing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.extensions import Names

DIFFUSION = "diffusion"
"""The kind that needs weights and has its own settings: `raymaskdp.anonymize.compose.diffusion`."""

REFINER_NAMES = Names("raymaskdp.refiners", ["none", "harmonize", "embedded", DIFFUSION])


@dataclass(frozen=True, kw_only=True)
class CompositeConfig:
    """How the layers are composited.

    Attributes:
      margin: person masks are dilated by this fraction of the frame height before anything is removed.
      gap: a pixel that is masked within this many seconds before and after a frame is masked in it, too.
        Masks miss feet and hands in some frames, but no foot disappears for half a second.
      feather_px: width of the soft seam between background and plate, outside the dilated mask.
      soften_px: width over which an avatar's outline blends into the background, inside its silhouette.
      change_level: a pixel outside the masks that differs from the plate by more than this (0…255) belongs to
        something that moved: a missed hand, a shadow, a carried object.
      change_area: smallest area of such pixels that is replaced by the plate, as a fraction of the frame.
      max_shade: a shadow that touches a person and is at most this fraction of the frame is replaced, too,
        even a very soft one; a larger one is a change of light, and stays.
      keep_objects: which moved objects outside the masks stay: "named" for those that the detector has a
        class for, such as balls and cups, but not furniture or vehicles; "none"; or "all". "all" also keeps
        any part of a person that the masks miss, so inspect the results before you share them. Balls, food,
        cups, bottles, phones and books that are removed with a person are drawn as plain solids, unless
        "none".
      refine: "harmonize" gives avatars the scene's exposure and colour cast, and a shadow under their feet;
        "embedded" corrects both with the bundled network; "diffusion" makes harmonized avatars more realistic
        with a large pretrained model, which needs weights; "none" leaves them as rendered. Installed packages
        add others. The avatar layer on disk is always the plain render.
      keep_audio: copy the source's sound to the output. By default it is removed, because voices identify
        people.
    """

    margin: Annotated[float, check.Range(0, 0.5)] = 0.02
    gap: Annotated[float, check.Range(0, 10), Unit("s")] = 0.4
    feather_px: Annotated[float, check.Range(0, 64), Unit("px")] = 4.0
    soften_px: Annotated[float, check.Range(0, 16), Unit("px")] = 1.0
    change_level: Annotated[int, check.Range(1, 255)] = 28
    change_area: Annotated[float, check.FRACTION] = 0.0004
    max_shade: Annotated[float, check.FRACTION] = 0.1
    keep_objects: Literal["named", "none", "all"] = "named"
    refine: Annotated[str, REFINER_NAMES] = "harmonize"
    keep_audio: bool = False

    def __post_init__(self) -> None:
        check.fields(self, "composite")
