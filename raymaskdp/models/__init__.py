"""Backbones and fine-tuning schemes."""

from raymaskdp.models.registry import ModelConfig, build_model, register
from raymaskdp.models.schemes import SCHEMES, apply_scheme
from raymaskdp.models.weights import load_backbone, load_weights, read_weights, save_weights

__all__ = [
    "SCHEMES",
    "ModelConfig",
    "apply_scheme",
    "build_model",
    "load_backbone",
    "load_weights",
    "read_weights",
    "register",
    "save_weights",
]
