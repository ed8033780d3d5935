"""Recording of one forward and backward pass: per-record gradients from layers' output gradients.

While a layer runs, its trainable parameters are detached copies, and a tap on its output receives the
output's gradient. The layer's rule computes per-record gradients from it (see `engine`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.privacy.per_record.gradients import Dense, RecordGradients
from raymaskdp.privacy.per_record.layers import Rule
from raymaskdp.privacy.per_record.raw_parameters import RawParameters

# Shape suffixes: N records, V views of a record.


@dataclass(frozen=True)
class WatchedLayer:
    """A layer with trainable parameters, and the rule for its per-record gradients."""

    name: str
    module: nn.Module
    rule: Rule
    parameters: dict[str, str]  # own name -> name in the model


class _Tap(torch.autograd.Function):
    """The identity on `outputs`; its backward passes the gradient, and the saved inputs, to `receive`.

    Inputs are saved as autograd saves them, so that activation checkpointing can drop and remake them.
    `anchor` makes the output require a gradient where nothing before the layer does.
    """

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, inputs: Tensor | None, anchor: Tensor, receive: Callable[..., None]
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.receive = receive
        # An alias, not a view: in-place operations may follow, as they may after the layer itself.
        return torch.empty(0, dtype=outputs.dtype, device=outputs.device).set_(outputs.detach())  # type: ignore[call-overload]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        (inputs,) = ctx.saved_tensors
        ctx.receive(inputs, grads[0])
        return (grads[0] if ctx.needs_input_grad[0] else None), None, None, None


def not_finite(gradients: Tensor) -> Tensor:
    """Positions with a number that is not finite, bool."""
    bad = ~gradients.isfinite()
    return bad.any(-1) if bad.dim() > 1 else bad


def rows(gradients: Tensor) -> Tensor:
    """Two numbers for every row, float64 [rows, 2], which differ if rows do."""
    wide = gradients.double().reshape(len(gradients), -1)
    return torch.stack([wide.sum(1), wide.square().sum(1)], 1)


class Recording:
    """The data of one forward and backward pass, stored here and not on the model."""

    def __init__(
        self,
        layers: Sequence[WatchedLayer],
        parameters: dict[str, nn.Parameter],
        raw: dict[str, nn.Parameter],
        records: int,
        views: int,
    ) -> None:
        self.records = records
        self.views = views
        self.created: list[tuple[str, int]] = []
        self.called = False
        self.paused = False  # while the forward pass is tried with other inputs
        self._layers = layers
        self._parameters = parameters
        self._found: dict[str, list[RecordGradients]] = {}
        self._strays: list[str] = []
        self._probed: list[tuple[str, Tensor]] | None = None  # while looking for mixed records
        self._look: Callable[[Tensor], Tensor] = not_finite
        self._in_backward = False
        self._signed = False
        self._swapped: dict[int, dict[str, nn.Parameter]] = {}
        self._anchor = torch.zeros((), requires_grad=True)
        self._raw = raw
        self._mode: RawParameters | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Recording:
        for layer in self._layers:
            before, after = self._hooks(layer)
            self._stack.callback(layer.module.register_forward_pre_hook(before, prepend=True).remove)
            self._stack.callback(layer.module.register_forward_hook(after, always_call=True).remove)
        for name, parameter in self._parameters.items():
            self._stack.callback(parameter.register_hook(self._stray(name)).remove)
        if self._raw:
            self._mode = RawParameters(
                self._raw, records=self.records, attach=self._attach, receive=self._receive_raw
            )
            self._stack.enter_context(self._mode)
        self._stack.callback(self._restore_all)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        self._mode = None  # it knows this recording; a circle would keep the activations

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Record nothing meanwhile."""
        self.paused = True
        try:
            with contextlib.nullcontext() if self._mode is None else self._mode.pause():
                yield
        finally:
            self.paused = False

    def backward(self, losses_NV: Tensor, weights_NV: Tensor) -> None:
        """The backward pass that collects gradients."""
        self._signed = bool((weights_NV < 0).any())
        self._run(losses_NV, weights_NV, retain_graph=False)

    def probe(
        self, losses_NV: Tensor, weights_NV: Tensor, of_N: Tensor, look: Callable[[Tensor], Tensor]
    ) -> list[tuple[str, Tensor]]:
        """What `look` makes of the gradients of the records `of_N` (bool), place by place."""
        self._look, self._probed = look, (found := list[tuple[str, Tensor]]())
        try:
            self._run(losses_NV, weights_NV, retain_graph=True)
        finally:
            self._probed = None
        return [(place, seen[of_N.repeat_interleave(len(seen) // self.records)]) for place, seen in found]

    def gradients(self) -> dict[str, RecordGradients]:
        """The per-record gradients by parameter, once; several uses of one parameter are added up."""
        merged: dict[str, RecordGradients] = {}
        for name in list(self._found):
            uses = self._found.pop(name)
            merged[name] = uses[0]
            for use in uses[1:]:
                merged[name] = Dense(merged[name].dense() + use.dense())
        return merged

    def _run(self, losses_NV: Tensor, weights_NV: Tensor, *, retain_graph: bool) -> None:
        if not losses_NV.requires_grad:
            raise UserError("The losses do not depend on any trainable parameter.")
        self._in_backward = True
        try:
            # torch.autograd.backward would suspend the following of raw parameters, which layers that are
            # checkpointed need when they are remade; this is what it calls.
            torch.autograd.Variable._execution_engine.run_backward(
                (losses_NV,),
                (weights_NV.to(losses_NV.dtype),),
                retain_graph,
                False,
                (),
                allow_unreachable=True,
                accumulate_grad=True,
            )
        finally:
            self._in_backward = False
            for name in self._strays:
                self._parameters[name].grad = None
        if self._strays:
            raise UserError(
                f"The parameter {sorted(self._strays)[0]!r} is used outside the forward of its own module, "
                "so its per-record gradient is not known; call the module instead, or freeze the parameter."
            )

    def _hooks(self, layer: WatchedLayer) -> tuple[Callable[..., None], Callable[..., Tensor | None]]:
        own = self

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            if not own.paused:
                own._swap(layer)

        def after(module: nn.Module, args: tuple[Any, ...], outputs: Tensor) -> Tensor | None:
            if own.paused:
                return None
            own._restore(layer)
            if outputs is None:  # the forward raised; this call only puts the parameters back
                return None
            return own._tap_layer(layer, args, outputs)

        return before, after

    def _swap(self, layer: WatchedLayer) -> None:
        held = layer.module._parameters
        originals = {own: held[own] for own in layer.parameters}
        self._swapped[id(layer)] = originals  # type: ignore[assignment]
        for own, parameter in originals.items():
            assert parameter is not None
            held[own] = parameter.detach()  # type: ignore[assignment]

    def _restore(self, layer: WatchedLayer) -> None:
        layer.module._parameters.update(self._swapped.pop(id(layer), {}))

    def _restore_all(self) -> None:
        for layer in self._layers:
            self._restore(layer)

    def _stray(self, name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            self._strays.append(name)

        return hook

    def _tap_layer(self, layer: WatchedLayer, args: tuple[Any, ...], outputs: Tensor) -> Tensor:
        if len(args) != 1 or not isinstance(args[0], Tensor):
            raise UserError(f"The module {layer.name!r} must be called with one positional tensor.")
        inputs: Tensor | None = args[0].detach()
        assert inputs is not None
        if inputs.is_floating_point() and not isinstance(layer.module, (nn.LayerNorm, nn.GroupNorm)):
            inputs = inputs.to(outputs.dtype)  # what the layer worked with, under autocast
        if "weight" not in layer.parameters:
            inputs = None
        if outputs.shape[0] % self.records:
            raise UserError(
                f"The module {layer.name!r} got {outputs.shape[0]} rows, which is not a multiple of the "
                f"{self.records} records; its leading dimension must be the batch."
            )
        wanted = frozenset(layer.parameters)

        def receive(inputs: Tensor | None, gradients: Tensor) -> None:
            seen = gradients if inputs is None else inputs
            found = layer.rule(layer.module, seen, gradients, self.records, wanted, self._signed)
            for own, name in layer.parameters.items():
                self._found.setdefault(name, []).append(found[own])

        return self._tap(outputs, inputs, f"the module {layer.name!r}", receive)

    def _attach(self, value: Tensor, place: str, receive: Callable[[Tensor], None]) -> Tensor:
        return self._tap(value, None, place, lambda _, gradients: receive(gradients))

    def _receive_raw(self, name: str, gradients: Tensor) -> None:
        wide = torch.promote_types(gradients.dtype, torch.float32)
        self._found.setdefault(name, []).append(Dense(gradients.to(wide)))

    def _tap(
        self,
        outputs: Tensor,
        inputs: Tensor | None,
        place: str,
        receive: Callable[[Tensor | None, Tensor], None],
    ) -> Tensor:
        if not torch.is_grad_enabled():
            raise UserError(
                f"While recording, {place} ran without gradients; leave out torch.no_grad, freeze it, or use "
                "checkpoint(..., use_reentrant=False)."
            )
        if not self._in_backward:  # else a checkpointed layer is recomputed
            self.created.append((place, sum(1 for key in self.created if key[0] == place)))

        def sort(inputs: Tensor | None, gradients: Tensor) -> None:
            if self._probed is None:
                receive(inputs, gradients)
                return
            self._probed.append((place, self._look(gradients)))

        return _Tap.apply(outputs, inputs, self._anchor.to(outputs.device), sort)
