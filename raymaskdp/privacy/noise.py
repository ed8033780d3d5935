"""Gaussian noise, drawn from the key: the same on every device, for every number of workers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from raymaskdp import check
from raymaskdp.privacy.keys import Key


def gaussian(
    shapes: Mapping[str, tuple[int, ...]], *, standard_deviation: float, key: Key, step: int
) -> dict[str, Tensor]:
    """N(0, standard_deviation² I) for every named shape, float32 on the CPU.

    Every (name, step) has its own stream, so the noise of a parameter does not depend on which others
    are trained, and is drawn once however many workers there are.
    """
    check.in_range("standard_deviation", standard_deviation, low=0.0)
    noise = {}
    for name, shape in shapes.items():
        sample = key.stream("noise", step, name).standard_normal(size=shape, dtype=np.float32)
        noise[name] = torch.from_numpy(np.asarray(sample)).mul_(standard_deviation)
    return noise
