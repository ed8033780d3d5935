"""BatchNorm mixes the records of a batch and stores statistics, which differential privacy does not allow."""

from __future__ import annotations

import math

from torch import nn

from raymaskdp.errors import UserError
from raymaskdp.models.config import Policy

GROUPS = 32
MEMORY = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of a BatchNorm beside its scale and shift."""


def without_batchnorm(model: nn.Module, policy: Policy) -> None:
    """Raise `UserError` if the model has a BatchNorm; or replace it with a GroupNorm of the same scales."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    if found and policy == "refuse":
        name, module = found[0]
        raise UserError(
            f"The model's {name!r} is a {type(module).__name__}, which mixes the videos of a batch, so no "
            "private training is possible; use model.batchnorm=groupnorm, or a model without it."
        )
    for name, module in found:
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, _group_norm(module))


def _group_norm(module: nn.modules.batchnorm._BatchNorm) -> nn.GroupNorm:
    channels = module.num_features
    groups = math.gcd(GROUPS, channels)
    norm = nn.GroupNorm(groups, channels, eps=module.eps, affine=module.affine)
    if module.affine:
        norm.weight, norm.bias = module.weight, module.bias
    return norm
