"""Pipelines of the real classes with random networks, tiny or of real sizes, saved as the real ones are.

They allow tests of the whole diffusion refiner except its image quality, without a download.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a U-Net and of its autoencoder.

    Attributes:
      widths: channels of the U-Net's levels; a multiple of `groups` each.
      attending: number of transformers in each block of a level; 0 for a level without attention.
      heads: of attention, in each level, by the library's name for them.
      words: length of the text encoder's vector of a token.
      layers: blocks of a level, of the U-Net and of the autoencoder.
      picture: channels of the autoencoder's levels.
      groups: of channels that are normalized together.
      tile: size in pixels above which the autoencoder works in tiles.
    """

    widths: tuple[int, ...] = (16, 32)
    attending: tuple[int, ...] = (0, 1)
    heads: tuple[int, ...] = (8, 8)
    words: int = 32
    layers: int = 1
    picture: tuple[int, ...] = (8, 8, 8, 8)
    groups: int = 4
    tile: int = 32

    def narrowed(self, share: float) -> Shape:
        """With this share of the channels, rounded to whole groups."""
        fewer = [
            tuple(self.groups * max(1, round(share * width / self.groups)) for width in widths)
            for widths in (self.widths, self.picture)
        ]
        return dataclasses.replace(self, widths=fewer[0], picture=fewer[1])


TINY = Shape()
TINY_XL = Shape(words=64)

REAL: Mapping[str, Shape] = {
    "sd15-depth": Shape(
        widths=(320, 640, 1280, 1280), attending=(1, 1, 1, 0), heads=(8, 8, 8, 8), words=768, layers=2,
        picture=(128, 256, 512, 512), groups=32, tile=512,
    ),
    "sdxl-depth": Shape(
        widths=(320, 640, 1280), attending=(0, 2, 10), heads=(5, 10, 20), words=2048, layers=2,
        picture=(128, 256, 512, 512), groups=32, tile=1024,
    ),
}  # fmt: skip
"""Stable Diffusion 1.5 and XL, as their authors publish them."""


def sd15(folder: Path, shape: Shape = TINY) -> dict[str, str]:
    """Stable Diffusion 1.5."""
    torch.manual_seed(0)
    made = unet(shape)
    pipeline = StableDiffusionControlNetInpaintPipeline(
        vae=_vae(shape),
        text_encoder=_text(CLIPTextModel, shape.words),
        tokenizer=_words(folder),
        unet=made,
        controlnet=_control(made),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _saved(pipeline, folder)


def sdxl(folder: Path, shape: Shape = TINY_XL) -> dict[str, str]:
    """Stable Diffusion XL; its two text encoders have half of `shape.words` each."""
    torch.manual_seed(0)
    half = shape.words // 2
    made = unet(shape, **size_words(half))
    pipeline = StableDiffusionXLControlNetInpaintPipeline(
        vae=_vae(shape),
        text_encoder=_text(CLIPTextModel, half),
        text_encoder_2=_text(CLIPTextModelWithProjection, half),
        tokenizer=_words(folder),
        tokenizer_2=_words(folder),
        unet=made,
        controlnet=_control(made),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        add_watermarker=False,
    )
    return _saved(pipeline, folder)


def wan(folder: Path) -> dict[str, str]:
    """Wan VACE, tiny."""
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
"""Writers of tiny weights into a folder, by backend; they return the settings that name them."""


def _saved(pipeline: Any, folder: Path) -> dict[str, str]:
    pipeline.save_pretrained(folder / "model")
    pipeline.controlnet.save_pretrained(folder / "control")
    xl = isinstance(pipeline, StableDiffusionXLControlNetInpaintPipeline)
    return {
        "backend": "sdxl-depth" if xl else "sd15-depth",
        "model": str(folder / "model"),
        "control": str(folder / "control"),
    }


def size_words(pooled: int) -> dict[str, Any]:
    """Additional inputs of XL's U-Net: six sizes, and the text encoder's vector of the whole text."""
    each = 256 if pooled >= 256 else 8
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": each,
        "projection_class_embeddings_input_dim": 6 * each + pooled,
    }


def unet(shape: Shape, **more: Any) -> Any:
    """A U-Net with random weights."""
    kinds = ["CrossAttn" if attending else "" for attending in shape.attending]
    return UNet2DConditionModel(
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        transformer_layers_per_block=tuple(max(1, attending) for attending in shape.attending),
        attention_head_dim=shape.heads,
        cross_attention_dim=shape.words,
        norm_num_groups=shape.groups,
        **more,
    )


def _control(unet: UNet2DConditionModel) -> ControlNetModel:
    return _moving(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 8)))


def _moving(network: Any) -> Any:
    """Random values for weights that are zero before training; a zero control would change nothing."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


def _vae(shape: Shape) -> AutoencoderKL:
    """Eight pixels for each latent, as in the real one."""
    return AutoencoderKL(
        block_out_channels=shape.picture,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=shape.groups,
        layers_per_block=shape.layers,
        sample_size=shape.tile,
    )


def _text(kind: type[Any], width: int) -> Any:
    """A small text encoder of any width, because texts take little time compared with images."""
    return kind(
        CLIPTextConfig(
            vocab_size=len(_vocabulary()),
            hidden_size=width,
            intermediate_size=32,
            num_attention_heads=4,
            num_hidden_layers=2,
            projection_dim=width,
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
    """A tokenizer of single letters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
