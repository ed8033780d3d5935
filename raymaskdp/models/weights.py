"""Weights on disk, read without executing anything: safetensors, and PyTorch files of plain tensors."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path
from raymaskdp.models.batchnorm import MEMORY
from raymaskdp.models.weight_names import translate
from raymaskdp.places import LocalPath

WRAPPERS = ("model_state", "state_dict", "model")
"""Keys under which training scripts put the weights in a PyTorch file."""


def save_weights(path: LocalPath, model: nn.Module) -> None:
    """Write a model's state dict as safetensors, complete or not at all."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def read_weights(path: LocalPath) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file; `UserError` if it is missing, or more than data."""
    if Path(path).suffix != ".safetensors":
        return _read_pytorch(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights {path}: {error}.") from error


def load_weights(path: LocalPath, model: nn.Module) -> None:
    """Load a whole model, head included; names and shapes must match exactly."""
    _load(model, read_weights(path), path)


def load_backbone(path: LocalPath, model: nn.Module) -> None:
    """Load all weights except the head, which is unchanged: the classes of a new task are new.

    The weights may be in any layout of the model; `raymaskdp.models.weight_names`.
    """
    own = model.state_dict()
    wanted = {name for name in own if not _in_head(name)}
    read = read_weights(path)
    state = {name: value for name, value in read.items() if not _in_head(name)}
    if state.keys() != wanted:
        state = translate(read, getattr(model, "layouts", ())) or state
    state = {
        name: _same_but_for_ones(value, own[name]) if name in own else value
        for name, value in state.items()
        if not (name not in own and name.rpartition(".")[2] in MEMORY)  # of a BatchNorm that was replaced
    }
    _load(model, {**state, **{name: value for name, value in own.items() if _in_head(name)}}, path)


def _read_pytorch(path: LocalPath) -> dict[str, Tensor]:
    try:
        read = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"The weights {path} are not plain tensors: loading them could run code, so they are refused; "
            "save the state dict alone, as safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"Cannot read the weights {path}: {reason}.") from error
    for key in WRAPPERS:
        if isinstance(read, dict) and isinstance(read.get(key), dict):
            read = read[key]
    if not isinstance(read, dict) or not all(isinstance(value, Tensor) for value in read.values()):
        raise UserError(f"The weights {path} have no state dict; save it alone, as safetensors.")
    return {str(name): value for name, value in read.items()}


def _same_but_for_ones(value: Tensor, like: Tensor) -> Tensor:
    """`value` in the shape of `like` if they differ only in dimensions of length 1."""
    return value.reshape(like.shape) if value.squeeze().shape == like.squeeze().shape else value


def _in_head(name: str) -> bool:
    return name.split(".")[0] == "head"


def _load(model: nn.Module, state: dict[str, Tensor], path: LocalPath) -> None:
    wanted = model.state_dict()
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing:
        raise UserError(f"The weights {path} have no {missing[0]!r}; they are of another model.")
    if extra:
        raise UserError(f"The weights {path} have an unknown {extra[0]!r}; they are of another model.")
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise UserError(
                f"{name!r} in {path} has shape {tuple(state[name].shape)}, but the model's has "
                f"{tuple(value.shape)}; use the model and clip settings that the weights were made with."
            )
    model.load_state_dict(state)
