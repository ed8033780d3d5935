"""Tiny random networks of `transformers` that find people, as its own `save_pretrained` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from raymaskdp.anonymize.people.networks.hub.folder import ModelFolder, model_folder

SIDE = 64
"""Sides of a detector's picture, pixels."""

LABELS = {0: "person", 1: "dog", 2: "Hat"}


def detector(
    folder: Path,
    kind: str = "RTDetr",
    *,
    labels: dict[int, str] | None = None,
    loud: bool = False,
    blind: bool = False,
) -> Path:
    """A detector and how it wants pictures; a `loud` one sees people everywhere, a `blind` one none."""
    labels = labels or LABELS
    common: dict[str, Any] = {
        "encoder_hidden_dim": 16, "encoder_in_channels": [8, 16, 16], "encoder_layers": 1,
        "encoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_in_channels": [16, 16, 16],
        "d_model": 16, "num_queries": 12,
        "decoder_ffn_dim": 16, "decoder_layers": 2, "decoder_attention_heads": 2, "num_denoising": 0,
        "id2label": labels, "label2id": {name: number for number, name in labels.items()},
    }  # fmt: skip
    torch.manual_seed(3)
    if kind == "DFine":
        backbone: Any = transformers.HGNetV2Config(
            stem_channels=[3, 4, 8], stage_in_channels=[8, 16, 16, 16], stage_mid_channels=[4, 8, 8, 8],
            stage_out_channels=[16, 16, 16, 16], stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4,
            stage_downsample=[False, True, True, True], stage_light_block=[False] * 4,
            stage_kernel_size=[3] * 4, embedding_size=8, hidden_sizes=[16] * 4, depths=[1] * 4,
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        common |= {"encoder_in_channels": [16, 16, 16], "decoder_n_points": [2, 2, 2]}
    else:
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone, **common)
    network = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.dim() > 1 and "bbox_embed" not in name:  # else all but nothing comes out at the end
                value.normal_(0.0, (1 if kind == "DFine" else 2) * value[0].numel() ** -0.5)
            if "class_embed" in name and name.endswith("bias"):
                value.copy_(
                    torch.tensor([3.0 if loud else -60.0 if blind else 0.0, -1.0, -0.5])[: len(value)]
                )
            if loud and name.endswith("bbox_embed.0.layers.2.bias") and len(value) == 4:
                value.copy_(torch.tensor([0.0, 0.0, 2.0, 2.5]))
    network.save_pretrained(folder)
    about = {"size": {"height": SIDE, "width": SIDE}, "do_normalize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


def keypoints(folder: Path, *, num_points: int = 17, experts: int = 1) -> Path:
    """A ViTPose of pictures of 64 x 48 pixels, whose heat maps have peaks of some height."""
    torch.manual_seed(4)
    mixed = {"num_experts": experts, "part_features": 4} if experts > 1 else {}
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        mlp_ratio=2, out_features=["stage1"], **mixed,
    )  # fmt: skip
    labels = {number: f"point {number}" for number in range(num_points)}
    config = transformers.VitPoseConfig(
        backbone_config=backbone,
        use_simple_decoder=True,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )
    network = transformers.VitPoseForPoseEstimation(config).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("head"):
                value.normal_(0.0, 0.05)
    network.save_pretrained(folder)
    return folder


def sam(folder: Path, *, video: bool = False) -> Path:
    """A SAM 2 of pictures of 128 x 128 pixels; of frames, or of videos, which has a memory as well."""
    torch.manual_seed(5)
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, image_size=[128, 128], embed_dim_per_stage=[8, 16, 24, 32],
        num_attention_heads_per_stage=[1] * 4, blocks_per_stage=[1] * 4, window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[], window_positional_embedding_background_size=[2, 2],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], fpn_hidden_size=16,
    )  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}
    masks = {
        "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
        "iou_head_hidden_dim": 16,
    }  # fmt: skip
    parts: dict[str, Any] = {
        "vision_config": vision.to_dict(), "prompt_encoder_config": prompts, "mask_decoder_config": masks,
    }  # fmt: skip
    if video:
        memory = {
            "image_size": 128, "memory_attention_hidden_size": 16, "memory_attention_num_layers": 1,
            "memory_attention_feed_forward_hidden_size": 16, "memory_encoder_hidden_size": 16,
            "memory_encoder_output_channels": 8, "mask_downsampler_embed_dim": 16,
            "memory_fuser_embed_dim": 16, "memory_fuser_intermediate_dim": 16,
        }  # fmt: skip
        network: Any = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**parts, **memory))
    else:
        network = transformers.Sam2Model(transformers.Sam2Config(**parts))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "mask_decoder" in name and value.dim() > 1:
                value.normal_(0.0, 0.7)
    network.save_pretrained(folder)
    return folder


def opened(setting: str, folder: Path) -> ModelFolder:
    """The folder as the setting `pose.SETTING` names it."""
    return model_folder(f"pose.{setting}", str(folder))
