"""Clipped sums of per-record gradients, in one backward pass, exact or refused.

The trainable parameters take no part in autograd themselves: while a layer runs it sees detached copies,
so autograd computes no summed weight gradient. A tap on the layer's output receives the output's gradient
instead, and the layer's rule makes per-record gradients of it (book-keeping; Bu et al. 2023). Parameters
that are used in any other way are caught, because only their detached copies are without gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.privacy.per_record.adaptive import COUNT, AdaptiveClipping
from raymaskdp.privacy.per_record.apart import poisonings, prove_apart
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.per_record.clipping import Clipping
from raymaskdp.privacy.per_record.gradients import Dense, RecordGradients
from raymaskdp.privacy.per_record.layers import Rule, refuse_mixing, rule_for
from raymaskdp.privacy.per_record.raw_parameters import RawParameters

if TYPE_CHECKING:
    from raymaskdp.privacy.plan import PrivacyPlan

# Shape suffixes: N records, V views of a record, K clips of a record, G groups of parameters.


class GradientEngine:
    """Per-record gradients of a model's trainable parameters, clipped and summed as a plan says.

    Trainable is what has `requires_grad` when the engine is made; frozen parameters cost nothing.
    Layers: Linear, LayerNorm, GroupNorm, Embedding, Conv1d/2d/3d, and raw parameters of custom modules.
    Raises `UserError` for anything else, and for layers that mix records, naming the module.

    Nothing is left on the model: hooks and detached copies exist only inside `record`.
    """

    def __init__(self, model: nn.Module, plan: PrivacyPlan) -> None:
        self._model = model
        self._clipping: Clipping | None = plan.make_clipping()
        self._weights_V = plan.view_weights
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise UserError(
                "The model has no trainable parameter; set requires_grad on what is to be trained."
            )
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        self._layers: list[_Layer] = []
        self._raw: dict[str, nn.Parameter] = {}
        for module_name, module in model.named_modules():
            refuse_mixing(module_name, module)
            own = {k: names[id(p)] for k, p in module.named_parameters(recurse=False) if id(p) in names}
            rule = rule_for(module_name, module) if own else None
            if rule is not None:
                self._layers.append(_Layer(module_name, module, rule, own))
            else:
                self._raw.update({name: self._parameters[name] for name in own.values()})
        trainable = list(self._parameters)
        groups = [0] * len(trainable) if self._clipping is None else self._clipping.groups(trainable)
        self._group_of = dict(zip(trainable, groups, strict=True))
        self._proven: dict[tuple[str, int], int] = {}  # use -> most records shown to stay apart
        self._apart = 0  # most records that the forward pass was shown to keep apart
        self._recording: _Recording | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every trainable parameter."""
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    def zero_sum(self) -> ClippedSum:
        """The sum over no record: where accumulation starts, and an empty share's contribution."""
        zeros = {
            name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32), requires_grad=False)
            for name, p in self._parameters.items()
        }
        if self.adapts:
            device = next(iter(zeros.values())).device
            zeros[COUNT] = torch.zeros((), dtype=torch.float64, device=device)
        return ClippedSum(zeros)

    @property
    def adapts(self) -> bool:
        """Whether sums have a count of clipped records with them."""
        return isinstance(self._clipping, AdaptiveClipping)

    def clip_as(self, plan: PrivacyPlan) -> None:
        """Clip as this plan says from now on: the engine's own with another norm in force."""
        self._clipping = plan.make_clipping()

    @contextlib.contextmanager
    def record(self, *, num_records: int, views: int | None = None) -> Iterator[None]:
        """Watch one forward pass over `num_records` ≥ 1 records, ended by one call of `clipped_sum`.

        The leading dimension of whatever the trainable layers see must be a multiple of `num_records`,
        record-major: all rows of the first record, then all of the second, … `views` is V, the losses a
        record has, the plan's by default.
        """
        if self._recording is not None:
            raise UserError("A recording of this engine is already open; finish it first.")
        if num_records < 1:
            raise UserError("A recording needs at least one record; an empty share contributes zero_sum().")
        changed = [
            name
            for name, p in self._model.named_parameters()
            if p.requires_grad != (name in self._parameters)
        ]
        if changed:
            raise UserError(
                f"The parameter {changed[0]!r} was frozen or unfrozen after the engine was made; "
                "make a new engine."
            )
        recording = _Recording(
            self._layers, self._parameters, self._raw, num_records, views or len(self._weights_V)
        )
        self._recording = recording

        def prove(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if num_records > self._apart and not recording.paused:
                with recording.pause():
                    prove_apart(model, args, kwargs, records=num_records)
            recording.called = True

        hook = self._model.register_forward_pre_hook(prove, prepend=True, with_kwargs=True)
        try:
            with recording:
                yield
            self._apart = max(self._apart, num_records)
        finally:
            hook.remove()
            self._recording = None

    def clipped_sum(self, losses_NV: Tensor, clip_weights_NK: Tensor | None = None) -> ClippedSum:
        """Run the backward pass and return Σ_i ĝ_i over the records of the open recording.

        Args:
          losses_NV: the loss of every view, [N, V] or [N·V]; not averaged. Views are clips first, then
            (for the residual) the public views of the same clips.
          clip_weights_NK: weights ≥ 0 of a record's clips, rows summing to at most 1; 1/K by default.

        Under the plan's adjacency the result has the plan's sensitivity. A record whose gradient is not
        finite contributes zero and is counted.
        """
        recording = self._recording
        if recording is None:
            raise UserError("clipped_sum must be called inside `with engine.record(...)`.")
        if not recording.called:
            raise UserError(
                "The model was not called inside `with engine.record(...)`, so it is not known whether it "
                "keeps records apart; call the model that the engine was made for, and not its parts."
            )
        records, views = recording.records, recording.views
        if losses_NV.numel() != records * views or losses_NV.shape[0] not in (records, records * views):
            raise UserError(
                f"clipped_sum needs the {records} x {views} losses of the single views, but it got the shape "
                f"{tuple(losses_NV.shape)}; use reduction='none' and keep the views of a record together."
            )
        losses_NV = losses_NV.reshape(records, views)
        weights_NV = self._view_weights(losses_NV, clip_weights_NK)
        # Were autocast on around this call, it would make the per-record products in half precision.
        with torch.autocast(losses_NV.device.type, enabled=False):
            self._prove_separate(recording, losses_NV)
            recording.backward(losses_NV, weights_NV)
            return self._finish(recording)

    def _view_weights(self, losses_NV: Tensor, clip_weights_NK: Tensor | None) -> Tensor:
        records, views = losses_NV.shape
        signed = any(weight < 0 for weight in self._weights_V)
        clips = views // 2 if signed else views
        if signed and views % 2:
            raise UserError(f"A residual needs a public view for every clip, but there are {views} views.")
        if clip_weights_NK is None:
            if views != len(self._weights_V):
                raise UserError(
                    f"The plan has {len(self._weights_V)} views a record, but there are {views}; "
                    "give clip_weights_NK where records have other numbers of clips."
                )
            clip_weights_NK = losses_NV.new_full((records, clips), 1 / clips)
        weights_NK = clip_weights_NK.detach().to(
            device=losses_NV.device, dtype=torch.promote_types(losses_NV.dtype, torch.float32)
        )
        if tuple(weights_NK.shape) != (records, clips):
            raise UserError(
                f"clip_weights_NK must have the shape {(records, clips)}, not {tuple(weights_NK.shape)}."
            )
        if not bool(((weights_NK >= 0).all() & (weights_NK.sum(1) <= 1 + 1e-6).all()).item()):
            raise UserError(
                "clip_weights_NK must not be negative, and a record's weights must sum to at most 1."
            )
        return torch.cat([weights_NK, -weights_NK], 1) if signed else weights_NK

    def _prove_separate(self, recording: _Recording, losses_NV: Tensor) -> None:
        """Check that no record's loss depends on another record's rows: once, and for every larger batch.

        The losses of some records get the gradient NaN and all others zero. NaN times anything is NaN, so
        it reaches every row that those losses depend on, whatever the weights are. A NaN in another
        record's rows is a layer that mixes records, or a layout that is not record-major. Over all subsets,
        every record is once poisoned while any given other is not.
        """
        created = set(recording.created)
        if all(recording.records <= self._proven.get(use, 1) for use in created):
            return
        proven = True
        for poisoned_N in poisonings(recording.records):
            clean_N = ~poisoned_N.to(losses_NV.device)
            weights_NV = torch.zeros_like(losses_NV).masked_fill(~clean_N[:, None], torch.nan)
            touched = recording.not_finite(losses_NV, weights_NV, clean_N)
            if not any(bool(bad.any()) for _, bad in touched):
                continue
            proven = False
            # It may also be a bad record, whose gradients are not finite even with the weight zero.
            by_themselves = recording.not_finite(losses_NV, torch.zeros_like(losses_NV), clean_N)
            for (place, bad), (_, anyway) in zip(touched, by_themselves, strict=True):
                if bool((bad & ~anyway).any()):
                    raise UserError(
                        f"Records do not stay apart at {place}: either the model mixes the records of a "
                        "batch, or this layer's leading dimension is not the batch (use batch_first layouts)."
                    )
        if proven:
            for use in created:
                self._proven[use] = max(recording.records, self._proven.get(use, 0))

    def _finish(self, recording: _Recording) -> ClippedSum:
        total = self.zero_sum()
        found = recording.gradients()
        if not found:
            return total
        group_of = self._group_of
        groups = max(group_of.values()) + 1
        device = next(iter(total.gradients.values())).device
        squares_NG = torch.zeros(recording.records, groups, dtype=torch.float64, device=device)
        for name, gradients in found.items():
            squares_NG[:, group_of[name]] += gradients.squared_norms()
        good_N = squares_NG.isfinite().all(1)
        norms_NG = torch.where(good_N[:, None], squares_NG, 0.0).sqrt()
        factors_NG = torch.ones_like(norms_NG) if self._clipping is None else self._clipping.factors(norms_NG)
        factors_NG = torch.where(good_N[:, None], factors_NG, 0.0)
        for name, gradients in found.items():
            total.gradients[name] += gradients.weighted_sum(factors_NG[:, group_of[name]])
        if isinstance(self._clipping, AdaptiveClipping):
            total.gradients[COUNT] += self._clipping.count(norms_NG, good_N)
        total.num_bad = int((~good_N).sum())
        return total


@dataclass(frozen=True)
class _Layer:
    name: str
    module: nn.Module
    rule: Rule
    parameters: dict[str, str]  # own name -> name in the model


class _Tap(torch.autograd.Function):
    """The identity on `outputs`; its backward hands the gradient, and the saved inputs, to `receive`.

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


class _Recording:
    """What one forward and backward pass leaves behind, held here and nowhere on the model."""

    def __init__(
        self,
        layers: Sequence[_Layer],
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
        self._in_backward = False
        self._signed = False
        self._swapped: dict[int, dict[str, nn.Parameter]] = {}
        self._anchor = torch.zeros((), requires_grad=True)
        self._raw = raw
        self._mode: RawParameters | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Recording:
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
        """Watch nothing meanwhile."""
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

    def not_finite(self, losses_NV: Tensor, weights_NV: Tensor, of_N: Tensor) -> list[tuple[str, Tensor]]:
        """Where the records `of_N` (bool) get gradients that are not finite: places, positions in them."""
        self._probed = found = list[tuple[str, Tensor]]()
        try:
            self._run(losses_NV, weights_NV, retain_graph=True)
        finally:
            self._probed = None
        return [(place, bad[of_N.repeat_interleave(len(bad) // self.records)]) for place, bad in found]

    def gradients(self) -> dict[str, RecordGradients]:
        """The per-record gradients by parameter; several uses of one parameter are added up."""
        merged: dict[str, RecordGradients] = {}
        for name, uses in self._found.items():
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

    def _hooks(self, layer: _Layer) -> tuple[Callable[..., None], Callable[..., Tensor | None]]:
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

    def _swap(self, layer: _Layer) -> None:
        held = layer.module._parameters
        originals = {own: held[own] for own in layer.parameters}
        self._swapped[id(layer)] = originals  # type: ignore[assignment]
        for own, parameter in originals.items():
            assert parameter is not None
            held[own] = parameter.detach()  # type: ignore[assignment]

    def _restore(self, layer: _Layer) -> None:
        layer.module._parameters.update(self._swapped.pop(id(layer), {}))

    def _restore_all(self) -> None:
        for layer in self._layers:
            self._restore(layer)

    def _stray(self, name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            self._strays.append(name)

        return hook

    def _tap_layer(self, layer: _Layer, args: tuple[Any, ...], outputs: Tensor) -> Tensor:
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
                f"The module {layer.name!r} got {outputs.shape[0]} rows, which is no multiple of the "
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
        if not self._in_backward:  # else a checkpointed layer is remade
            self.created.append((place, sum(1 for key in self.created if key[0] == place)))

        def sort(inputs: Tensor | None, gradients: Tensor) -> None:
            if self._probed is None:
                receive(inputs, gradients)
                return
            bad = ~gradients.isfinite()
            self._probed.append((place, bad.any(-1) if bad.dim() > 1 else bad))

        return _Tap.apply(outputs, inputs, self._anchor.to(outputs.device), sort)
