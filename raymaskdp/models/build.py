"""Models, built from their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from raymaskdp import config
from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import Backbone
from raymaskdp.models.batchnorm import without_batchnorm
from raymaskdp.models.config import ModelConfig
from raymaskdp.models.registry import MODELS


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
