"""Exact per-record gradients of supported layers, from their inputs and output gradients.

A rule takes a module's input, the gradient of its output and the number of records, whose views are
folded into the leading dimension, record-major. The gradient already carries the weights of the views, so
summing it over a record's positions gives the signed, weighted gradient of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymaskdp.errors import UserError
from raymaskdp.privacy.per_record.gradients import Dense, Outer, RecordGradients, Rows

MOVED = 8
"""Float64 products that take as long as moving one number of a full gradient (measured on CPUs)."""

# Shape suffixes: N records, T positions of a record, D input and P output features, G groups of channels,
# C channels, M (record, position) pairs.

Rule = Callable[[nn.Module, Tensor, Tensor, int, frozenset[str], bool], Mapping[str, RecordGradients]]


def linear(
    module: nn.Module, inputs: Tensor, outputs: Tensor, records: int, wanted: frozenset[str], signed: bool
) -> dict[str, RecordGradients]:
    """Linear on inputs [L, …, D] with gradients [L, …, P], L a multiple of `records`; 2-D to any-D."""
    assert isinstance(module, nn.Linear)
    outputs_NTP = _wide(outputs).reshape(records, -1, module.out_features)
    found: dict[str, RecordGradients] = {}
    if "bias" in wanted:
        found["bias"] = Dense(outputs_NTP.sum(1))
    if "weight" in wanted:
        inputs_NTD = _wide(inputs).reshape(records, -1, module.in_features)
        factors = Outer(outputs_NTP, inputs_NTD)
        # Both ways make the sum by one product over all positions. Beyond that, ghost norms multiply
        # T²·(P + D) numbers in float64, and a gradient that is written out moves P·D numbers through memory
        # three times. Ghost norms are exact for the factors, but with weights of both signs the gradient
        # may be a small difference of large terms, and only for a full gradient is the norm sure to be no
        # less than the true one.
        positions, features = inputs_NTD.shape[1], module.in_features + module.out_features
        weights = module.in_features * module.out_features
        small = positions**2 * features < MOVED * weights
        # Of factors in float64, a sum in float64 could lose as much as one in float32 of those in float32.
        ghost = small and not signed and outputs_NTP.dtype == torch.float32
        found["weight"] = factors if ghost else Dense(factors.dense())
    return found


def layer_norm(
    module: nn.Module, inputs: Tensor, outputs: Tensor, records: int, wanted: frozenset[str], signed: bool
) -> dict[str, RecordGradients]:
    """LayerNorm over any number of trailing dimensions."""
    assert isinstance(module, nn.LayerNorm)
    shape = tuple(module.normalized_shape)
    grads = _wide(outputs).reshape(records, -1, *shape)
    found: dict[str, RecordGradients] = {}
    if "bias" in wanted:
        found["bias"] = Dense(grads.sum(1))
    if "weight" in wanted:
        normal = functional.layer_norm(_wide(inputs), shape, eps=module.eps).reshape(grads.shape)
        found["weight"] = Dense((grads * normal).sum(1))
    return found


def group_norm(
    module: nn.Module, inputs: Tensor, outputs: Tensor, records: int, wanted: frozenset[str], signed: bool
) -> dict[str, RecordGradients]:
    """GroupNorm on [L, C, …]."""
    assert isinstance(module, nn.GroupNorm)
    grads = _wide(outputs).reshape(records, -1, module.num_channels, outputs[0, 0].numel())
    found: dict[str, RecordGradients] = {}
    if "bias" in wanted:
        found["bias"] = Dense(grads.sum((1, 3)))
    if "weight" in wanted:
        normal = functional.group_norm(_wide(inputs), module.num_groups, eps=module.eps).reshape(grads.shape)
        found["weight"] = Dense((grads * normal).sum((1, 3)))
    return found


def embedding(
    module: nn.Module, inputs: Tensor, outputs: Tensor, records: int, wanted: frozenset[str], signed: bool
) -> dict[str, RecordGradients]:
    """Embedding of indices [L, …]; the padding row has no gradient."""
    assert isinstance(module, nn.Embedding)
    rows_M = inputs.reshape(records, -1)
    owners_M = torch.arange(records, device=rows_M.device)[:, None].expand_as(rows_M)
    pairs_M = (owners_M * module.num_embeddings + rows_M).reshape(-1)
    grads_MD = _wide(outputs).reshape(-1, module.embedding_dim)
    if module.padding_idx is not None:
        kept_M = rows_M.reshape(-1) != module.padding_idx
        pairs_M, grads_MD = pairs_M[kept_M], grads_MD[kept_M]
    pairs_S, places_M = torch.unique(pairs_M, return_inverse=True)
    values_SD = grads_MD.new_zeros(len(pairs_S), module.embedding_dim).index_add_(0, places_M, grads_MD)
    return {
        "weight": Rows(
            pairs_S // module.num_embeddings,
            pairs_S % module.num_embeddings,
            values_SD,
            records,
            module.num_embeddings,
        )
    }


def convolution(
    module: nn.Module, inputs: Tensor, outputs: Tensor, records: int, wanted: frozenset[str], signed: bool
) -> dict[str, RecordGradients]:
    """Conv1d, Conv2d and Conv3d with any stride, padding, dilation and groups, depthwise among them."""
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    grads = _wide(outputs)
    spatial = tuple(range(2, grads.dim()))
    found: dict[str, RecordGradients] = {}
    if "bias" in wanted:
        found["bias"] = Dense(grads.sum(spatial).reshape(records, -1, module.out_channels).sum(1))
    if "weight" in wanted:
        values = _wide(inputs)
        padding: tuple[int, ...] = (0,) * len(spatial)
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            values = functional.pad(values, module._reversed_padding_repeated_twice, mode=mode)
        else:
            padding = tuple(module.padding)
        weight = module.weight.detach().to(values)
        pieces = [
            torch.ops.aten.convolution_backward(
                piece_grads, piece, weight, None, module.stride, padding, module.dilation, False,
                [0] * len(spatial), module.groups, [False, True, False],
            )[1]
            for piece_grads, piece in zip(grads.chunk(records), values.chunk(records), strict=True)
        ]  # fmt: skip
        found["weight"] = Dense(torch.stack(pieces))
    return found


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.Embedding: embedding,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
}

_MIXING = (nn.modules.batchnorm._NormBase,)  # BatchNorm in all its kinds, and InstanceNorm
_ADVICE: dict[str, str] = {
    "MultiheadAttention": "write the projections as nn.Linear modules and call them",
    "RMSNorm": "use nn.LayerNorm",
    "PReLU": "use nn.ReLU or nn.GELU",
}


def rule_for(name: str, module: nn.Module) -> Rule | None:
    """The rule for a module with its own trainable parameters; None for raw ones of a custom module.

    Raises `UserError` for a module of torch, or derived from one, that no rule fits.
    """
    for kind, rule in RULES.items():
        if not isinstance(module, kind):
            continue
        if type(module).forward is not kind.forward:
            raise UserError(
                f"The module {name!r} ({type(module).__name__}) changes the forward of {kind.__name__}, so "
                f"its per-record gradients are not known; use a plain {kind.__name__}, or freeze it."
            )
        extra = [own for own, _ in module.named_parameters(recurse=False) if own not in ("weight", "bias")]
        if extra:
            raise UserError(
                f"The module {name!r} ({type(module).__name__}) has the parameter {extra[0]!r} beside weight "
                "and bias, so its per-record gradients are not known; remove the reparametrization, or "
                "freeze it."
            )
        if isinstance(module, nn.Embedding) and (
            module.max_norm is not None or module.scale_grad_by_freq or module.sparse
        ):
            raise UserError(
                f"The embedding {name!r} uses max_norm, scale_grad_by_freq or sparse, which mix records; "
                "turn them off."
            )
        return rule
    builtin = next((base for base in type(module).__mro__ if base.__module__.startswith("torch.")), nn.Module)
    if builtin not in (nn.Module, nn.ParameterList, nn.ParameterDict):
        advice = _ADVICE.get(builtin.__name__, "replace it with supported layers")
        raise UserError(
            f"Per-record gradients of the module {name!r} ({type(module).__name__}) are not supported; "
            f"{advice}, or freeze it."
        )
    return None


def refuse_mixing(name: str, module: nn.Module) -> None:
    """Raise `UserError` for a layer whose output for one record depends on the others."""
    if not isinstance(module, _MIXING):
        return
    if isinstance(module, nn.modules.instancenorm._InstanceNorm) and not module.track_running_stats:
        return
    raise UserError(
        f"The module {name!r} ({type(module).__name__}) mixes the records of a batch or stores them, "
        "which differential privacy does not allow; use nn.GroupNorm or nn.LayerNorm instead."
    )


def _wide(values: Tensor) -> Tensor:
    """`values` in float32 or better, whatever the autocast type."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
