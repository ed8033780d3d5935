"""The names of models, without the models, which need torch."""

from __future__ import annotations

from raymaskdp.extensions import Names

DEFAULT = "video-transformer"

MODEL_NAMES = Names(
    "raymaskdp.models",
    [DEFAULT, "mvit-b-16x4", "transformers", "vit-s-16", "convnext-t", "resnet-50-gn"],
)
