"""Settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from raymaskdp import check, config
from raymaskdp.models.names import DEFAULT, MODEL_NAMES

Policy = Literal["refuse", "groupnorm"]
SchemeName = Literal["full", "linear", "selective", "bitfit", "adapter", "lora", "scratch"]


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

    name: Annotated[str, MODEL_NAMES] = DEFAULT
    options: dict[str, Any] = field(default_factory=dict)
    batchnorm: Policy = "refuse"
    adapter_width: Annotated[int, check.POSITIVE] = 64
    lora_rank: Annotated[int, check.POSITIVE] = 8

    def __post_init__(self) -> None:
        check.fields(self, "model")
        if self.name == DEFAULT and not self.options:
            return  # there is nothing to check, and the models need torch
        from raymaskdp.models.registry import MODELS

        config.build(MODELS[self.name].options, self.options, where="model.options")
