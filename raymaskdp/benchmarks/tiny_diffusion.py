"""Tiny pipelines of the real classes with random networks, saved as the real ones are.

They make everything of the diffusion refiner testable but its beauty, on a CPU and without a network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    ControlNetModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    UNet2DConditionModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

WIDTHS = (16, 32)


def sd15(folder: Path) -> dict[str, str]:
    """Stable Diffusion 1.5 in small."""
    torch.manual_seed(0)
    unet = _unet(cross_attention_dim=32)
    pipeline = StableDiffusionControlNetInpaintPipeline(
        vae=_vae(),
        text_encoder=_text(CLIPTextModel),
        tokenizer=_words(folder),
        unet=unet,
        controlnet=_control(unet),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _saved(pipeline, folder)


def sdxl(folder: Path) -> dict[str, str]:
    """Stable Diffusion XL in small."""
    torch.manual_seed(0)
    unet = _unet(
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    pipeline = StableDiffusionXLControlNetInpaintPipeline(
        vae=_vae(),
        text_encoder=_text(CLIPTextModel),
        text_encoder_2=_text(CLIPTextModelWithProjection),
        tokenizer=_words(folder),
        tokenizer_2=_words(folder),
        unet=unet,
        controlnet=_control(unet),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        add_watermarker=False,
    )
    return _saved(pipeline, folder)


def wan(folder: Path) -> dict[str, str]:
    """Wan VACE in small."""
    torch.manual_seed(0)
    text = UMT5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        relative_attention_num_buckets=8,
    )
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {chr(97 + k): 3 + k for k in range(26)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    pipeline: Any = WanVACEPipeline(
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ),
        text_encoder=UMT5EncoderModel(text).eval(),
        vae=AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        transformer=_moving(
            WanVACETransformer3DModel(
                patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16,
                out_channels=16, text_dim=32, freq_dim=64, ffn_dim=32, num_layers=2, cross_attn_norm=True,
                qk_norm="rms_norm_across_heads", rope_max_seq_len=32, vace_layers=[0, 1], vace_in_channels=96,
            )
        ),
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model")
    return {"backend": "wan-vace", "model": str(folder / "model")}


MAKERS: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "sd15-depth": sd15,
    "sdxl-depth": sdxl,
    "wan-vace": wan,
}
"""Writers of tiny weights into a folder, by backend; they give the settings that name them."""


def _saved(pipeline: Any, folder: Path) -> dict[str, str]:
    pipeline.save_pretrained(folder / "model")
    pipeline.controlnet.save_pretrained(folder / "control")
    xl = isinstance(pipeline, StableDiffusionXLControlNetInpaintPipeline)
    return {
        "backend": "sdxl-depth" if xl else "sd15-depth",
        "model": str(folder / "model"),
        "control": str(folder / "control"),
    }


def _unet(**more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=WIDTHS,
        layers_per_block=1,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
        **more,
    )


def _control(unet: UNet2DConditionModel) -> ControlNetModel:
    return _moving(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 8)))


def _moving(network: Any) -> Any:
    """What is zero before training, made random: else a control would change nothing."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


def _vae() -> AutoencoderKL:
    """Eight pixels a latent, as the real one."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def _text(kind: type[Any]) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(_vocabulary()),
            hidden_size=32,
            intermediate_size=32,
            num_attention_heads=4,
            num_hidden_layers=2,
            projection_dim=32,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()


def _vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return {word: number for number, word in enumerate(words)}


def _words(folder: Path) -> CLIPTokenizer:
    """A tokenizer that spells."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
