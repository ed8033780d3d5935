"""A device that is not the CPU, for machines without one, by torch's own means for backends in Python.

Tensors on it are computed by the CPU, but marked; mixing them with unmarked ones is an error, as on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("elsewhere", backend_module=_Module())
ELSEWHERE = torch.device("elsewhere", 0)
COPIES = {"copy_", "_copy_from"}


class Away(torch.Tensor):
    """A tensor that is elsewhere."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Away:
        self = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=ELSEWHERE,
            dispatch_sizes_strides_policy="sizes",  # set_ changes them
        )  # fmt: skip
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(operation, *args, **(kwargs or {}))


def _compute(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Where the arguments are; what makes or moves a tensor says where."""
    tensors = [x for x in _pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    away = [x for x in tensors if isinstance(x, Away)]
    name = operation.overloadpacket.__name__
    # Single numbers may come from the CPU.
    if away and name not in COPIES and any(x.dim() for x in tensors if not isinstance(x, Away)):
        raise RuntimeError(f"{operation} mixes devices")
    goes_away = bool(away)
    if kwargs.get("device") is not None:
        goes_away = torch.device(kwargs["device"]).type == ELSEWHERE.type
        kwargs["device"] = "cpu"
    args, kwargs = _pytree.tree_map_only(Away, lambda x: x.held, (args, kwargs))
    result = operation(*args, **kwargs)
    same = {id(x.held): x for x in away}  # what was changed in place
    if name in COPIES:
        return same.get(id(result), result)

    def marked(tensor: torch.Tensor) -> torch.Tensor:
        return same[id(tensor)] if id(tensor) in same else Away(tensor)

    return _pytree.tree_map_only(torch.Tensor, marked, result) if goes_away else result


_library = torch.library.Library("_", "IMPL")
_library.fallback(lambda operation, *args, **kwargs: _compute(operation, *args, **kwargs), "PrivateUse1")
