"""The interface of models, and functions that several of them need.

Shapes: B clips, C colours, T frames, H rows, W columns, D width of a feature vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from raymaskdp.models.weight_names import WeightNames

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Colours = tuple[float, float, float]


class Backbone(nn.Module):
    """A model: features of clips, and a linear head on them. Every class starts equally likely.

    Attributes:
      head: scores of features.
      layouts: other naming schemes of its weights.
      branch_outputs: regular expression of the linear layers after which adapters go: the last of every
        attention and of every perceptron, before their sum with the input.
      projections: the same for the layers that LoRA changes: those of queries, keys and values.
    """

    head: nn.Linear
    layouts: ClassVar[tuple[WeightNames, ...]] = ()
    branch_outputs: str = ""
    projections: str = ""
    _checkpointed: bool = False

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        raise NotImplementedError

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Class scores (logits), shape [B, num_classes]."""
        return self.head(self.features(clips_BCTHW))

    def checkpoint_activations(self) -> None:
        """From now on discard activations inside blocks, and recompute them in the backward pass."""
        self._checkpointed = True

    def run(self, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """`block(*inputs)`, checkpointed if requested."""
        if self._checkpointed and torch.is_grad_enabled():
            outputs: Tensor = checkpoint(block, *inputs, use_reentrant=False)
            return outputs
        return block(*inputs)


def reset_head(width: int, num_classes: int) -> nn.Linear:
    """A head with zero weights: at the start all classes are equally likely."""
    head = nn.Linear(width, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def normalize(clips_BCTHW: Tensor, mean: Colours, std: Colours) -> Tensor:
    """Colours in the normalisation of pretrained networks, (pixel / 255 − mean) / std.

    Clips hold (pixel − fill) / 128; this assumes the default fill, 128.
    """
    shape = (1, 3, 1, 1, 1)
    mean_C, std_C = (clips_BCTHW.new_tensor(values).view(shape) for values in (mean, std))
    return ((clips_BCTHW + 1) * (128 / 255) - mean_C) / std_C


def mean_over_frames(images: Callable[[Tensor], Tensor], clips_BCTHW: Tensor) -> Tensor:
    """Features [B, D] of clips by a network of images [B, C, H, W]: each frame's, averaged.

    An image is a clip of one frame.
    """
    batch, _, frames = clips_BCTHW.shape[:3]
    features_LD = images(clips_BCTHW.transpose(1, 2).flatten(0, 1))
    return features_LD.unflatten(0, (batch, frames)).mean(1)


def init_transformer(model: nn.Module) -> None:
    """Truncated normal weights of standard deviation 0.02, zero biases (Dosovitskiy 2021)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
