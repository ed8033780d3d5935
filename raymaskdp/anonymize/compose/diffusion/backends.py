"""The networks, loaded once per worker: images of one person in, the same images refined out.

Their input is a `Takes`: rendered composite, rendered depth and avatar mask. It has no field for a source
frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    WanVACEPipeline,
)
from PIL import Image
from torch import Tensor

from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import (
    CrossFrameAttention,
    Memory,
    with_previous_latents,
)
from raymaskdp.anonymize.compose.diffusion.settings import DiffusionConfig
from raymaskdp.anonymize.compose.diffusion.weights import load_pipeline

# Shape suffixes: F frames, S rows and columns of a crop, C channels and h w rows and columns of the latents.


@dataclass(frozen=True, kw_only=True, eq=False)
class Takes:
    """One person in some consecutive frames, as input of the networks.

    Attributes:
      pictures_FSS3: uint8, the composite of emptied frame and avatars.
      nearness_FSS: float32 from 0 (nothing) to 1 (near), of the rendered avatar.
      masks_FSS: bool, the pixels that may change.
      noise_FChw: float32, standard normal.
      links_Fhw2: float32, position of each latent in the previous frame, in [-1, 1] of its crop.
      known_Fhw: float32, 1 where that is known, else 0.
      prompt: the prompt.
      seed: of all randomness outside `noise_FChw`.
      memory: of the track; None to refine every frame separately.
    """

    pictures_FSS3: np.ndarray
    nearness_FSS: np.ndarray
    masks_FSS: np.ndarray
    noise_FChw: np.ndarray
    links_Fhw2: np.ndarray
    known_Fhw: np.ndarray
    prompt: str
    seed: int
    memory: Memory | None


class ImageBackend:
    """Stable Diffusion with a depth ControlNet, as an inpainting model.

    Attributes:
      pipe: diffusers' pipeline.
      device: the device that it runs on.
    """

    def __init__(
        self, config: DiffusionConfig, device: torch.device, kind: type[Any], control: type[Any]
    ) -> None:
        self._config = config
        self.device = device
        self._dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.pipe = load_pipeline(config, _with_noise(kind), control, self._dtype).to(device)
        self.pipe.scheduler = _SCHEDULERS[config.scheduler].from_config(self.pipe.scheduler.config)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.vae.enable_slicing()
        self.pipe.vae.enable_tiling()
        self._sharing = CrossFrameAttention(self.pipe.unet)

    def latents(self, side: int) -> tuple[int, int, int]:
        """Channels, rows and columns of the latents of an image of `side` x `side` pixels."""
        size = side // self.pipe.vae_scale_factor
        return int(self.pipe.vae.config.latent_channels), size, size

    def __call__(self, takes: Takes) -> np.ndarray:
        """The refined images, float32 [F, S, S, 3] in [0, 1]; pixels outside the masks are meaningless."""
        config, frames = self._config, len(takes.pictures_FSS3)
        pictures = self._tensor(takes.pictures_FSS3).permute(0, 3, 1, 2) / 255
        nearness = self._tensor(takes.nearness_FSS)[:, None].expand(-1, 3, -1, -1)
        noise = self._tensor(takes.noise_FChw).to(self._dtype)
        if isinstance(self.pipe.scheduler, SameNoise):
            self.pipe.scheduler.noise = noise
        self._sharing.begin(takes.memory, frames)
        with torch.inference_mode():
            made = self.pipe(
                prompt=[takes.prompt] * frames,
                negative_prompt=[config.negative_prompt] * frames,
                image=pictures,
                mask_image=self._tensor(takes.masks_FSS.astype(np.float32))[:, None],
                control_image=nearness,
                height=pictures.shape[2],
                width=pictures.shape[3],
                strength=config.strength,
                num_inference_steps=max(config.steps, round(1 / config.strength + 0.5)),
                guidance_scale=config.guidance,
                controlnet_conditioning_scale=config.control_scale,
                # The same for every frame, so that a frame is independent of the others of its batch.
                generator=[torch.Generator().manual_seed(takes.seed % 2**63) for _ in range(frames)],
                latents=noise,
                output_type="np",
                callback_on_step_end=self._after_step(takes),
                callback_on_step_end_tensor_inputs=["latents"],
            )
        refined: np.ndarray = np.asarray(made.images, np.float32)
        return refined

    def _after_step(self, takes: Takes) -> Callable[..., dict[str, Tensor]]:
        links, known = self._tensor(takes.links_Fhw2), self._tensor(takes.known_Fhw)

        def carry(_: Any, step: int, __: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            if takes.memory is None:
                return {}
            return {"latents": with_previous_latents(tensors["latents"], step, takes.memory, links, known)}

        return carry

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)


class VideoBackend:
    """Wan VACE: generates a window of frames in one call, from the depth of the avatars and their
    surroundings.

    Within a window it is consistent by itself. The track's first render is part of every window, so that all
    of them show the same clothes.
    """

    def __init__(self, config: DiffusionConfig, device: torch.device) -> None:
        self._config = config
        self.device = device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.pipe = load_pipeline(config, WanVACEPipeline, None, dtype).to(device)
        self.pipe.vae.to(torch.float32)  # as its authors do: half precision causes banding
        self.pipe.vae.enable_tiling()
        self.pipe.set_progress_bar_config(disable=True)

    def latents(self, side: int) -> tuple[int, int, int]:
        """Channels, rows and columns of the latents of an image of `side` x `side` pixels."""
        size = side // self.pipe.vae_scale_factor_spatial
        return int(self.pipe.vae.config.z_dim), size, size

    def __call__(self, takes: Takes) -> np.ndarray:
        """The refined images, float32 [F, S, S, 3] in [0, 1]; pixels outside the masks are meaningless."""
        config, frames = self._config, len(takes.pictures_FSS3)
        stride = self.pipe.vae_scale_factor_temporal
        window = (
            -(-(frames - 1) // stride) * stride + 1
        )  # its first latent is of one frame, the others of `stride` each
        order = np.minimum(np.arange(window), frames - 1)
        nearness = np.repeat((255 * takes.nearness_FSS[..., None]).astype(np.uint8), 3, axis=3)
        masks = takes.masks_FSS[..., None]
        video = [Image.fromarray(frame) for frame in np.where(masks, nearness, takes.pictures_FSS3)[order]]
        mask = [
            Image.fromarray(frame) for frame in np.where(masks, 255, 0).repeat(3, 3).astype(np.uint8)[order]
        ]
        first_SS3 = takes.pictures_FSS3[0]
        if takes.memory is not None:
            first_SS3 = takes.memory.picture_SS3 = (
                first_SS3 if takes.memory.picture_SS3 is None else takes.memory.picture_SS3
            )
        noise = torch.from_numpy(takes.noise_FChw[order[::stride]]).permute(1, 0, 2, 3)[None]
        chance = torch.Generator().manual_seed(takes.seed % 2**63)
        # One more latent for the reference image; the pipeline removes it again.
        noise = torch.cat([torch.randn(noise[:, :, :1].shape, generator=chance), noise], dim=2)
        side = takes.pictures_FSS3.shape[1]
        with torch.inference_mode():
            made = self.pipe(
                prompt=takes.prompt,
                negative_prompt=config.negative_prompt,
                video=video,
                mask=mask,
                reference_images=[Image.fromarray(first_SS3)],
                conditioning_scale=config.control_scale,
                height=side,
                width=side,
                num_frames=window,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance,
                generator=chance,
                latents=noise.to(self.device),
                output_type="np",
            )
        refined: np.ndarray = np.asarray(made.frames[0], np.float32)[:frames]
        return refined


Backend = ImageBackend | VideoBackend


def load_backend(config: DiffusionConfig, device: torch.device) -> Backend:
    """The backend that the configuration names; raises `UserError` if its weights are missing."""
    if config.backend == "wan-vace":
        return VideoBackend(config, device)
    kind = (
        StableDiffusionXLControlNetInpaintPipeline
        if config.backend == "sdxl-depth"
        else StableDiffusionControlNetInpaintPipeline
    )
    return ImageBackend(config, device, kind, ControlNetModel)


_LCM: Any = LCMScheduler


class SameNoise(_LCM):
    """Latent consistency sampling that adds the same noise again after each step, instead of new noise.

    New noise would be anchored to the image and not to the body, and flicker.
    """

    noise: Tensor | None = None

    def step(self, *arguments: Any, return_dict: bool = True, **options: Any) -> Any:
        """As in the library; always a tuple of the next latents and of the denoised ones."""
        following, denoised = super().step(*arguments, return_dict=False, **options)
        if self.noise is not None and self.step_index < len(self.timesteps):
            following = self.add_noise(denoised, self.noise, self.timesteps[self.step_index][None])
        return following, denoised


_SCHEDULERS: dict[str, type[Any]] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "lcm": SameNoise,
}


def _with_noise(kind: type[Any]) -> type[Any]:
    """The pipeline class, changed so that `latents` is the noise that is added to the image.

    The library takes `latents` for the start of denoising and then ignores the image.
    """

    class WithNoise(kind):
        def prepare_latents(
            self,
            *arguments: Any,
            image: Tensor,
            timestep: Tensor,
            is_strength_max: bool = True,
            return_image_latents: bool = False,
            return_noise: bool = True,
            **options: Any,
        ) -> tuple[Tensor, ...]:
            latents, noise, image_latents = super().prepare_latents(
                *arguments,
                image=image,
                timestep=timestep,
                is_strength_max=is_strength_max,
                return_noise=True,
                return_image_latents=True,
                **options,
            )
            if not is_strength_max:
                latents = self.scheduler.add_noise(image_latents, noise, timestep)
            return (latents, noise, image_latents) if return_image_latents else (latents, noise)

    return WithNoise
