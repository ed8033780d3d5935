"""Settings of the diffusion refiner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Unit

from raymaskdp import check
from raymaskdp.anonymize.compose.diffusion.prompts import check_template

BACKENDS = ("sd15-depth", "sdxl-depth", "wan-vace")
"""Networks by name: Stable Diffusion 1.5 and XL with a depth ControlNet, and the video network Wan VACE."""

SCHEDULERS = ("ddim", "euler", "lcm")

PROMPT = (
    "photo of {person}, {build}, {skin} skin, {hair}, wearing {outfit}, {top} top, {bottom} bottoms, {shoes} "
    "shoes, indoor video frame, {light} light, detailed cloth"
)
NEGATIVE = "cartoon, 3d render, plastic skin, blurry, deformed hands, extra limbs, text, watermark"


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """How `composite.refine=diffusion` works.

    Attributes:
      backend: which networks.
      model: a folder with a pipeline of that backend saved by diffusers, or a hub id; None for the usual
        one, which `raymaskdp models pull` fetches.
      control: the same for its ControlNet; wan-vace has none.
      adapter: a safetensors file of LoRA weights for that pipeline, such as those that need few steps.
      scheduler: "ddim" and "euler" for ordinary weights; "lcm" for weights distilled to few steps.
      steps: of the whole schedule, of which the share `strength` is done.
      strength: how much noise a render gets before it is denoised, from 0 to 1. More changes more, and the
        pose too. wan-vace makes people from noise alone and knows no strength.
      guidance: how much the prompt counts; at 1 or less it is not followed at all, and each step costs half.
      control_scale: how much the rendered depth counts.
      side: pixels to which the square around a person is brought; a multiple of 64.
      batch: frames of a person denoised at once.
      consistent: noise, latents, attention and pixels follow the body's surface; without it every frame is
        made for itself, and flickers.
      memory: share of the change at a point of the body that is taken over from the frame before.
      seam_px: pixels around an avatar that may change with it.
      max_pose_shift: a frame keeps its render if joints, as a network sees them, move from it by more than
        this fraction of the person's size on average, or cannot be seen; 0 does not look.
      prompt: with fields in braces, of `prompts.FIELDS`.
      negative_prompt: what should not be seen.
    """

    backend: str = "sd15-depth"
    model: str | None = None
    control: str | None = None
    adapter: Path | None = None
    scheduler: str = "ddim"
    steps: Annotated[int, check.Range(1, 1000)] = 20
    strength: Annotated[float, check.Range(0, 1, open_low=True)] = 0.35
    guidance: Annotated[float, check.Range(0, 50)] = 5.0
    control_scale: Annotated[float, check.Range(0, 5)] = 1.0
    side: int = 512
    batch: Annotated[int, check.Range(1, 256)] = 8
    consistent: bool = True
    memory: Annotated[float, check.Range(0, 1, open_high=True)] = 0.85
    seam_px: Annotated[int, check.Range(0, 64), Unit("px")] = 3
    max_pose_shift: Annotated[float, check.FRACTION] = 0.03
    prompt: str = PROMPT
    negative_prompt: str = NEGATIVE

    def __post_init__(self) -> None:
        check.fields(self, "diffusion")
        check.one_of("diffusion.backend", self.backend, BACKENDS)
        check.one_of("diffusion.scheduler", self.scheduler, SCHEDULERS)
        check.one_of("diffusion.side", self.side, range(64, 2049, 64))
        check_template("diffusion.prompt", self.prompt)
