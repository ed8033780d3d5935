"""Proof that a model keeps records apart: other inputs of one change no other's output, and nothing is kept.

The gradients of a batch cannot show it: statistics that are detached, a choice by rank in the batch, or a
normalisation in a frozen stem have none. So the forward pass itself is tested: again on the same inputs, with
those of some records replaced, in the few subsets that set every record apart from every other. It is run
with gradients enabled, as in a step, because a model may take another path without them.

A pass must leave parameters and buffers as they are, because they are published: a mean would reveal records,
and a count of passes the sizes of lots. Nor may a module keep values of a batch in its attributes.

The test is on random inputs, and with some of the random numbers that a model may draw. Mixing that only
certain data or numbers cause, such as an expert that is full, may remain undetected.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
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

PLAIN = (Tensor, bool, int, float, str, type(None), torch.dtype, torch.device)
"""Types of inputs and outputs, inside of lists, tuples and dicts, that the test understands."""

_OF_TORCH = frozenset(vars(nn.Module()))

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
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    records: int,
    may_be_missing: bool = False,
    thorough: bool = True,
) -> None:
    """Raise `UserError`, naming the module, unless the model keeps the records of a batch apart.

    The leading dimension of inputs and outputs is the batch, record-major: all rows of the first record, then
    all of the second. Leaves parameters, buffers and generators as they were. A model that gives other
    results with the same seeds is refused, too, except on a GPU.

    Args:
      may_be_missing: whether a record may be missing from one of two adjacent data sets. Then so is a model
        that draws random numbers, or whose results depend on a record's place or the number of records.
      thorough: with all kinds of replacements for each subset of the records, not one for each.
    """
    _require_readable(args, kwargs, records)
    with _as_it_was(model) as state, torch.enable_grad():
        first, draws = _run(model, args, kwargs), _draws(model, args, kwargs)
        state |= {name: value for name, value in _state(model).items() if name not in state}  # made just now
        _require_unchanged(model, state)
        again, kept = _run(model, args, kwargs), _kept(model)
        # Kernels with an arbitrary order of sums are not repeatable; their results are compared loosely.
        exact = all(same(one, other, exact=True) for one, other in zip(first, again, strict=True))
        if not exact and all(value.device.type == "cpu" for value in first):
            raise UserError(
                f"The model ({type(model).__name__}) gives other results for the same inputs and seeds, so a "
                "step that is repeated would have another sum under the same noise; take random numbers from "
                "the global generators of torch, numpy or random, and keep no state outside of buffers."
            )
        if may_be_missing:
            _require_no_places(model, args, kwargs, first, draws=draws, records=records)
        subsets = [*poisonings(records), torch.ones(records, dtype=torch.bool)]
        tests = [(poisoned_N, KINDS[n % len(KINDS)]) for n, poisoned_N in enumerate(subsets)]
        for seed, (poisoned_N, kind) in enumerate(itertools.product(subsets, KINDS) if thorough else tests):
            # A model may mix records for some random numbers only, so that there are others in every test.
            drawn = seed if draws else 0
            expected = _run(model, args, kwargs, drawn) if drawn else first
            changed = _replaced(args, kwargs, poisoned_N, kind, seed=seed)
            outputs = _run(model, *changed, drawn)
            _require_unchanged(model, state)
            clean = [_clean(value, poisoned_N) for value in outputs]
            if all(
                same(one, _clean(other, poisoned_N), exact=exact)
                for one, other in zip(clean, expected, strict=True)
            ):
                continue
            place = _culprit(model, (args, kwargs), changed, poisoned_N, drawn, exact=exact)
            raise UserError(
                f"Records do not stay apart in the forward pass: at {place} one record's result depends on "
                f"others of its batch; {ADVICE}."
            )
        _require_same_kept(kept, _kept(model))


def _require_readable(args: Sequence[Any], kwargs: Mapping[str, Any], records: int) -> None:
    """Raise `UserError` for inputs that cannot be replaced, because the test would show nothing."""
    leaves = tree_flatten((tuple(args), dict(kwargs)))[0]
    _require_plain(leaves, "is called with")
    if not any(isinstance(leaf, Tensor) and leaf.dim() and not leaf.shape[0] % records for leaf in leaves):
        raise UserError(
            f"No input of the model has a leading dimension that is a multiple of its {records} records, so "
            "it cannot be shown that it keeps them apart; make the leading dimension the batch."
        )


def _require_plain(leaves: Sequence[Any], does: str) -> None:
    for leaf in leaves:
        if not isinstance(leaf, PLAIN):
            raise UserError(
                f"The model {does} an object of the type {type(leaf).__name__}, in which it cannot be seen "
                "whether records stay apart; use tensors, or lists, tuples and dicts of them."
            )


def _require_no_places(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    first: Sequence[Tensor],
    *,
    draws: bool,
    records: int,
) -> None:
    """Raise `UserError` if a record that is missing would change the results of the others."""
    if draws:
        raise UserError(
            f"The model ({type(model).__name__}) draws random numbers in its forward pass, and under "
            "add-remove adjacency a record that is missing would give others to the rest; remove its "
            "dropout, or choose adjacency=replace."
        )
    if records == 1:
        return

    def later(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] % records:
            return leaf
        return leaf[leaf.shape[0] // records :]

    without = _run(model, *tree_map(later, (tuple(args), dict(kwargs))))
    # Matrix products may round otherwise at another place.
    if not all(same(one, later(other), exact=False) for one, other in zip(without, first, strict=True)):
        raise UserError(
            f"The model ({type(model).__name__}) gives a record another result at another place in its "
            "batch, or beside another number of records, and under add-remove adjacency a record that is "
            "missing would change those of the rest; remove that, or choose adjacency=replace."
        )


def _run(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], seed: int = 0) -> list[Tensor]:
    """The outputs of a forward pass with seeded generators."""
    seed_generators(seed)
    # In-place operations must not reach the caller's inputs.
    args, kwargs = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    leaves = tree_flatten(model(*args, **kwargs))[0]
    _require_plain(leaves, "returns")
    outputs = [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)]
    if not outputs:
        raise UserError(f"The model ({type(model).__name__}) returns no tensor; return its scores.")
    return outputs


def _draws(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a forward pass takes numbers from the global generators."""
    devices = _devices(model)

    def states() -> list[bytes]:
        some = [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]
        others = (np.random.get_state(), random.getstate())  # noqa: NPY002 - the one that models use
        return [*(state.numpy().tobytes() for state in some), pickle.dumps(others)]

    seed_generators(0)
    before = states()
    _run(model, args, kwargs)
    return states() != before


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
        replaced = torch.where(rows.view(-1, *[1] * (leaf.dim() - 1)), other, leaf)
        return torch.empty_like(leaf).copy_(replaced)  # in the same layout, which kernels are chosen by

    replaced: Inputs = tree_map(replace, (tuple(args), dict(kwargs)))
    return replaced


