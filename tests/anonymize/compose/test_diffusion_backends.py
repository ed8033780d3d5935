"""Networks are found, loaded from safetensors only, and prompted with the avatar's appearance."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    LCMScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

from raymaskdp.anonymize.compose.config import CompositeConfig
from raymaskdp.anonymize.compose.diffusion.backends import SameNoise, Takes, load_backend
from raymaskdp.anonymize.compose.diffusion.cross_frame_attention import Memory
from raymaskdp.anonymize.compose.diffusion.prompts import color_name, light_of, prompt_for
from raymaskdp.anonymize.compose.diffusion.settings import PROMPT, DiffusionConfig
from raymaskdp.anonymize.compose.diffusion.weights import load_pipeline, pull_diffusion
from raymaskdp.anonymize.config import AnonymizeConfig
from raymaskdp.benchmarks.diffusion import tiny_diffusion
from raymaskdp.bodies.avatar import draw_avatar
from raymaskdp.bodies.body import load_body
from raymaskdp.bodies.figure import dress
from raymaskdp.errors import UserError

SIDE = 64
CPU = torch.device("cpu")


def takes(channels: int, frames: int = 2, seed: int = 7) -> Takes:
    rng = np.random.default_rng(seed)
    mask = np.zeros((frames, SIDE, SIDE), bool)
    mask[:, 16:48, 16:48] = True
    return Takes(
        pictures_FSS3=rng.integers(0, 255, (frames, SIDE, SIDE, 3)).astype(np.uint8),
        nearness_FSS=0.7 * mask.astype(np.float32),
        masks_FSS=mask,
        noise_FChw=rng.standard_normal((frames, channels, 8, 8)).astype(np.float32),
        links_Fhw2=np.zeros((frames, 8, 8, 2), np.float32),
        known_Fhw=np.ones((frames, 8, 8), np.float32),
        prompt="photo of a man",
        seed=2**64 - 3,
        memory=Memory(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl-depth", "wan-vace"])
def test_other_backends_load_and_refine_alike(name: str, tmp_path: Path) -> None:
    """Shape, range, determinism; mask, depth, noise and prompt all matter."""
    torch.set_num_threads(1)
    named = tiny_diffusion.MAKERS[name](tmp_path)
    backend = load_backend(DiffusionConfig(**named, side=SIDE, steps=2, strength=1.0, guidance=1.0), CPU)
    channels, *size = backend.latents(SIDE)
    assert size == [8, 8]
    given = takes(channels)
    made = backend(given)
    assert made.shape == (2, SIDE, SIDE, 3)
    assert 0 <= made.min() <= made.max() <= 1
    np.testing.assert_array_equal(made, backend(dataclasses.replace(given, memory=Memory())))
    if name == "wan-vace":  # every window of a track gets the same reference
        memory = Memory()
        backend(dataclasses.replace(given, memory=memory))
        backend(dataclasses.replace(takes(channels, seed=8), memory=memory))
        np.testing.assert_array_equal(memory.picture_SS3, given.pictures_FSS3[0])
    for change in (
        {"nearness_FSS": 0 * given.nearness_FSS},
        {"noise_FChw": -given.noise_FChw},
    ):
        other = backend(dataclasses.replace(given, memory=Memory(), **change))
        assert (other != made)[given.masks_FSS].any()


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    """Where there are other weights only, they are refused, however well they would load."""
    named = tiny_diffusion.sd15(tmp_path)
    unet = tmp_path / "model" / "unet"
    torch.save({}, unet / "diffusion_pytorch_model.bin")
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        load_backend(DiffusionConfig(**named), CPU)
    shutil.rmtree(tmp_path / "control")
    with pytest.raises(UserError, match=r"diffusion\.control is neither a folder"):
        load_backend(DiffusionConfig(**named), CPU)


def test_missing_weights_are_found_out_at_once(tmp_path: Path) -> None:
    wanted = CompositeConfig(refine="diffusion")
    with pytest.raises(UserError, match="raymaskdp models pull sdxl-depth"):
        AnonymizeConfig(
            composite=wanted, diffusion=DiffusionConfig(backend="sdxl-depth", model="nobody/none")
        )
    with pytest.raises(UserError, match=r"model_index\.json"):
        AnonymizeConfig(composite=wanted, diffusion=DiffusionConfig(model=str(tmp_path)))
    AnonymizeConfig(diffusion=DiffusionConfig(model="nobody/none"))  # not asked for, not looked for
    with pytest.raises(UserError, match="one of sd15-depth"):
        pull_diffusion("sd9")


def test_an_adapter_is_merged_into_the_weights(tmp_path: Path) -> None:
    """A LoRA that peft made adds its product to the layers that it names, and to no other."""
    named = tiny_diffusion.sd15(tmp_path)
    config = DiffusionConfig(**named, side=SIDE)
    usual = {name: value.clone() for name, value in _unet(config).state_dict().items()}
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "model" / "unet")
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, target_modules=["to_q"]))
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers, weight_name="a.safetensors")

    adapted = _unet(dataclasses.replace(config, adapter=tmp_path / "a.safetensors")).state_dict()
    assert adapted.keys() == usual.keys()
    for name, value in usual.items():
        change = torch.zeros_like(value)
        if name.endswith("to_q.weight"):
            layer = name.removesuffix(".weight")
            change = layers[f"{layer}.lora_B.weight"] @ layers[f"{layer}.lora_A.weight"]
            assert change.abs().max() > 0
        torch.testing.assert_close(adapted[name] - value, change, atol=1e-5, rtol=1e-4)

    with pytest.raises(UserError, match=r"no safetensors file .*b\.bin"):
        _unet(dataclasses.replace(config, adapter=tmp_path / "b.bin"))
    save_file({"other": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(UserError, match=r"c\.safetensors"):
        _unet(dataclasses.replace(config, adapter=tmp_path / "c.safetensors"))


def _unet(config: DiffusionConfig) -> torch.nn.Module:
    kind, control = StableDiffusionControlNetInpaintPipeline, ControlNetModel
    unet: torch.nn.Module = load_pipeline(config, kind, control, torch.float32).unet
    return unet


def test_lcm_puts_the_same_noise_back() -> None:
    """As the library's steps would be, had it drawn the noise that was given."""
    own, theirs = SameNoise(), LCMScheduler()
    for scheduler in (own, theirs):
        scheduler.set_timesteps(4)
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 8, 8, generator=chance)
    latents, output = (torch.randn(1, 4, 8, 8, generator=chance) for _ in range(2))
    own.noise = noise
    for step, timestep in enumerate(own.timesteps):
        following, denoised = own.step(output, timestep, latents)
        _, expected = theirs.step(output, timestep, latents, return_dict=False)
        torch.testing.assert_close(denoised, expected)
        if step < 3:
            alpha = own.alphas_cumprod[own.timesteps[step + 1]]
            torch.testing.assert_close(following, alpha.sqrt() * denoised + (1 - alpha).sqrt() * noise)
        else:
            torch.testing.assert_close(following, denoised)
        latents = following


