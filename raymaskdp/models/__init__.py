"""Backbones and fine-tuning schemes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
    from raymaskdp.models.backbones.backbone import Backbone
    from raymaskdp.models.build import build_model, checkpoint_activations, weight_files
    from raymaskdp.models.config import ModelConfig
    from raymaskdp.models.registry import ModelEntry, register
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

__getattr__ = imported_on_use(
    __name__,
    {
        "Backbone": "backbones.backbone",
        "ModelConfig": "config",
        "ModelEntry": "registry",
        "SCHEMES": "schemes",
        "apply_scheme": "schemes",
        "build_model": "build",
        "checkpoint_activations": "build",
        "load_backbone": "weights",
        "load_weights": "weights",
        "read_weights": "weights",
        "register": "registry",
        "save_weights": "weights",
        "weight_files": "build",
    },
)
