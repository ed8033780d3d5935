"""Models by name. A new model is one file and one entry here, or a `ModelEntry` at an entry point.

docs/your-own.md says how. `register` adds one in a process.

A model is a module with `features(clips_BCTHW) -> [B, D]`, a linear layer `head`, and
`forward(clips) = head(features(clips))`; this is enough for schemes and cached features. Deriving it
from `Backbone` adds activation checkpointing, and places for adapters and LoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from raymaskdp.extensions import Registry
from raymaskdp.models.backbones import hub
from raymaskdp.models.backbones.convnext import ConvNeXt, ConvNeXtConfig
from raymaskdp.models.backbones.hub import HubConfig, HubModel
from raymaskdp.models.backbones.mvit import MViT, MViTConfig
from raymaskdp.models.backbones.resnet import ResNet, ResNetConfig
from raymaskdp.models.backbones.video_transformer import VideoTransformer, VideoTransformerConfig
from raymaskdp.models.backbones.vit import ViT, ViTConfig
from raymaskdp.models.names import MODEL_NAMES


@dataclass(frozen=True)
class ModelEntry:
    """A model's options dataclass, what builds it from (options, clip=, num_classes=), and the files that
    it takes its weights from by itself, which are part of a run's identity."""

    options: type
    build: Callable[..., nn.Module]
    sources: Callable[[Any], tuple[Path, ...]] = lambda options: ()


MODELS: Registry[ModelEntry] = Registry(
    MODEL_NAMES,
    {
        "video-transformer": ModelEntry(VideoTransformerConfig, VideoTransformer),
        "mvit-b-16x4": ModelEntry(MViTConfig, MViT),
        "transformers": ModelEntry(HubConfig, HubModel, hub.source_files),
        "vit-s-16": ModelEntry(ViTConfig, ViT),
        "convnext-t": ModelEntry(ConvNeXtConfig, ConvNeXt),
        "resnet-50-gn": ModelEntry(ResNetConfig, ResNet),
    },
    what="ModelEntry",
    is_one=lambda part: isinstance(part, ModelEntry),
)
"""All models: the built-in ones, those of installed packages, and those registered in this process."""


def register(name: str, options: type, build: Callable[..., nn.Module]) -> None:
    """Make a model available by name to configurations, in this process only."""
    MODELS.register(name, ModelEntry(options, build))
