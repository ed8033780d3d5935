"""Checkpoints, each one safetensors file: weights, optimizer state, step, and the identity of the run.

One file, so that it is complete or absent; safetensors, so that loading executes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.files import atomic_path


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Identity of a checkpoint's run: loading it in another run is an error.

    Attributes:
      run: digest of the settings and the data.
      plan: digest of the privacy plan.
    """

    run: str
    plan: str


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state that a step changes.

    Attributes:
      average: moving averages of the trainable weights; empty if they are not averaged.
      clipping_norm: of the next step, float64, a single number; None if it does not adapt.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: Mapping[str, Tensor]
    clipping_norm: Tensor | None = None


def frozen_digests(model: nn.Module) -> dict[str, str]:
    """SHA-256 (hex) of everything in a model's state that is not trained, by name."""
    return {
        name: hashlib.sha256(
            value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        ).hexdigest()
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and not (isinstance(value, nn.Parameter) and value.requires_grad)
    }


def require_frozen(model: nn.Module, digests: Mapping[str, str]) -> None:
    """Raise `UserError` if what is not trained has changed, and would be published without noise."""
    changed = [name for name, digest in frozen_digests(model).items() if digests.get(name) != digest]
    if changed:
        raise UserError(
            f"{changed[0]!r} of the model is not trained but changed during training, so it would tell of "
            "records without noise; keep parameters and buffers as they are in the forward pass."
        )


def save(path: Path, state: TrainingState, *, step: int, identity: Identity, made_by: str) -> None:
    """Write the state after `step` updates; `made_by` is the fingerprint of the key of its attempt."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in state.average.items()}
    if state.clipping_norm is not None:
        tensors["clipping_norm"] = state.clipping_norm
    for number, moments in state.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    about = {"step": str(step), "run": identity.run, "plan": identity.plan, "made_by": made_by}
    contiguous = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_path(path, ours=True) as temporary:
        save_file(contiguous, temporary, metadata=about)


def load(path: Path, state: TrainingState, *, identity: Identity) -> tuple[int, str]:
    """Restore a state in place; returns its number of updates and `made_by`; 0 and "" if there is no file.

    Raises `UserError` if the file is damaged, or of another run or plan.
    """
    if not path.is_file():
        return 0, ""
    about, tensors = _read(path, identity)
    state.model.load_state_dict(_below(tensors, "model."))
    for name, value in _below(tensors, "average.").items():
        state.average[name].copy_(value)
    if state.clipping_norm is not None:
        state.clipping_norm.copy_(tensors["clipping_norm"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(tensors, "optimizer.").items():
        number, _, field = name.partition(".")
        moments.setdefault(int(number), {})[field] = value
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    return int(about["step"]), about.get("made_by", "")


def load_result(path: Path, *, identity: Identity, model: nn.Module) -> int:
    """Load a run's final weights into a model, averaged if it averages; returns the number of updates.

    Raises `UserError` as `load` does.
    """
    about, tensors = _read(path, identity)
    model.load_state_dict({**_below(tensors, "model."), **_below(tensors, "average.")})
    return int(about["step"])


def _read(path: Path, identity: Identity) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as opened:
            about = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"The checkpoint {path} is damaged ({error}); remove it to start again.") from error
    if (about["run"], about["plan"]) != (identity.run, identity.plan):
        raise UserError(f"The checkpoint {path} belongs to another run or privacy plan; give another folder.")
    return about, tensors


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
