"""Sums and Gaussian noise on one grid: no bit of a released number separates its two parts.

A float32 sum plus float32 noise is on a lattice that depends on both: an attacker who knows all other records
can recognise the sum from a single number (Mironov 2012). Here sums are rounded to the grid first and
added as integers; the noise is a Gaussian rounded to the same grid, of an exact sampler
(`raymaskdp.privacy.rounded_gaussian`). That is a Gaussian added to the rounded sum and rounded afterwards:
post-processing, so the accountants' Gaussian applies exactly. For the discrete Gaussian of Canonne,
Kamath and Steinke (2020) it would not: no accountant here bounds that one's sums over a sampled lot.

Rounding makes one record move a sum by more than its clipped gradient: adjacent data sets may be divided into
micro-batches otherwise, whose sums are each rounded. `MARGIN` of the clipping norm is left for this, and for
the rounding of float64 sums before it.

Shape suffixes: none; tensors have the shapes of parameters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from raymaskdp.errors import UserError
from raymaskdp.privacy.keys import Key
from raymaskdp.privacy.per_record.clipped_sum import ClippedSum
from raymaskdp.privacy.rounded_gaussian import rounded_gaussian

STEPS = 36
"""The noise's standard deviation is 2^STEPS steps of the grid or more, and less than twice that; fewer only
where sums would not fit below `LARGEST`."""

MARGIN = 2.0**-10
"""Share of the clipping norm that is left for rounding; the noise is larger by it."""

LARGEST = 2.0**61
"""Integers stay below this."""


def grid_step(noise_std: float, most: float) -> float:
    """The step of the grid, a power of two; raises `UserError` for noise that would be no more than one step.

    Args:
      noise_std: standard deviation of the noise, above 0.
      most: the largest number that a sum can have.
    """
    # By exponents, which are the same on all machines; logarithms may not be.
    fraction, above = math.frexp(max(most, noise_std * 64) / LARGEST)
    exponent = max(math.frexp(noise_std)[1] - 1 - STEPS, above - 1 if fraction == 0.5 else above)
    step = 2.0**exponent
    if noise_std < step:
        raise UserError(
            f"The noise of a step, {noise_std:.3g}, is too small for sums of up to {most:.3g}; raise "
            "privacy.noise_multiplier."
        )
    return step


def on_grid(total: ClippedSum, step: float) -> ClippedSum:
    """A sum in whole steps of the grid, int64; one that is on it already is returned unchanged."""
    gradients = {name: in_whole_steps(value, step) for name, value in total.gradients.items()}
    return ClippedSum(gradients, total.num_bad)


def add_to(total: ClippedSum, part: ClippedSum, step: float | None) -> None:
    """Add a sum to another one in place, rounded to the grid if there is one.

    Parameter by parameter, each of which leaves `part`: whole numbers take twice the memory of the sum.
    """
    for name in total.gradients:
        value = part.gradients.pop(name)
        total.gradients[name] += value if step is None else in_whole_steps(value, step)
    total.num_bad += part.num_bad


def in_whole_steps(value: Tensor, step: float) -> Tensor:
    """One parameter's part of a sum in whole steps of the grid, int64; unchanged if it is on it already."""
    return value if value.dtype == torch.int64 else (value.double() / step).round_().to(torch.int64)


def whole_noise(
    shapes: Mapping[str, tuple[int, ...]], *, standard_deviation: float, step: float, key: Key, number: int
) -> dict[str, Tensor]:
    """N(0, standard_deviation² I) for every named shape, in whole steps of the grid, int64 on the CPU.

    Every (name, number of the training step) has its own stream, so the noise of a parameter does not depend
    on which others are trained, and is drawn once for any number of workers.
    """
    noise = {}
    for name, shape in shapes.items():
        drawn = rounded_gaussian(
            math.prod(shape),
            standard_deviation / step,
            bits=key.stream("noise", number, name),
            more_bits=functools.partial(key.stream, "noise digits", number, name),
        )
        noise[name] = torch.from_numpy(drawn.reshape(shape))
    return noise


def require_fine(step: float, *, bound: float, parameters: int, sums: int) -> None:
    """Raise `UserError` if rounding could change a sum by more than half of its share of `MARGIN`.

    Args:
      step: of the grid.
      bound: the clipping norm.
      parameters: numbers of a sum.
      sums: micro-batches of a training step at most, each of which is rounded.
    """
    moved, allowed = step * math.sqrt(parameters), 0.5 * MARGIN * bound
    if sums * moved > allowed:
        what_to_do = (
            f"raise compute.micro_batch to at least {math.ceil(sums * moved / allowed)} times its value"
            if moved <= allowed
            else "ask for less noise (a larger privacy.epsilon, or a smaller privacy.noise_multiplier)"
        )
        raise UserError(
            f"Rounding {sums} sums of {parameters} parameters could change a step by "
            f"{sums * moved / bound:.1g} of the clipping norm, more than its price allows for; {what_to_do}."
        )
