"""Clipped sums of per-record gradients, in one backward pass, exact or refused.

The trainable parameters are not part of the autograd graph: while a layer runs it uses detached copies,
so autograd computes no summed weight gradient. A tap on the layer's output receives the output's gradient
instead, and the layer's rule computes per-record gradients from it (book-keeping; Bu et al. 2023). Parameters
that are used in any other way are detected, because only their detached copies are without gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from raymaskdp.errors import UserError
from raymaskdp.privacy.choices import MOST_RECORDS
from raymaskdp.privacy.per_record.adaptive import COUNT, AdaptiveClipping
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.per_record.clipping import Clipping
from raymaskdp.privacy.per_record.layers import refuse_mixing, rule_for
from raymaskdp.privacy.per_record.record_independence import poisonings, prove_apart, same
from raymaskdp.privacy.per_record.recording import Recording, WatchedLayer, not_finite, rows

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
        self._may_be_missing = plan.adjacency == "add-remove"
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise UserError(
                "The model has no trainable parameter; set requires_grad on what is to be trained."
            )
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        self._layers: list[WatchedLayer] = []
        self._raw: dict[str, nn.Parameter] = {}
        for module_name, module in model.named_modules():
            refuse_mixing(module_name, module)
            own = {k: names[id(p)] for k, p in module.named_parameters(recurse=False) if id(p) in names}
            rule = rule_for(module_name, module) if own else None
            if rule is not None:
                self._layers.append(WatchedLayer(module_name, module, rule, own))
            else:
                self._raw.update({name: self._parameters[name] for name in own.values()})
        trainable = list(self._parameters)
        groups = [0] * len(trainable) if self._clipping is None else self._clipping.groups(trainable)
        self._group_of = dict(zip(trainable, groups, strict=True))
        self._proven: dict[tuple[str, int], int] = {}  # use -> most records shown to stay apart
        self._apart: dict[object, set[tuple[int, object]]] = {}  # modes -> batches shown to stay apart
        self._recording: Recording | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every trainable parameter."""
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    def zero_sum(self) -> ClippedSum:
        """The sum over no record: the start of accumulation, and an empty share's contribution."""
        return ClippedSum(self._sums({}))

    def _sums(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums found, in the parameters' order, and zeros for those of the rest."""
        sums = {
            name: found[name]
            if name in found
            else torch.zeros_like(p, dtype=torch.float64, requires_grad=False)
            for name, p in self._parameters.items()
        }
        if self.adapts:
            sums[COUNT] = found.get(COUNT, torch.zeros((), dtype=torch.float64, device=self._device))
        return sums

    @property
    def _device(self) -> torch.device:
        return next(iter(self._parameters.values())).device

    @property
    def adapts(self) -> bool:
        """Whether sums include a count of clipped records."""
        return isinstance(self._clipping, AdaptiveClipping)

    def clip_as(self, plan: PrivacyPlan) -> None:
        """Clip by this plan from now on: the engine's own with another current norm."""
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
        if num_records > MOST_RECORDS:
            raise UserError(
                f"A recording may have at most {MOST_RECORDS} records, but this one has {num_records}: "
                "larger sums round by more than the price of a step allows for; record them in parts."
            )
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
        recording = Recording(
            self._layers, self._parameters, self._raw, num_records, views or len(self._weights_V)
        )
        self._recording = recording

        def prove(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not recording.paused:
                self._prove_apart(recording, args, kwargs)
            recording.called = True

        hook = self._model.register_forward_pre_hook(prove, prepend=True, with_kwargs=True)
        try:
            with recording:
                yield
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

    def _prove_apart(self, recording: Recording, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Test the forward pass: for every kind of batch once, and for the largest of a kind thoroughly.

        Batches are of one kind if the model is the same, in the same modes, with the same other arguments.
        """
        leaves, tree = tree_flatten((args, kwargs))
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor))
        others = tuple(repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor))
        modules = tuple((id(one), one.training, len(one._forward_hooks)) for one in self._model.modules())
        proven = self._apart.setdefault((modules, str(tree), others), set())
        if (recording.records, shapes) in proven:
            return
        thorough = recording.records > max((records for records, _ in proven), default=0)
        with recording.pause():
            prove_apart(
                self._model,
                args,
                kwargs,
                records=recording.records,
                may_be_missing=self._may_be_missing,
                thorough=thorough,
            )
        proven.add((recording.records, shapes))

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

    def _prove_separate(self, recording: Recording, losses_NV: Tensor) -> None:
        """Check that no record's loss depends on another record's rows: once, and for every larger batch.

        The losses of some records get the gradient NaN and all others zero. NaN times anything is NaN, so
        it reaches every row that those losses depend on, whatever the weights are. A NaN in another
        record's rows is a layer that mixes records, or a layout that is not record-major. Over all subsets,
        every record is once poisoned while any given other is not. A backward pass may drop NaN, so one
        half of the records also get larger gradients instead.
        """
        created = set(recording.created)
        if all(recording.records <= self._proven.get(use, 1) for use in created):
            return
        proven = True
        for poisoned_N in poisonings(recording.records):
            clean_N = ~poisoned_N.to(losses_NV.device)
            weights_NV = torch.zeros_like(losses_NV).masked_fill(~clean_N[:, None], torch.nan)
            touched = recording.probe(losses_NV, weights_NV, clean_N, not_finite)
            if not any(bool(bad.any()) for _, bad in touched):
                continue
            proven = False
            # It may also be a faulty record, whose gradients are not finite even with the weight zero.
            none_NV = torch.zeros_like(losses_NV)
            by_themselves = recording.probe(losses_NV, none_NV, clean_N, not_finite)
            for (place, bad), (_, anyway) in zip(touched, by_themselves, strict=True):
                if bool((bad & ~anyway).any()):
                    raise UserError(
                        f"Records do not stay apart at {place}: either the model mixes the records of a "
                        "batch, or this layer's leading dimension is not the batch (use batch_first layouts)."
                    )
        if proven:
            self._compare_halves(recording, losses_NV)
            for use in created:
                self._proven[use] = max(recording.records, self._proven.get(use, 0))

    def _compare_halves(self, recording: Recording, losses_NV: Tensor) -> None:
        """Raise `UserError` if larger gradients of half of the records change those of the others."""
        clean_N = ~next(poisonings(recording.records)).to(losses_NV.device)
        ones_NV = torch.ones_like(losses_NV)
        large_NV = torch.where(clean_N[:, None], ones_NV, 1024 * ones_NV)
        before = recording.probe(losses_NV, ones_NV, clean_N, rows)
        after = recording.probe(losses_NV, large_NV, clean_N, rows)
        exact = losses_NV.device.type == "cpu"
        for (place, one), (_, other) in zip(before, after, strict=True):
            if not same(one, other, exact=exact):
                raise UserError(
                    f"Records do not stay apart at {place}: in the backward pass the gradients of one record "
                    "depend on those of others; remove hooks and functions that combine gradients."
                )

    def _finish(self, recording: Recording) -> ClippedSum:
        found = recording.gradients()
        if not found:
            return self.zero_sum()
        group_of = self._group_of
        groups = max(group_of.values()) + 1
        squares_NG = torch.zeros(recording.records, groups, dtype=torch.float64, device=self._device)
        for name, gradients in found.items():
            squares_NG[:, group_of[name]] += gradients.squared_norms()
        good_N = squares_NG.isfinite().all(1)
        norms_NG = torch.where(good_N[:, None], squares_NG, 0.0).sqrt()
        factors_NG = torch.ones_like(norms_NG) if self._clipping is None else self._clipping.factors(norms_NG)
        factors_NG = torch.where(good_N[:, None], factors_NG, 0.0)
        sums = {  # each parameter's gradients are freed before the sum of the next is made
            name: found.pop(name).weighted_sum(factors_NG[:, group_of[name]]) for name in list(found)
        }
        if isinstance(self._clipping, AdaptiveClipping):
            sums[COUNT] = self._clipping.count(norms_NG, good_N)
        return ClippedSum(self._sums(sums), num_bad=int((~good_N).sum()))
