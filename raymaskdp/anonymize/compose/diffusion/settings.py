"""Settings of the diffusion refiner."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.errors import UserError

BackendName = Literal["sd15-depth", "sdxl-depth", "wan-vace"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
"""Names of networks: Stable Diffusion 1.5 and XL with a depth ControlNet, and the video network Wan VACE."""

FIELDS = ("person", "years", "build", "skin", "hair", "outfit", "top", "bottom", "shoes", "light")
"""The fields that a template may have in braces."""

PROMPT = (
    "photo of {person}, {build}, {skin} skin, {hair}, wearing {outfit}, {top} top, {bottom} bottoms, {shoes} "
    "shoes, indoor video frame, {light} light, detailed cloth"
)
NEGATIVE = "cartoon, 3d render, plastic skin, blurry, deformed hands, extra limbs, text, watermark"


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """How `composite.refine=diffusion` works.

    Attributes:
      backend: the kind of networks.
      model: a folder with a pipeline of that backend saved by diffusers, or a hub id; None for the default
        one, which `raymaskdp models pull` downloads.
      control: the same for its ControlNet; wan-vace has none.
      adapter: a safetensors file of LoRA weights for that pipeline, such as one for few steps.
      scheduler: "ddim" and "euler" for ordinary weights; "lcm" for weights distilled to few steps.
      steps: of the whole schedule, of which the share `strength` is run.
      strength: amount of noise added to a render before denoising, from 0 to 1. A larger value changes more,
        including the pose. wan-vace generates people from pure noise and ignores it.
      guidance: weight of the prompt; at 1 or less it is ignored, and each step costs half.
      control_scale: weight of the rendered depth.
      side: size to which the square around a person is resampled; a multiple of 64.
      batch: frames of a person in one batch.
      consistent: whether noise, latents, attention and pixels follow the body's surface; otherwise every
        frame is refined separately, and flickers.
      memory: share of the change at a surface point that is taken from the previous frame.
      seam_px: width of the seam around an avatar that may change with it.
      max_pose_shift: a frame keeps its render if its joints, as detected by a network, move by more than this
        fraction of the person's size on average, or are not detected; 0 disables the check.
      prompt: text with fields in braces, such as {outfit}; see docs/refine.md.
      negative_prompt: the negative prompt.
    """

    backend: BackendName = "sd15-depth"
    model: str | None = None
    control: str | None = None
    adapter: Path | None = None
    scheduler: Literal["ddim", "euler", "lcm"] = "ddim"
    steps: Annotated[int, check.Range(1, 1000)] = 20
    strength: Annotated[float, check.Range(0, 1, open_low=True)] = 0.35
    guidance: Annotated[float, check.Range(0, 50)] = 5.0
    control_scale: Annotated[float, check.Range(0, 5)] = 1.0
    side: Annotated[int, check.Range(64, 2048), Unit("px")] = 512
    batch: Annotated[int, check.Range(1, 256)] = 8
    consistent: bool = True
    memory: Annotated[float, check.Range(0, 1, open_high=True)] = 0.85
    seam_px: Annotated[int, check.Range(0, 64), Unit("px")] = 3
    max_pose_shift: Annotated[float, check.FRACTION] = 0.03
    prompt: str = PROMPT
    negative_prompt: str = NEGATIVE

    def __post_init__(self) -> None:
        check.fields(self, "diffusion")
        if self.side % 64:
            raise UserError(f"diffusion.side must be a multiple of 64, but it is {self.side}.")
        check_template("diffusion.prompt", self.prompt)


def check_template(name: str, template: str) -> None:
    """Raise `UserError` unless all fields of a template are in `FIELDS`."""
    try:
        used = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise UserError(f"{name} has a brace too many or too few: {error}.") from error
    unknown = [field for field in used if field not in FIELDS]
    if unknown:
        raise UserError(f"{name} has the field {{{unknown[0]}}}, but there are only {', '.join(FIELDS)}.")
