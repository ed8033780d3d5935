"""Models by name. A new model is one file and one entry here, or one `register` call of a user.

A model is a module with `features(clips_BCTHW) -> [B, D]`, a linear layer `head`, and
`forward(clips) = head(features(clips))`; schemes and cached features need no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from raymaskdp import check, config
from raymaskdp.models.video_transformer import VideoTransformer, VideoTransformerConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model, and how large.

    Attributes:
      name: a registered name.
      options: settings of that model, for `video-transformer` those of `VideoTransformerConfig`.
    """

    name: str = "video-transformer"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.one_of("model.name", self.name, MODELS)
        entry = MODELS[self.name]
        config.build(entry.options, self.options, where="model.options")


@dataclass(frozen=True)
class Entry:
    """A model's options dataclass, and what builds it from (options, clip=, num_classes=)."""

    options: type
    build: Callable[..., nn.Module]


MODELS: dict[str, Entry] = {"video-transformer": Entry(VideoTransformerConfig, VideoTransformer)}


def register(name: str, options: type, build: Callable[..., nn.Module]) -> None:
    """Make a model available by name to configurations."""
    MODELS[name] = Entry(options, build)


def build_model(model: ModelConfig, *, clip: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    """The model with weights drawn from `seed`; the global random state is left as it was."""
    entry = MODELS[model.name]
    options: Any = config.build(entry.options, model.options, where="model.options")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.build(options, clip=clip, num_classes=num_classes)
