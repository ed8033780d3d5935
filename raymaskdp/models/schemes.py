"""Fine-tuning schemes: the trained parameters. Luo et al., *DP Video Activity Recognition*, §3.4.

A scheme is a predicate over a model's named parameters; the rest is frozen. Fewer trainable
parameters mean less noise in a private update. `adapter` and `lora` first add the trained parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from raymaskdp import check
from raymaskdp.models.adapters import Adapted, LowRank, insert
from raymaskdp.models.config import SchemeName

NORMS = (nn.LayerNorm, nn.GroupNorm)

Chooser = Callable[[str, nn.Module, str], bool]
"""Decides if a parameter is trained, from its module's path, the module, and its name in the module."""


def _everything(path: str, module: nn.Module, name: str) -> bool:
    return True


def _head(path: str, module: nn.Module, name: str) -> bool:
    return path == "head"


def _norms_and_head(path: str, module: nn.Module, name: str) -> bool:
    return path == "head" or isinstance(module, NORMS)


def _biases_and_head(path: str, module: nn.Module, name: str) -> bool:
    return path == "head" or name == "bias"


def _inserted_and_head(path: str, module: nn.Module, name: str) -> bool:
    return path == "head" or not {"adapter", "lora"}.isdisjoint(path.split("."))


SCHEMES: dict[SchemeName, Chooser] = {
    "full": _everything,
    "linear": _head,
    "selective": _norms_and_head,
    "bitfit": _biases_and_head,
    "adapter": _inserted_and_head,
    "lora": _inserted_and_head,
    "scratch": _everything,  # full, but no pretrained weights may be given
}


def apply_scheme(
    model: nn.Module, scheme: SchemeName, *, adapter_width: int = 64, lora_rank: int = 8, seed: int = 0
) -> int:
    """Freeze all parameters except those of `scheme`; return the number of trained parameters.

    `adapter` and `lora` change the model: load pretrained weights before, and a run's own weights after.
    """
    check.one_of("scheme", scheme, SCHEMES)
    if scheme == "adapter":
        places = getattr(model, "branch_outputs", "")
        insert(model, places, partial(Adapted, width=adapter_width), what="adapters", seed=seed)
    if scheme == "lora":
        places = getattr(model, "projections", "")
        insert(model, places, partial(LowRank, rank=lora_rank), what="LoRA", seed=seed)
    chosen = SCHEMES[scheme]
    count = 0
    for path, module, name, parameter in _parameters(model):
        parameter.requires_grad_(chosen(path, module, name))
        count += parameter.numel() if parameter.requires_grad else 0
    return count


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield path, module, name, parameter
