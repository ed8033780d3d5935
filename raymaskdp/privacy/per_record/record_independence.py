"""Proof that a model keeps records apart: other inputs of one change no other's output, and no buffer.

The gradients of a batch cannot show it: statistics that are detached, a choice by rank in the batch, or a
normalisation in a frozen stem have none. So the forward pass itself is tested: again on the same inputs, with
those of some records replaced, in the few subsets that set every record apart from every other. It is run
with gradients enabled, as in a step, because a model may take another path without them.

The test is on random inputs. Mixing that only certain data cause, such as an expert that is full, may remain
undetected.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from raymaskdp.errors import UserError

ADVICE = "use GroupNorm or LayerNorm, and statistics of each record alone"
KINDS = ("like", "high", "low")
"""Replacements of a record's inputs: similar numbers, or numbers that are first, or last, by rank."""

Inputs = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional and named arguments of a model."""


def poisonings(records: int) -> Iterator[Tensor]:
    """Subsets of the records, bool [N]: for any two there is one that holds the first and not the second.

    Every record is in a different half of the subsets; fewer subsets are not enough (Sperner 1928).
    """
    count = next(count for count in itertools.count() if math.comb(count, count // 2) >= records)
    choices = itertools.islice(itertools.combinations(range(count), count // 2), records)
    of_records = [set(choice) for choice in choices]
    for number in range(count):
        yield torch.tensor([number in subsets for subsets in of_records])


def prove_apart(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, records: int, draws: bool = True
) -> None:
    """Raise `UserError`, naming the module, unless the model keeps the records of a batch apart.

    The leading dimension of inputs and outputs is the batch, record-major: all rows of the first record, then
    all of the second. Leaves buffers and generators as they were. A model that gives other results with the
    same seeds is refused, too, except on a GPU; without `draws`, so is one that draws random numbers.
    """
    with _as_it_was(model), torch.enable_grad():
        state = {name: value.detach().clone() for name, value in model.named_buffers()}
        first = _run(model, args, kwargs, state)
        again = _run(model, args, kwargs, state)
        # Kernels with an arbitrary order of sums are not repeatable; their results are compared loosely.
        exact = all(same(one, other, exact=True) for one, other in zip(first[0], again[0], strict=True))
        if not exact and all(value.device.type == "cpu" for value in first[0]):
            raise UserError(
                f"The model ({type(model).__name__}) gives other results for the same inputs and seeds, so a "
                "step that is repeated would have another sum under the same noise; take random numbers from "
                "the global generators of torch, numpy or random, and keep no state outside of buffers."
            )
        other = [] if draws else _run(model, args, kwargs, state, seed=1)[0]
        if not all(same(one, value, exact=exact) for one, value in zip(first[0], other, strict=not draws)):
            raise UserError(
                f"The model ({type(model).__name__}) draws random numbers in its forward pass, and under "
                "add-remove adjacency a record that is missing would give others to the rest; remove its "
                "dropout, or choose adjacency=replace."
            )
        subsets = [*poisonings(records), torch.ones(records, dtype=torch.bool)]
        for (number, poisoned_N), kind in itertools.product(enumerate(subsets), KINDS):
            changed = _replaced(args, kwargs, poisoned_N, kind, seed=number)
            outputs, buffers = _run(model, *changed, state)
            for name, value in buffers.items():
                if not same(value, first[1][name], exact=exact):
                    raise UserError(
                        f"The buffer {name!r} of the model changes with the records of a batch, so a later "
                        f"step reveals them without noise; {ADVICE}."
                    )
            clean = [_clean(value, poisoned_N) for value in outputs]
            if all(
                same(one, _clean(other, poisoned_N), exact=exact)
                for one, other in zip(clean, first[0], strict=True)
            ):
                continue
            place = _culprit(model, (args, kwargs), changed, poisoned_N, state, exact=exact)
            raise UserError(
                f"Records do not stay apart in the forward pass: at {place} one record's result depends on "
                f"others of its batch; {ADVICE}."
            )


def _run(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    state: Mapping[str, Tensor],
    seed: int = 0,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs and buffers of a forward pass from the same state."""
    _restore(model, state)
    seed_generators(seed)
    # In-place operations must not reach the caller's inputs.
    args, kwargs = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    leaves = tree_flatten(model(*args, **kwargs))[0]
    outputs = [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)]
    return outputs, {name: value.detach().clone() for name, value in model.named_buffers()}