@pytest.mark.parametrize(
    ("color", "words"),
    [
        ((30, 30, 30), "dim"),
        ((110, 105, 100), "natural"),
        ((240, 235, 230), "bright"),
        ((60, 50, 30), "dim warm"),
        ((100, 110, 130), "natural cool"),
    ],
)
def test_prompts_know_the_light(color: tuple[int, int, int], words: str) -> None:
    assert light_of(np.full((6, 8, 3), color, np.uint8)) == words


def test_prompts_say_what_the_avatar_wears() -> None:
    for name in ("a", "b"):
        avatar = draw_avatar(b"w", name)
        prompt = prompt_for(avatar, dress(load_body(), avatar), "dim warm", PROMPT)
        assert "dim warm light" in prompt
        assert avatar.outfit in prompt
        assert f"{color_name(avatar.top)} top" in prompt
        assert "{" not in prompt
        assert (avatar.beard == "none") or avatar.beard in prompt
    assert [color_name(color) for color in ((0.6, 0.15, 0.1), (0.9, 0.9, 0.9), (0.1, 0.18, 0.4))] == [
        "red", "white", "navy blue",
    ]  # fmt: skip
    for template, complaint in (("a {hat}", "{hat}"), ("a {hair", "brace"), ("{}", "only person")):
        with pytest.raises(UserError, match=complaint):
            DiffusionConfig(prompt=template)
