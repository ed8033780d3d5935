"""torchvision as a reference, where it can be imported."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch

_kept: list[torch.library.Library] = []


def torchvision_models() -> ModuleType:
    """`torchvision.models`; the test is skipped where torchvision is missing."""
    try:
        return importlib.import_module("torchvision.models")
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        # Its compiled operators are of another build of torch. The models use none, but name them.
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _kept.append(library)
        return importlib.import_module("torchvision.models")


def waves(net: torch.nn.Module) -> None:
    """Weights that are the same on every machine and for every layout: a wave over each tensor's elements."""
    for value in net.state_dict().values():
        places = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
        value.copy_((places * 0.7 + value.numel()).sin() * 0.2 + (1.0 if value.dim() == 1 else 0.0))