def seed_generators(seed: int) -> None:
    """Make the global generators of torch, numpy and Python a function of the seed."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that models use
    random.seed(seed)


def _replaced(
    args: Sequence[Any], kwargs: Mapping[str, Any], poisoned_N: Tensor, kind: str, *, seed: int
) -> Inputs:
    """The inputs with other values in the rows of the replaced records."""
    generator = torch.Generator().manual_seed(seed)

    def replace(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] % len(poisoned_N):
            return leaf
        rows = _rows(poisoned_N, leaf)
        if leaf.is_floating_point():
            noise = torch.randn(leaf.shape, generator=generator).to(leaf)
            large = 1 + leaf.nan_to_num(posinf=0, neginf=0).abs().amax()
            other = {
                "like": large * noise,
                "high": 1e3 * large * noise.abs(),
                "low": -1e3 * large * noise.abs(),
            }[kind]
        elif leaf.dtype == torch.bool:
            other = ~leaf
        else:  # indices: others that occur, so that they are valid
            seen = leaf.flatten()
            other = seen[torch.randint(len(seen), leaf.shape, generator=generator).to(leaf.device)]
        return torch.where(rows.view(-1, *[1] * (leaf.dim() - 1)), other, leaf)

    replaced: Inputs = tree_map(replace, (tuple(args), dict(kwargs)))
    return replaced


def _culprit(
    model: nn.Module,
    inputs: Inputs,
    changed: Inputs,
    poisoned_N: Tensor,
    state: Mapping[str, Tensor],
    *,
    exact: bool,
) -> str:
    """The first module with other outputs for equal inputs of the unchanged records.

    If the values differ before they reach any module, the code before it causes this.
    """

    def trace(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, bool, list[Tensor]]]:
        found: list[tuple[str, bool, list[Tensor]]] = []

        def note(name: str, ended: bool, values: Any) -> None:
            leaves = [leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor)]
            found.append((name, ended, [_clean(leaf.detach(), poisoned_N).clone() for leaf in leaves]))

        def hooks(name: str) -> tuple[Callable[..., None], Callable[..., None]]:
            return (
                lambda module, inputs: note(name, False, inputs),
                lambda module, inputs, outputs: note(name, True, outputs),
            )

        with contextlib.ExitStack() as stack:
            for name, module in model.named_modules():
                before, after = hooks(name)
                stack.callback(module.register_forward_pre_hook(before).remove)
                stack.callback(module.register_forward_hook(after).remove)
            _run(model, args, kwargs, state)
        return found

    for (name, ended, before), (*_, after) in zip(trace(*inputs), trace(*changed), strict=False):
        if not all(same(one, other, exact=exact) for one, other in zip(before, after, strict=False)):
            kind = type(model.get_submodule(name)).__name__
            module = f"the module {name!r} ({kind})" if name else f"the model ({kind})"
            return module if ended else f"the code before {module}"
    return f"the model ({type(model).__name__})"


def _rows(of_N: Tensor, leaf: Tensor) -> Tensor:
    return of_N.repeat_interleave(leaf.shape[0] // len(of_N)).to(leaf.device)


def _clean(leaf: Tensor, poisoned_N: Tensor) -> Tensor:
    """The rows of the unchanged records; all rows if the leading dimension is not the batch."""
    if leaf.dim() == 0 or leaf.shape[0] % len(poisoned_N):
        return leaf
    return leaf[~_rows(poisoned_N, leaf)]


def same(one: Tensor, other: Tensor, *, exact: bool) -> bool:
    """Whether two tensors are equal, NaN in the same places included; or nearly, unless `exact`."""
    if one.shape != other.shape:
        return False
    if exact or not one.is_floating_point():
        equal = (one == other) | ((one != one) & (other != other))
        return bool(equal.all())
    return torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)


@torch.no_grad()
def _restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, value in model.named_buffers():
        if name in state:
            if value.grad_fn is not None:
                value.detach_()  # the pass before wrote to it
            value.copy_(state[name])


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Restores buffers and generators at the end of the block."""
    state = {name: value.detach().clone() for name, value in model.named_buffers()}
    generators = np.random.get_state(), random.getstate()  # noqa: NPY002 - the one that models use
    devices = {value.device for value in model.parameters() if value.device.type == "cuda"}
    with torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
        try:
            yield
        finally:
            _restore(model, state)
            np.random.set_state(generators[0])  # noqa: NPY002 - the one that models use
            random.setstate(generators[1])