def _culprit(
    model: nn.Module, inputs: Inputs, changed: Inputs, poisoned_N: Tensor, seed: int, *, exact: bool
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
            _run(model, args, kwargs, seed)
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
        if torch.equal(one, other):
            return True
        equal = (one == other) | ((one != one) & (other != other))
        return bool(equal.all())
    return torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of everything that is published of a model: parameters, buffers, and further state."""
    return {name: value.detach().clone() for name, value in _values(model)}


def _values(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    yield from held.items()
    for name, value in model.state_dict().items():
        if name not in held and isinstance(value, Tensor):
            yield name, value


def _require_unchanged(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, value in _values(model):
        if name in state and not same(value, state[name], exact=True):
            kind = "parameter" if name in dict(model.named_parameters()) else "buffer"
            raise UserError(
                f"The {kind} {name!r} of the model changes in its forward pass, so the published model would "
                f"tell of records, or how many there were in a lot, without noise; {ADVICE}."
            )


def _kept(model: nn.Module) -> dict[tuple[str, int], Tensor]:
    """Copies of the tensors, arrays and fractions in attributes of modules, by their places."""
    found: dict[tuple[str, int], Tensor] = {}
    for name, module in model.named_modules():
        for own, value in vars(module).items():
            for number, leaf in enumerate([] if own in _OF_TORCH else tree_flatten(value)[0]):
                array = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf"
                if array or isinstance(leaf, (Tensor, float)):
                    copied = leaf.detach().clone() if isinstance(leaf, Tensor) else torch.tensor(leaf)
                    found[f"{own!r} of the module {name!r} ({type(module).__name__})", number] = copied
    return found


def _require_same_kept(
    before: Mapping[tuple[str, int], Tensor], after: Mapping[tuple[str, int], Tensor]
) -> None:
    for place, value in after.items():
        if place not in before or not same(value, before[place], exact=True):
            raise UserError(
                f"The attribute {place[0]} keeps values of a batch, with which a later step could depend on "
                "records of an earlier one; keep nothing in the module."
            )


@torch.no_grad()
def _restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, value in _values(model):
        if name in state and value.shape == state[name].shape and not torch.equal(value, state[name]):
            if value.grad_fn is not None:
                value.detach_()  # the pass before wrote to it
            value.copy_(state[name])


def _devices(model: nn.Module) -> list[int]:
    """The GPUs that a model is on."""
    devices = {value.device for value in model.parameters() if value.device.type == "cuda"}
    return [device.index or 0 for device in devices]


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Restores parameters, buffers and generators at the end of the block; gives their state before it."""
    state = _state(model)
    generators = np.random.get_state(), random.getstate()  # noqa: NPY002 - the one that models use
    with torch.random.fork_rng(devices=_devices(model)):
        try:
            yield state
        finally:
            _restore(model, state)
            np.random.set_state(generators[0])  # noqa: NPY002 - the one that models use
            random.setstate(generators[1])
