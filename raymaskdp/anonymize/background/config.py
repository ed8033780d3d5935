"""Settings of the background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError
from raymaskdp.extensions import Names

FILL_NAMES = Names(
    "raymaskdp.fills", ["rows", "telea", "shiftmap", "blur"], or_else="the path of an .onnx file"
)


@dataclass(frozen=True, kw_only=True)
class PlateConfig:
    """How the background behind people is made.

    Attributes:
      samples: unmasked values kept of each pixel; the plate is their median.
      min_visible: a pixel that is unmasked in a smaller share of the frames counts as never observed. With
        more than a half, a limb that the masks miss in some frames does not become background; it then
        differs from the plate and is removed, too.
      fill: how never-observed pixels are inpainted: rows (a smooth surface in wide gaps between varied
        things), telea, shiftmap, blur, the name of an installed part, or the path of an ONNX network.
      max_drift_px: a camera whose background moves more than this is not fixed.
      shared_videos: the shared plate of a camera (a column of the manifest) is built from at most this many
        of its videos; 0 shares no background.
      moving_camera: how frames are filled if no single background can be made because of parallax. "flow"
        uses neighbouring frames, along the optical flow, and inpaints the rest. "fill" inpaints each frame
        from its own unmasked pixels; "blur" blurs them into the gaps.
      text: what happens to text in the background, such as screens, boards, name plates and subtitles.
        "remove" removes all lines that a detector finds, like people, and inpaints them.
    """

    samples: Annotated[int, check.Range(1, 255)] = 15
    min_visible: Annotated[float, check.FRACTION] = 0.6
    fill: str = "rows"
    max_drift_px: Annotated[float, check.POSITIVE, Unit("px")] = 1.0
    shared_videos: Annotated[int, check.Range(0, 1000)] = 24
    moving_camera: Literal["flow", "fill", "blur"] = "flow"
    text: Literal["keep", "remove"] = "keep"

    def __post_init__(self) -> None:
        check.fields(self, "plate")
        check_fill("plate.fill", self.fill)


def check_fill(name: str, method: str) -> None:
    """Raise `UserError` unless `method` is a known name or a file that ends in .onnx."""
    if not method.endswith(".onnx"):
        FILL_NAMES.check(name, method)
    elif not Path(method).is_file():
        raise UserError(
            f"{name}: there is no file {method}; give an ONNX network, "
            f"or one of {', '.join(sorted(FILL_NAMES.names()))}."
        )
