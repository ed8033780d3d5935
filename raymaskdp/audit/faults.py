"""Known faults of private training, injected into the real `train` while it runs.

An audit that does not detect them is useless. Each replaces a function of the loop or the plan in this
process for the duration of its block. Only runs on canaries are allowed in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from raymaskdp.privacy import ClippedSum, GradientEngine, Key, PrivacyPlan
from raymaskdp.train import loop
from raymaskdp.train.data.batches import Inputs, Views
from raymaskdp.train.run import setup

Shapes = Mapping[str, tuple[int, ...]]


@contextlib.contextmanager
def _noise(change: Callable[[PrivacyPlan, Key, int, Shapes, dict[str, Tensor]], Any]) -> Iterator[None]:
    draw = PrivacyPlan.whole_noise

    def changed(self: PrivacyPlan, key: Key, step: int, shapes: Shapes) -> dict[str, Tensor]:
        return dict(change(self, key, step, shapes, draw(self, key, step, shapes)))

    with mock.patch.object(PrivacyPlan, "whole_noise", changed):
        yield


def no_noise() -> AbstractContextManager[None]:
    """The sum is released without noise."""
    return _noise(lambda plan, key, step, shapes, drawn: {k: torch.zeros_like(v) for k, v in drawn.items()})


def half_the_noise() -> AbstractContextManager[None]:
    """The standard deviation is halved."""
    return _noise(lambda plan, key, step, shapes, drawn: {k: v // 2 for k, v in drawn.items()})


def noise_of_every_worker() -> AbstractContextManager[None]:
    """Each of two workers adds its own noise."""
    draw = PrivacyPlan.whole_noise

    def more(plan: PrivacyPlan, key: Key, step: int, shapes: Shapes, drawn: dict[str, Tensor]) -> Any:
        other = draw(plan, key.attempt(1), step, shapes)
        return {name: value + other[name] for name, value in drawn.items()}

    return _noise(more)


@contextlib.contextmanager
def counted_twice() -> Iterator[None]:
    """Every worker's share is processed twice, as if two workers had the same one."""
    once = loop.micro_batches

    def twice(*arguments: Any) -> Iterator[np.ndarray]:
        for part in once(*arguments):
            yield from (part, part)

    with mock.patch.object(loop, "micro_batches", twice):
        yield


@contextlib.contextmanager
def one_lot() -> Iterator[None]:
    """S′ = S: the public branch shows which records are in the private lot."""

    def same(self: PrivacyPlan, key: Key, step: int) -> np.ndarray:
        return self.lot(key, step)

    with mock.patch.object(PrivacyPlan, "public_lot", same):
        yield


@contextlib.contextmanager
def clipped_per_clip() -> Iterator[None]:
    """Every clip is clipped separately, as if a model folded clips into the batch; without public views."""
    record, clipped_sum = GradientEngine.record, GradientEngine.clipped_sum

    def fold(self: GradientEngine, *, num_records: int) -> AbstractContextManager[None]:
        return record(self, num_records=num_records * len(self._weights_V), views=1)

    def of_clips(self: GradientEngine, losses_NV: Tensor, weights_NK: Tensor) -> ClippedSum:
        return clipped_sum(self, losses_NV, (weights_NK * weights_NK.shape[1]).reshape(-1, 1))

    with (
        mock.patch.object(GradientEngine, "record", fold),
        mock.patch.object(GradientEngine, "clipped_sum", of_clips),
    ):
        yield


@contextlib.contextmanager
def public_view_of_the_composite() -> Iterator[None]:
    """The alleged public view shows sensitive pixels."""
    opened = setup.open_inputs

    @dataclasses.dataclass
    class UnmaskedInputs:
        inputs: Inputs

        def read(self, records_N: np.ndarray, draws_NK: np.ndarray) -> Views:
            views = self.inputs.read(records_N, draws_NK)
            return dataclasses.replace(views, public=views.full)

    def show(*arguments: Any, **settings: Any) -> Any:
        inputs, model = opened(*arguments, **settings)
        return UnmaskedInputs(inputs), model

    with mock.patch.object(setup, "open_inputs", show):
        yield


FAULTS: dict[str, tuple[Callable[[], AbstractContextManager[None]], str]] = {
    "no noise": (no_noise, "maskdp"),
    "half the noise": (half_the_noise, "maskdp"),
    "noise once per worker": (noise_of_every_worker, "maskdp"),
    "every record counted twice": (counted_twice, "maskdp"),
    "one lot for both branches": (one_lot, "maskdp"),
    "clipping per clip": (clipped_per_clip, "multiclip"),
    "public views from the composite": (public_view_of_the_composite, "maskdp"),
}
"""By name, the injecting function and the mechanism in which the fault is visible."""
