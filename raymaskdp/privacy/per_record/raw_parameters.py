"""Per-record gradients of raw parameters: class tokens, position embeddings, scales, bias tables.

A raw parameter has no layer whose inputs could be recorded. Operations on it before it is combined with the
records (indexing, permuting, interpolating, sums of parameters) are traced and left to autograd; where
the result is first combined with others it gets a leading dimension, one copy per row of the batch, so that
its gradient arrives row by row and each record's part can be pulled back to the parameter on its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from raymaskdp.errors import UserError

_BROADCASTING = frozenset(
    {"add", "sub", "rsub", "mul", "multiply", "div", "divide", "true_divide", "subtract"}
    | {f"__{prefix}{name}__" for prefix in ("", "r", "i") for name in ("add", "sub", "mul", "truediv")}
    | {f"{name}_" for name in ("add", "sub", "mul", "div")}
)


@dataclass(frozen=True)
class Derived:
    """A value computed from raw parameters alone, and the stand-ins of those parameters."""

    value: Tensor
    names: frozenset[str]


# Attaches a receiver of gradients to a value: (value, name, receive) -> the value to use instead.
Attach = Callable[[Tensor, str, Callable[[Tensor], None]], Tensor]


class RawParameters(TorchFunctionMode):
    """Follows raw parameters through a forward pass; active between `__enter__` and `__exit__`.

    `receive(name, gradients)` gets every use's gradients [N, *shape]. An operation that cannot be
    followed exactly raises `UserError` naming the parameter and the operation.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        records: int,
        attach: Attach,
        receive: Callable[[str, Tensor], None],
    ) -> None:
        super().__init__()
        self._records = records
        self._attach = attach
        self._receive = receive
        self._paused = False  # while gradients are pulled back: this is not part of the model
        self._standins = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        # Keys are identities, so the keyed tensors are kept alive beside them.
        self._followed: dict[int, tuple[Tensor, Derived]] = {
            id(parameter): (parameter, Derived(self._standins[name], frozenset({name})))
            for name, parameter in parameters.items()
        }

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Trace nothing meanwhile."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        leaves, _ = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        derived = [self._followed[id(tensor)][1] for tensor in tensors if id(tensor) in self._followed]
        if not derived:
            return func(*args, **kwargs)
        others = [
            tensor
            for tensor in tensors
            if id(tensor) not in self._followed and (tensor.is_floating_point() or tensor.is_complex())
        ]
        if not others:
            return self._derive(func, args, kwargs, frozenset().union(*(d.names for d in derived)))
        return self._meet(func, args, kwargs, others)

    def _derive(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], names: frozenset[str]
    ) -> Any:
        args, kwargs = tree_map(self._value, (tuple(args), dict(kwargs)))
        result = func(*args, **kwargs)
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                self._followed[id(leaf)] = (leaf, Derived(leaf, names))
        return result

    def _meet(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], others: list[Tensor]
    ) -> Any:
        operation = getattr(func, "__name__", str(func))
        leading = 0
        dims = max(other.dim() for other in others)
        if operation in _BROADCASTING:
            dims = max([dims, *(self._value(a).dim() for a in args if isinstance(a, Tensor))])
            leading = max((other.shape[0] for other in others if other.dim() == dims), default=0)
        elif operation == "scaled_dot_product_attention":
            leading = others[0].shape[0]

        def replaced(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or id(leaf) not in self._followed:
                return leaf
            return self._meeting(self._followed[id(leaf)][1], operation, leading, dims)

        args, kwargs = tree_map(replaced, (tuple(args), dict(kwargs)))
        return func(*args, **kwargs)

    def _meeting(self, derived: Derived, operation: str, leading: int, dims: int) -> Tensor:
        """The derived value as it is combined with others, a row for every row of the batch."""
        value = derived.value.detach()
        if leading and (value.dim() < dims or value.shape[0] == 1):
            value = value.reshape((1,) * (dims - value.dim()) + tuple(value.shape))
            value = value.expand(leading, *value.shape[1:])
        if operation.startswith("__i") or (operation.endswith("_") and not operation.endswith("__")):
            value = value.clone()  # changed in place: the parameter, and what autograd kept, must not be
        names = " and ".join(repr(name) for name in sorted(derived.names))
        if value.dim() == 0 or value.shape[0] % self._records != 0:
            raise UserError(
                f"The per-record gradient of the parameter {names} cannot be followed through the operation "
                f"{operation!r}; expand the parameter over the batch before it, or freeze the parameter."
            )

        def receive(gradients: Tensor) -> None:
            self._pull_back(derived, gradients)

        return self._attach(value, f"the use of parameter {names} in {operation!r}", receive)

    def _pull_back(self, derived: Derived, gradients: Tensor) -> None:
        with self.pause():
            pulled = self._per_record(derived, gradients)
        for name, per_record in pulled.items():
            self._receive(name, per_record)

    def _per_record(self, derived: Derived, gradients: Tensor) -> dict[str, Tensor]:
        value, records = derived.value, self._records
        rows = gradients.shape[0] // records
        by_record = gradients.unflatten(0, (records, rows))
        names = sorted(derived.names)
        standins = [self._standins[name] for name in names]
        per_record = [
            self._pull_back_one(value, by_record[record], slice(record * rows, (record + 1) * rows), standins)
            for record in range(records)
        ]
        return {
            name: torch.stack(of_one)
            for name, of_one in zip(names, zip(*per_record, strict=True), strict=True)
        }

    @staticmethod
    def _pull_back_one(value: Tensor, rows: Tensor, where: slice, standins: list[Tensor]) -> list[Tensor]:
        if value.shape == rows.shape[1:]:
            cotangent = rows.sum(0)
        elif value.dim() == rows.dim() and value.shape[0] != 1:
            cotangent = torch.zeros_like(value)
            cotangent[where] = rows
        else:
            cotangent = rows.sum(0).reshape(value.shape)
        if len(standins) == 1 and value is standins[0]:
            return [cotangent]
        pulled = torch.autograd.grad(value, standins, cotangent, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(standin) if gradient is None else gradient
            for standin, gradient in zip(standins, pulled, strict=True)
        ]

    def _value(self, leaf: Any) -> Any:
        followed = self._followed.get(id(leaf)) if isinstance(leaf, Tensor) else None
        return leaf if followed is None else followed[1].value
