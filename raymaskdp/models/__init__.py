"""Backbones and fine-tuning schemes."""

from raymaskdp.models.backbones.backbone import Backbone
from raymaskdp.models.registry import (
    ModelConfig,
    ModelEntry,
    build_model,
    checkpoint_activations,
    register,
    weight_files,
)
from raymaskdp.models.schemes import SCHEMES, apply_scheme
from raymaskdp.models.weights import load_backbone, load_weights, read_weights, save_weights

__all__ = [
    "SCHEMES",
    "Backbone",
    "ModelConfig",
    "ModelEntry",
    "apply_scheme",
    "build_model",
    "checkpoint_activations",
    "load_backbone",
    "load_weights",
    "read_weights",
    "register",
    "save_weights",
    "weight_files",
]
