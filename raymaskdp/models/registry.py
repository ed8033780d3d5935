"""Models by name. A new model is one file and one entry here, or a `ModelEntry` at an entry point.

docs/your-own.md says how. `register` adds one in a process.

A model is a module with `features(clips_BCTHW) -> [B, D]`, a linear layer `head`, and
`forward(clips) = head(features(clips))`; this is enough for schemes and cached features. Deriving it
from `Backbone` adds activation checkpointing, and places for adapters and LoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from raymaskdp import check, config
from raymaskdp.errors import UserError
from raymaskdp.extensions import Registry
from raymaskdp.models.backbones import hub
from raymaskdp.models.backbones.backbone import Backbone
from raymaskdp.models.backbones.convnext import ConvNeXt, ConvNeXtConfig
from raymaskdp.models.backbones.hub import HubConfig, HubModel
from raymaskdp.models.backbones.mvit import MViT, MViTConfig
from raymaskdp.models.backbones.resnet import ResNet, ResNetConfig
from raymaskdp.models.backbones.video_transformer import VideoTransformer, VideoTransformerConfig
from raymaskdp.models.backbones.vit import ViT, ViTConfig
from raymaskdp.models.batchnorm import Policy, without_batchnorm


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model, its size, and changes to it.

    Attributes:
      name: a registered name.
      options: settings of that model, for `video-transformer` those of `VideoTransformerConfig`.
      batchnorm: handling of BatchNorm layers: refuse them, or groupnorm to replace them.
      adapter_width: bottleneck width of an adapter, for scheme=adapter.
      lora_rank: rank of the update of a layer, for scheme=lora.
    """

    name: str = "video-transformer"
    options: dict[str, Any] = field(default_factory=dict)
    batchnorm: Policy = "refuse"
    adapter_width: Annotated[int, check.POSITIVE] = 64
    lora_rank: Annotated[int, check.POSITIVE] = 8

    def __post_init__(self) -> None:
        check.fields(self, "model")
        MODELS.check("model.name", self.name)
        entry = MODELS[self.name]
        config.build(entry.options, self.options, where="model.options")


@dataclass(frozen=True)
class ModelEntry:
    """A model's options dataclass, what builds it from (options, clip=, num_classes=), and the files that
    it takes its weights from by itself, which are part of a run's identity."""

    options: type
    build: Callable[..., nn.Module]
    sources: Callable[[Any], tuple[Path, ...]] = lambda options: ()


MODELS: Registry[ModelEntry] = Registry(
    "raymaskdp.models",
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


def build_model(model: ModelConfig, *, clip: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    """The model with weights drawn from `seed`; the global random state is left as it was.

    Raises `UserError` for options that do not fit the clip, and for BatchNorm unless it is replaced.
    """
    entry = MODELS[model.name]
    options: Any = config.build(entry.options, model.options, where="model.options")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = entry.build(options, clip=clip, num_classes=num_classes)
    without_batchnorm(built, model.batchnorm)
    return built


def weight_files(model: ModelConfig) -> tuple[Path, ...]:
    """The files that the model's initial weights come from beside `init`; none for most models."""
    entry = MODELS[model.name]
    return entry.sources(config.build(entry.options, model.options, where="model.options"))


def checkpoint_activations(model: nn.Module) -> None:
    """Trade time for memory; raises `UserError` for a model without this option."""
    if not isinstance(model, Backbone):
        raise UserError(
            f"The model {type(model).__name__} has no activation checkpointing; turn off "
            "compute.checkpoint_activations, or derive it from raymaskdp.models.Backbone."
        )
    model.checkpoint_activations()
