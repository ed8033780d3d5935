"""A small version of every backbone, and the sizes of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from raymaskdp.models import ModelConfig, build_model

SMALL: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "video-transformer": ({"width": 8, "depth": 2, "heads": 2, "tubelet": [2, 8, 8]}, (4, 16, 16)),
    "mvit-b-16x4": ({"width": 6, "depth": 5, "stages": [1, 3], "key_stride": 2}, (4, 16, 20)),
    "vit-s-16": ({"width": 8, "depth": 2, "heads": 2, "patch": 8}, (2, 16, 24)),
    "convnext-t": ({"widths": [4, 6, 8, 8], "depths": [1, 1, 2, 1], "scale": 0.5}, (2, 32, 32)),
    "resnet-50-gn": ({"width": 4, "depths": [2, 1], "groups": 2}, (2, 16, 16)),
}
"""Options and clip (frames, height, width) by name; those of `transformers` need files, see `hub_model`."""


def small(name: str, *, num_classes: int = 3, seed: int = 0, **model: Any) -> nn.Module:
    """A small model whose head is not zero, so that gradients reach everything."""
    options, clip = SMALL[name]
    config = ModelConfig(name=name, options=options, **model)
    net = build_model(config, clip=clip, num_classes=num_classes, seed=seed)
    return with_head(net)


def with_head(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    for parameter in net.get_submodule("head").parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return net


def clips(count: int, clip: tuple[int, int, int], seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, *clip, generator=torch.Generator().manual_seed(seed)) * 2 - 1


HUB_CLIP = (4, 16, 16)


def hub_folder(folder: Path, kind: str) -> Path:
    """A tiny random classifier of `transformers`, as its own `save_pretrained` leaves it."""
    import transformers

    sizes = {
        "image_size": 16, "num_frames": 4, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 7,
    }  # fmt: skip
    own = {
        "VideoMAE": {"patch_size": 8},
        "Vivit": {"tubelet_size": [2, 8, 8]},
        "Timesformer": {"patch_size": 8},
    }
    settings = getattr(transformers, f"{kind}Config")(**sizes, **own[kind])
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForVideoClassification")(settings).save_pretrained(folder)
    return folder


def hub_model(folder: Path, *, num_classes: int = 3, **options: Any) -> nn.Module:
    config = ModelConfig(name="transformers", options={"path": str(folder), **options})
    return with_head(build_model(config, clip=HUB_CLIP, num_classes=num_classes, seed=0))
