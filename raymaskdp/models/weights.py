"""Weights on disk: safetensors only, which loads without executing anything."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's state dict, complete or not at all."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `UserError` if it is missing or none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights {path}: {error}.") from error


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Load a whole model, head included; names and shapes must match exactly."""
    _load(model, read_weights(path), path)


def load_backbone(path: str | Path, model: nn.Module) -> None:
    """Load everything but the head, which stays as it is: the classes of a new task are new."""
    pretrained = {name: value for name, value in read_weights(path).items() if not _in_head(name)}
    own_head = {name: value for name, value in model.state_dict().items() if _in_head(name)}
    _load(model, {**pretrained, **own_head}, path)


def _in_head(name: str) -> bool:
    return name.split(".")[0] == "head"


def _load(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in state:
            raise UserError(f"The weights {path} have no {name!r}; they are of another model.")
        if state[name].shape != value.shape:
            raise UserError(
                f"{name!r} in {path} has shape {tuple(state[name].shape)}, but the model's has "
                f"{tuple(value.shape)}; use the model and clip settings that the weights were made with."
            )
    extra = sorted(set(state) - set(wanted))
    if extra:
        raise UserError(f"The weights {path} have an unknown {extra[0]!r}; they are of another model.")
    model.load_state_dict(state)
